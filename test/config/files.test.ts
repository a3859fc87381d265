/** O-02: the config file itself and the files it names, on a real disk. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { checkFiles, findConfig, loadConfigFile, readToken } from "../../src/config/files.ts";

let folder = "";

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "latefork-config-"));
  mkdirSync(join(folder, "etc"));
});
afterAll(() => rmSync(folder, { recursive: true }));

function write(name: string, text: string, mode = 0o600): string {
  const file = join(folder, name);
  writeFileSync(file, text);
  chmodSync(file, mode);
  return file;
}

function check(text: string): string[] {
  const { config, problems, placeOf } = loadConfigFile(
    write("etc/latefork.yaml", `store: { path: ":memory:" }\n${text}`),
  );
  if (config === null) throw new Error(JSON.stringify(problems));
  return checkFiles(config, placeOf).map(({ severity, line, column, path, message, hint }) =>
    `${severity} ${line}:${column} ${path}: ${message}${hint === "" ? "" : ` (${hint})`}`.replaceAll(folder, "TMP")
  );
}

test("O-02 file names are relative to the folder of the config file", () => {
  const { config } = loadConfigFile(write("etc/latefork.yaml", "users_file: users\nstore: { path: data/x.db }\n"));
  expect(config?.users_file).toBe(join(folder, "etc/users"));
  expect(config?.store.path).toBe(join(folder, "etc/data/x.db"));
});

test("O-02 files that are there, readable and private are no problem", () => {
  write("etc/users", "");
  write("etc/token", "abc\n");
  expect(check("users_file: users\ncontrol: { token_file: token }\n")).toEqual([]);
});

test("O-02 a missing file is an error where it is named", () => {
  expect(check("pbx:\n  uri: sip:10.0.0.1\n  credentials_file: none\n")).toEqual([
    "error 4:21 pbx.credentials_file: cannot read TMP/etc/none: there is no such file (make it, or remove the key)",
  ]);
  expect(check("users_file: .\n")).toEqual(["error 2:13 users_file: cannot read TMP/etc: it is a folder"]);
});

test("X-04 a secret that everyone can read is a warning", () => {
  write("etc/open", "abc", 0o644);
  expect(check("users_file: open\n")).toEqual([
    "warning 2:13 users_file: everyone on this machine can read TMP/etc/open (chmod o-r TMP/etc/open)",
  ]);
});

test("O-02 a token file without a token is an error", () => {
  write("etc/empty", "\n");
  expect(check("users_file: users\npush: { webhook: { a: { url: 'http://a', token_file: empty } } }\n")).toEqual([
    "error 3:54 push.webhook.a.token_file: cannot use TMP/etc/empty: it is empty",
  ]);
});

test("O-02 P-10 the files of a sender are looked for as all others, those of its headers too", () => {
  write("etc/empty", "\n");
  write("etc/open", "Bearer abc", 0o644);
  const sender =
    "{ url: 'http://a', json: {}, token_file: empty, headers: { X-A: { file: gone }, X-B: { file: open } } }";
  expect(check(`users_file: users\npush: { http: { a: ${sender} } }\n`)).toEqual([
    "error 3:77 push.http.a.headers.x-a: cannot read TMP/etc/gone: there is no such file (make it, or remove the key)",
    "warning 3:77 push.http.a.headers.x-b: everyone on this machine can read TMP/etc/open (chmod o-r TMP/etc/open)",
    "error 3:61 push.http.a.token_file: cannot use TMP/etc/empty: it is empty",
  ]);
});

test("O-02 a database needs a folder that can be made, and must be a file", () => {
  const placeOf = () => ({ line: 1, column: 1, length: 0 });
  const problemsOf = (path: string) => {
    const { config } = loadConfigFile(write("etc/latefork.yaml", `store: { path: ${path} }\n`));
    return checkFiles(config!, placeOf).map(({ message }) => message.replaceAll(folder, "TMP"));
  };
  expect(problemsOf("new/deep/x.db")).toEqual([]);
  expect(problemsOf("../etc")).toEqual(["TMP/etc is not a file"]);
  expect(problemsOf("users/x.db")).toEqual(["TMP/etc/users is not a folder"]);
});

test.each([
  ["abc\n", { token: "abc" }],
  ["  abc  \r\n", { token: "abc" }],
  ["", { reason: "it is empty" }],
  ["a b", { reason: "it must hold one line without spaces" }],
  ["a\nb", { reason: "it must hold one line without spaces" }],
  ["ä", { reason: "it must hold one line without spaces" }],
  ["x".repeat(5000), { reason: "it is larger than 4096 bytes" }],
])("X-04 a token file of %p", (text, expected) => {
  expect(readToken(write("token", text))).toEqual(expected as ReturnType<typeof readToken>);
});

test("O-02 a config file that cannot be read is a problem like any other", () => {
  const tell = (file: string) =>
    loadConfigFile(file).problems.map(({ line, column, message }) => `${line}:${column} ${message}`);
  expect(tell(join(folder, "none.yaml"))).toEqual(["1:1 cannot be read: there is no such file"]);
  expect(loadConfigFile(join(folder, "none.yaml")).problems[0]!.hint).toBe(
    "latefork init -c FILE writes one to begin with",
  );
  expect(tell(folder)).toEqual(["1:1 cannot be read: it is a folder"]);
  expect(tell("/dev/zero")).toEqual(["1:1 cannot be read: it is not a regular file"]);
  expect(tell(write("big.yaml", "#".repeat(300_000)))).toEqual(["1:1 cannot be read: it is larger than 262144 bytes"]);
  expect(loadConfigFile(folder).config).toBeNull();
});

test("O-02 the config is the one of the flag, else of the environment", () => {
  expect(findConfig("a.yaml", "b.yaml")).toBe("a.yaml");
  expect(findConfig(undefined, "b.yaml")).toBe("b.yaml");
  expect(findConfig("", "b.yaml")).toBe("b.yaml");
});
