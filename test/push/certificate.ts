/** Certificates for 127.0.0.1, made for each run: no key lies in the repository. Needs `openssl`. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const NAME = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"];
const CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

/** A self-signed one. */
export function certificate(): { key: string; cert: string } {
  return inFolder((path) => {
    openssl("req", "-x509", ...CURVE, "-days", "2", "-keyout", path("key"), "-out", path("cert"), ...NAME);
    return { key: read(path("key")), cert: read(path("cert")) };
  });
}

/** One that a CA of our own made. */
export function issuedCertificate(): { ca: string; key: string; cert: string } {
  return inFolder((path) => {
    const ca = ["-keyout", path("ca.key"), "-out", path("ca"), "-subj", "/CN=Test CA"];
    openssl("req", "-x509", ...CURVE, "-days", "2", ...ca);
    openssl("req", ...CURVE, "-keyout", path("key"), "-out", path("request"), ...NAME);
    const signer = ["-CA", path("ca"), "-CAkey", path("ca.key"), "-copy_extensions", "copy"];
    openssl("x509", "-req", "-in", path("request"), "-days", "2", "-out", path("cert"), ...signer);
    return { ca: read(path("ca")), key: read(path("key")), cert: read(path("cert")) };
  });
}

function openssl(...args: string[]): void {
  const made = Bun.spawnSync(["openssl", ...args]);
  if (!made.success) throw new Error(`Cannot make a certificate with openssl: ${made.stderr.toString()}`);
}

function inFolder<T>(make: (path: (name: string) => string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), "latefork-cert-"));
  try {
    return make((name) => join(folder, name));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function read(path: string): string {
  return readFileSync(path, "utf8");
}
