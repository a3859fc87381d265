/** O-02: VAPID keys are made, and what is wrong with a file of them is said, never the private one. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import webPush from "web-push";
import { checkFiles, loadConfigFile } from "../../src/config/files.ts";
import { makeVapidKeys, readVapidKeys } from "../../src/config/vapid_keys.ts";
import { vapidKeysOf } from "../../src/io/push/webpush/vapid.ts";

const pair = makeVapidKeys();

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "latefork-vapid-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

test("O-02 keys made here are keys, for the check as for the relay, and as long as they must be", () => {
  for (let i = 0; i < 300; i++) {
    const made = makeVapidKeys();
    expect([made.publicKey.length, made.privateKey.length]).toEqual([87, 43]);
    expect(readVapidKeys(JSON.stringify(made))).toEqual(made);
    expect(vapidKeysOf(JSON.stringify(made))?.publicKey).toBe(made.publicKey);
  }
});

test("O-02 keys made by web-push are keys too", () => {
  const made = webPush.generateVAPIDKeys();
  expect(readVapidKeys(JSON.stringify(made))).toEqual(made);
  expect(vapidKeysOf(JSON.stringify({ subject: "mailto:a@b", ...made }))?.publicKey).toBe(made.publicKey);
});

test.each([
  ["nothing", "", "it is empty"],
  ["text", "-----BEGIN", "it is not JSON; `latefork keys vapid FILE` makes one"],
  ["null", "null", 'its "publicKey" or "privateKey" is missing'],
  ["half a pair", JSON.stringify({ publicKey: pair.publicKey }), 'its "publicKey" or "privateKey" is missing'],
  ["two halves", JSON.stringify({ ...pair, publicKey: makeVapidKeys().publicKey }), "its two keys are no pair"],
  ["a number that is none", JSON.stringify({ ...pair, privateKey: "" }), 'its "privateKey" is damaged'],
  ["a number that is too long", JSON.stringify({ ...pair, privateKey: pair.publicKey }), 'its "privateKey" is damaged'],
])("O-02 %s is none", (_name, text, words) => {
  const read = readVapidKeys(text);
  expect("reason" in read ? read.reason : "").toContain(words);
  expect(JSON.stringify(read)).not.toContain(pair.privateKey);
  expect(vapidKeysOf(text)).toBeNull();
});

test("O-02 check looks into the VAPID file the config names", () => {
  const config = join(folder, "latefork.yaml");
  writeFileSync(
    config,
    "store: { path: ':memory:' }\npush: { webpush: { vapid_file: v.json, subject: 'mailto:a@b' } }\n",
  );
  const told = (): string[] => {
    const loaded = loadConfigFile(config);
    return checkFiles(loaded.config!, loaded.placeOf).map(({ severity, line, column, message }) =>
      `${severity} ${line}:${column} ${message}`.replaceAll(folder, "TMP")
    );
  };
  writeFileSync(join(folder, "v.json"), JSON.stringify(pair), { mode: 0o600 });
  expect(told()).toEqual([]);
  writeFileSync(join(folder, "v.json"), "{}");
  expect(told()).toEqual([
    'error 2:32 cannot use TMP/v.json: its "publicKey" or "privateKey" is missing; `latefork keys vapid FILE` makes one',
  ]);
});
