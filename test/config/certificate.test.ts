/** Certificates of the config: whether they can be used, how long they last, and where what is wrong with them is told. */
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { dateProblem, daysLeft, readCertificate, readPair } from "../../src/config/certificate.ts";
import { checkFiles, loadConfigFile, readTlsFiles } from "../../src/config/files.ts";
import { CertificateAuthority, selfSigned } from "../../src/demo/certificate.ts";

const DAY_MS = 86_400_000;
const FROM_MS = Date.UTC(2026, 0, 1);
const TO_MS = Date.UTC(2026, 3, 1);
const authority = new CertificateAuthority("Test CA");
const made = authority.issue({
  names: ["sip.example.org", "*.phones.example.org"],
  addresses: ["192.0.2.1"],
  validFromMs: FROM_MS,
  validToMs: TO_MS,
});
const other = selfSigned({ names: ["other.example.org"] });
const folder = mkdtempSync(join(tmpdir(), "latefork-certificate-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function write(name: string, text: string): string {
  const file = join(folder, name);
  writeFileSync(file, text, { mode: 0o600 });
  return file;
}

function check(text: string): string[] {
  const loaded = loadConfigFile(write("latefork.yaml", `store: { path: ":memory:" }\nusers_file: users\n${text}`));
  if (loaded.config === null) throw new Error(JSON.stringify(loaded.problems));
  return checkFiles(loaded.config, loaded.placeOf).map(({ severity, line, column, path, message }) =>
    `${severity} ${line}:${column} ${path}: ${message}`.replaceAll(folder, "TMP")
  );
}

write("users", "");
write("good.pem", made.cert);
write("good.key", made.key);
write("other.pem", other.cert);
write("other.key", other.key);
write("ca.pem", authority.cert);
write("garbage", "garbage");
write("empty", "");
write("half.pem", made.cert.slice(0, 200));

test("T-06 a certificate says whom it is for, who vouches for it, and until when", () => {
  const read = readCertificate(made.cert + authority.cert);
  expect("facts" in read && read.facts).toEqual({
    names: ["192.0.2.1", "sip.example.org", "*.phones.example.org"],
    issuer: "CN=Test CA",
    validFromMs: FROM_MS,
    validToMs: TO_MS,
  });
});

test("T-06 text that is no certificate, or no key of it, is told in words", () => {
  const certs: [text: string, reason: string][] = [
    ["", "it is empty"],
    ["hello", "it is not PEM text (-----BEGIN CERTIFICATE-----)"],
    [made.key, "it begins with a key; what is needed is a certificate"],
    [made.cert.slice(0, 200), "the certificate in it is damaged: are all its lines there, each on its own?"],
  ];
  for (const [text, reason] of certs) {
    expect(readPair("a.pem", text, made.key)).toEqual({ which: "cert_file", reason });
  }
  const keys: [text: string, reason: string][] = [
    ["", "it is empty"],
    ["hello", "it is not PEM text (-----BEGIN PRIVATE KEY-----)"],
    [made.cert, "it holds no private key but a CERTIFICATE"],
    [made.key.slice(0, 80), "the key in it is damaged: are all its lines there, each on its own?"],
    [
      "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n",
      "it is encrypted; take the pass phrase off: openssl pkey -in OLD -out NEW",
    ],
    [other.key, "the key does not belong to the certificate in a.pem"],
  ];
  for (const [text, reason] of keys) {
    expect(readPair("a.pem", made.cert, text)).toEqual({ which: "key_file", reason });
  }
});

test("T-06 days left, and what the dates mean for phones", () => {
  const facts = { names: [], issuer: "", validFromMs: FROM_MS, validToMs: TO_MS };
  const cases: [nowMs: number, days: number, problem: string][] = [
    [TO_MS - 15 * DAY_MS, 15, ""],
    [TO_MS - 14 * DAY_MS + 1, 13, "expires on 2026-04-01, in 13 days"],
    [TO_MS - 1.5 * DAY_MS, 1, "expires on 2026-04-01, in 1 day"],
    [TO_MS, 0, "has expired on 2026-04-01: phones refuse it"],
    [TO_MS + 2 * DAY_MS, -2, "has expired on 2026-04-01: phones refuse it"],
    [FROM_MS - 1, 90, "is not valid before 2026-01-01: is the clock right?"],
  ];
  for (const [nowMs, days, problem] of cases) {
    expect([daysLeft(facts, nowMs), dateProblem(facts, nowMs)]).toEqual([days, problem]);
  }
});

test("O-02 T-06 what is wrong with a certificate or key is told where it is named", () => {
  const listen = "listen: [tls://0.0.0.0]\n";
  const cases: [text: string, problems: string[]][] = [
    ["tls: { cert_file: good.pem, key_file: good.key }", []],
    ["tls: { cert_file: good.pem, key_file: good.key, client_ca_file: ca.pem }", []],
    ["tls: { cert_file: none.pem, key_file: good.key }", [
      "error 4:19 tls.cert_file: cannot read TMP/none.pem: there is no such file",
    ]],
    ["tls: { cert_file: half.pem, key_file: good.key }", [
      "error 4:19 tls.cert_file: cannot use TMP/half.pem: the certificate in it is damaged: are all its lines there, " +
      "each on its own?",
    ]],
    ["tls: { cert_file: good.pem, key_file: other.key }", [
      "error 4:39 tls.key_file: cannot use TMP/other.key: the key does not belong to the certificate in TMP/good.pem",
    ]],
    ["tls: { cert_file: [good.pem, other.pem], key_file: [good.key, garbage] }", [
      "error 4:63 tls.key_file[1]: cannot use TMP/garbage: it is not PEM text (-----BEGIN PRIVATE KEY-----)",
    ]],
    ["tls:\n  - { cert_file: good.pem, key_file: good.key }\n  - { cert_file: other.pem, key_file: good.key }", [
      "error 6:39 tls.key_file[1]: cannot use TMP/good.key: the key does not belong to the certificate in TMP/other.pem",
    ]],
    ["tls: { cert_file: good.pem, key_file: good.key, client_ca_file: empty }", [
      "error 4:65 tls.client_ca_file: cannot use TMP/empty: it is empty",
    ]],
  ];
  for (const [text, problems] of cases) expect(check(listen + text)).toEqual(problems);
});

test("T-06 pairs are read in the order of the file, however they are written", () => {
  const lists = "tls: { cert_file: [good.pem, other.pem], key_file: [good.key, other.key] }";
  const list = "tls: [{ cert_file: good.pem, key_file: good.key }, { cert_file: other.pem, key_file: other.key }]";
  for (const text of [lists, list]) {
    const { config } = loadConfigFile(write("latefork.yaml", `users_file: users\nlisten: [tls://0.0.0.0]\n${text}`));
    const { pairs, problems } = readTlsFiles(config!);
    expect(pairs.map(({ certFile, names }) => [certFile, names.at(-1)])).toEqual([
      [join(folder, "good.pem"), "*.phones.example.org"],
      [join(folder, "other.pem"), "other.example.org"],
    ]);
    expect(problems).toEqual([]);
  }
});
