/** `latefork keys apns FILE` on real files. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { generateKeyPairSync } from "node:crypto";
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadConfig } from "../../src/config/load.ts";
import { latefork } from "./recorded_io.ts";

const p8 = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ type: "pkcs8", format: "pem" });
let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "latefork-keys-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

function write(name: string, text: string, mode = 0o600): string {
  const file = join(folder, name);
  writeFileSync(file, text);
  chmodSync(file, mode);
  return file;
}

/** What is said of a file that a service with a user of its own cannot read: here, if the tests run as root. */
function noteOn(file: string): string {
  if (statSync(file).uid !== 0) return "";
  return `note: only root can read ${file}; if latefork runs as a user of its own: chown latefork ${file}\n`;
}

test("O-02 keys apns says what to put where, in lines the config takes", async () => {
  const file = write("AuthKey_ABC123DEFG.p8", String(p8));
  const { code, out, err } = await latefork(["keys", "apns", file]);
  expect([code, err]).toEqual([0, noteOn(file)]);
  const yaml = out.slice(out.indexOf("  push:"), out.indexOf("Whether")).replaceAll("\n  ", "\n").trimStart();
  const { config, problems } = loadConfig(`users_file: u\n${yaml.replace('team_id: ""', "team_id: DEF123GHIJ")}`);
  expect(problems).toEqual([]);
  expect(config!.push.apns).toMatchObject({ key_file: file, key_id: "ABC123DEFG", team_id: "DEF123GHIJ" });
  expect(out).toContain("latefork push test AOR");
  expect(out).not.toContain(String(p8).split("\n")[1]!.slice(0, 12));
});

test("O-02 keys apns --json", async () => {
  const file = write("key.p8", String(p8), 0o644);
  const { code, out } = await latefork(["keys", "apns", file, "--json"]);
  expect(code).toBe(0);
  expect(JSON.parse(out)).toEqual({
    file,
    ok: true,
    algorithm: "ES256",
    curve: "P-256",
    key_id: "",
    world_readable: true,
  });
  expect((await latefork(["keys", "apns", file])).err).toBe(
    `warning: everyone on this machine can read ${file} (chmod o-r ${file})\n`,
  );
});

test("O-02 keys apns says why a file is none, and fails", async () => {
  const file = write("cert.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
  const { code, out, err } = await latefork(["keys", "apns", file]);
  expect([code, out]).toEqual([1, ""]);
  expect(err).toBe(`${file} is no APNs key: it is a certificate; what is needed is a key, made under Keys as .p8\n`);
  expect((await latefork(["keys", "apns", join(folder, "none")])).err).toContain("there is no such file");
  expect(JSON.parse((await latefork(["keys", "apns", file, "--json"])).out)).toMatchObject({ ok: false });
});

test("O-02 keys vapid makes a file that only its owner can read, and says what to put where", async () => {
  const file = join(folder, "vapid.json");
  const { code, out, err } = await latefork(["keys", "vapid", file]);
  expect([code, err]).toEqual([0, noteOn(file)]);
  expect(statSync(file).mode & 0o777).toBe(0o600);
  const { publicKey, privateKey } = JSON.parse(readFileSync(file, "utf8"));
  expect(out).toContain(`public key: ${publicKey}`);
  expect(out).not.toContain(privateKey);
  const yaml = out.slice(out.indexOf("  push:"), out.indexOf("The app")).replaceAll("\n  ", "\n").trimStart();
  const { config, problems } = loadConfig(`users_file: u\n${yaml}`);
  expect(problems).toEqual([]);
  expect(config!.push.webpush).toMatchObject({ vapid_file: file, subject: "mailto:ops@example.org" });
});

test("O-02 keys vapid shows the keys there are, and makes none anew", async () => {
  const file = join(folder, "kept.json");
  const made = JSON.parse((await latefork(["keys", "vapid", file, "--json"])).out);
  const again = JSON.parse((await latefork(["keys", "vapid", file, "--json"])).out);
  expect(made).toMatchObject({ file, ok: true, made: true, world_readable: false });
  expect(again).toEqual({ ...made, made: false });
  chmodSync(file, 0o644);
  expect((await latefork(["keys", "vapid", file])).err).toContain("everyone on this machine can read");
  writeFileSync(file, "{}");
  const broken = await latefork(["keys", "vapid", file]);
  expect([broken.code, broken.out, readFileSync(file, "utf8")]).toEqual([1, "", "{}"]);
  expect(broken.err).toContain('holds no VAPID keys: its "publicKey" or "privateKey" is missing');
  expect(JSON.parse((await latefork(["keys", "vapid", file, "--json"])).out)).toMatchObject({ ok: false });
});

test("O-02 keys vapid without a file prints a pair that can be one", async () => {
  const { code, out } = await latefork(["keys", "vapid"]);
  const file = write("printed.json", out);
  expect(code).toBe(0);
  expect(JSON.parse((await latefork(["keys", "vapid", file, "--json"])).out)).toMatchObject({ ok: true, made: false });
});

test.each([
  [["keys"], 64, "an argument is missing"],
  [["keys", "apns"], 64, "the file is missing"],
  [["keys", "fcm", "x"], 64, "expected: apns FILE"],
  [["keys", "vapid", "/proc/none/vapid.json"], 1, "cannot make /proc/none/vapid.json: ENOENT"],
])("%j is told", async (argv, expected, words) => {
  const { code, err } = await latefork(argv);
  expect(code).toBe(expected);
  expect(err).toContain(words);
});
