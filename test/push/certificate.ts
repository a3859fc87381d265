/** A self-signed certificate for 127.0.0.1, made for each run: no key lies in the repository. Needs `openssl`. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export function certificate(): { key: string; cert: string } {
  const folder = mkdtempSync(join(tmpdir(), "latefork-cert-"));
  try {
    const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
    const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    const name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"];
    const made = Bun.spawnSync([
      "openssl",
      "req",
      "-x509",
      ...curve,
      "-days",
      "2",
      "-keyout",
      key,
      "-out",
      cert,
      ...name,
    ]);
    if (!made.success) throw new Error(`Cannot make a certificate with openssl: ${made.stderr.toString()}`);
    return { key: readFileSync(key, "utf8"), cert: readFileSync(cert, "utf8") };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
