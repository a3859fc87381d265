/** O-02: what is wrong with a `.p8` key is said in words, and never the key itself. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { createPublicKey, generateKeyPairSync } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readApnsKey } from "../../src/config/apns_key.ts";
import { checkFiles, loadConfigFile } from "../../src/config/files.ts";

const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
const p8 = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
const pem = (label: string, body: string): string => `-----BEGIN ${label}-----\n${body}\n-----END ${label}-----\n`;

function problemOf(text: string): string {
  const read = readApnsKey(text);
  return "reason" in read ? read.reason : "";
}

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "latefork-key-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

test.each([
  ["a .p8", p8],
  ["one with a byte order mark and CRLF", "\ufeff" + p8.replaceAll("\n", "\r\n")],
  ["one in the older form", privateKey.export({ type: "sec1", format: "pem" }).toString()],
])("O-02 %s is a key", (_name, text) => {
  expect(problemOf(text)).toBe("");
});

test.each([
  ["nothing", " \n", "it is empty"],
  ["text", "hello", "it is not PEM text"],
  ["a PKCS #12 file", "0\x82\x05\xc0", "it is not PEM text"],
  ["a certificate", pem("CERTIFICATE", "MIIB"), "it is a certificate"],
  [
    "a public key",
    createPublicKey(privateKey).export({ type: "spki", format: "pem" }).toString(),
    "it is a public key",
  ],
  ["an encrypted key", pem("ENCRYPTED PRIVATE KEY", "MIIB"), "it is encrypted"],
  ["half a key", p8.slice(0, 120), "damaged"],
  ["a key in one line", p8.replaceAll("\n", " ").replace("KEY----- ", "KEY-----").slice(0, 90), "damaged"],
  [
    "an RSA key",
    generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    "of another kind (rsa)",
  ],
  [
    "a key on another curve",
    generateKeyPairSync("ec", { namedCurve: "P-384" }).privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    "of another kind (secp384r1)",
  ],
])("O-02 %s is none", (_name, text, words) => {
  expect(problemOf(text)).toContain(words);
  expect(problemOf(text)).not.toContain("MIG");
});

test("O-02 check looks into the key the config names", () => {
  const config = join(folder, "latefork.yaml");
  writeFileSync(
    config,
    "store: { path: ':memory:' }\npush: { apns: { key_file: a.p8, key_id: ABC123DEFG, team_id: DEF123GHIJ } }\n",
  );
  const told = (): string[] => {
    const loaded = loadConfigFile(config);
    return checkFiles(loaded.config!, loaded.placeOf).map(({ severity, line, column, message }) =>
      `${severity} ${line}:${column} ${message}`.replaceAll(folder, "TMP")
    );
  };
  writeFileSync(join(folder, "a.p8"), p8, { mode: 0o600 });
  expect(told()).toEqual([]);
  writeFileSync(join(folder, "a.p8"), "hello");
  expect(told()).toEqual([
    "error 2:27 cannot use TMP/a.p8: it is not PEM text; Apple gives the key as AuthKey_KEYID.p8, and only once",
  ]);
});
