/** O-02: what is wrong with a service account file is said in words, and never the key itself. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { checkFiles, loadConfigFile } from "../../src/config/files.ts";
import { readServiceAccount } from "../../src/config/service_account.ts";

const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ type: "pkcs8", format: "pem" });
const ec = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ type: "pkcs8", format: "pem" });
const account = (changes: Record<string, unknown> = {}): string =>
  JSON.stringify({
    type: "service_account",
    project_id: "phone-1a2b3",
    private_key_id: "1",
    private_key: rsa,
    client_email: "x@phone-1a2b3.iam.gserviceaccount.com",
    token_uri: "https://oauth2.googleapis.com/token",
    ...changes,
  });

function problemOf(text: string): string {
  const read = readServiceAccount(text);
  return "reason" in read ? read.reason : "";
}

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "latefork-account-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

test("O-02 a service account is one", () => {
  expect(problemOf(account())).toBe("");
  expect(readServiceAccount(account())).toMatchObject({ projectId: "phone-1a2b3", keyId: "1" });
});

test.each([
  ["nothing", " \n", "it is empty"],
  ["text", "hello", "it is not JSON; Firebase gives it under"],
  ["a list", "[]", "it is JSON, but no object"],
  ["the app's own file", '{"project_info":{},"client":[]}', "it is the app's google-services.json"],
  ["credentials of a user", account({ type: "authorized_user" }), 'it is no service account: its "type" is another'],
  ["one without a project", account({ project_id: undefined }), 'its "project_id" is missing'],
  ["one with a path for a project", account({ project_id: "a/b" }), 'its "project_id" is none'],
  ["one without a key", account({ private_key: "" }), 'its "private_key" is missing'],
  ["one without an address", account({ client_email: 1 }), 'its "client_email" is missing'],
  ["one with half a key", account({ private_key: String(rsa).slice(0, 200) }), 'its "private_key" is damaged'],
  ["one with a key of another kind", account({ private_key: ec }), "is of another kind (ec)"],
  ["one whose tokens come without TLS", account({ token_uri: "http://x/" }), 'its "token_uri" is not an https URL'],
])("O-02 %s is none", (_name, text, words) => {
  expect(problemOf(text)).toContain(words);
  expect(problemOf(text)).not.toContain("MII");
});

test("O-02 check looks into the service account the config names", () => {
  const config = join(folder, "latefork.yaml");
  writeFileSync(config, "store: { path: ':memory:' }\npush: { fcm: { service_account_file: a.json } }\n");
  const told = (): string[] => {
    const loaded = loadConfigFile(config);
    return checkFiles(loaded.config!, loaded.placeOf).map(({ severity, line, column, message }) =>
      `${severity} ${line}:${column} ${message}`.replaceAll(folder, "TMP")
    );
  };
  writeFileSync(join(folder, "a.json"), account(), { mode: 0o600 });
  expect(told()).toEqual([]);
  writeFileSync(join(folder, "a.json"), '{"project_info":{},"client":[]}');
  expect(told()).toEqual([
    "error 2:38 cannot use TMP/a.json: it is the app's google-services.json; what is needed is the key of a service account",
  ]);
});
