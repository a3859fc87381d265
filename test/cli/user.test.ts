import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runUser } from "../../src/cli/user.ts";
import { parseUsersFile } from "../../src/config/users_file.ts";
import { digestUser } from "../../src/core/sip/digest.ts";

let folder = "";
let file = "";

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "latefork-user-"));
  file = join(folder, "users");
});

afterEach(() => rmSync(folder, { recursive: true }));

/** Runs the verb with `input` piped in; null: standard input is a terminal. */
async function run(args: string[], input: string | null = null, usersFile = file) {
  let stdout = "";
  let stderr = "";
  const io = {
    readPassword: () => input === null ? Promise.reject(new Error("a terminal was read")) : Promise.resolve(input),
    isInputTerminal: input === null,
    stdout: (text: string) => void (stdout += text),
    stderr: (text: string) => void (stderr += text),
  };
  const code = await runUser(args, io, usersFile);
  return { code, stdout, stderr };
}

const usersOf = (path: string) => parseUsersFile(readFileSync(path, "utf8")).users;
const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8);

describe("R-16 user add", () => {
  test("makes a file that only its owner can read, with hashes and no password", async () => {
    const { code, stdout, stderr } = await run(["add", "alice@Example.org"], "wonder\n");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toContain(`added alice@example.org in ${file}`);
    expect(usersOf(file)).toEqual([digestUser("alice", "example.org", "wonder")]);
    expect(modeOf(file)).toBe("600");
    expect(readFileSync(file, "utf8") + stdout).not.toContain("wonder");
    expect(readdirSync(folder)).toEqual(["users"]);
  });

  test("changes a password and keeps every other line", async () => {
    await run(["add", "alice@example.org"], "old");
    writeFileSync(file, `# staff\n${readFileSync(file, "utf8")}# end`);
    const { stdout } = await run(["add", "sip:alice@example.org"], "new\r\n");
    expect(stdout).toStartWith("changed alice@example.org");
    expect(usersOf(file)).toEqual([digestUser("alice", "example.org", "new")]);
    expect(readFileSync(file, "utf8")).toMatch(/^# staff\nalice.*\n# end$/);
  });

  test("takes the password from a file, and names and passwords beyond ASCII", async () => {
    const passwordFile = join(folder, "password");
    writeFileSync(passwordFile, " größe€ \n");
    expect((await run(["add", "jörg@example.org", "--password-file", passwordFile])).code).toBe(0);
    expect(usersOf(file)).toEqual([digestUser("jörg", "example.org", " größe€ ")]);
  });

  test("narrows a file that others could read, and says so", async () => {
    writeFileSync(file, "");
    chmodSync(file, 0o644);
    const { stderr } = await run(["add", "alice@example.org"], "wonder");
    expect(stderr).toContain("readable for its owner alone (was 644)");
    expect(modeOf(file)).toBe("600");
  });

  test.skipIf(process.getuid?.() !== 0)("the file stays its owner's (needs root to be tried)", async () => {
    writeFileSync(file, "", { mode: 0o600 });
    chownSync(file, 12345, 54321);
    expect((await run(["add", "alice@example.org"], "wonder")).code).toBe(0);
    expect(statSync(file)).toMatchObject({ uid: 12345, gid: 54321 });
  });

  test("a link stays a link", async () => {
    const link = join(folder, "link");
    writeFileSync(file, "# staff\n", { mode: 0o600 });
    symlinkSync(file, link);
    expect((await run(["add", "alice@example.org", "--file", link], "wonder")).code).toBe(0);
    expect(lstatSync(link).isSymbolicLink()).toBe(true);
    expect(usersOf(file)).toHaveLength(1);
  });

  test("does not touch a file another one is editing", async () => {
    writeFileSync(`${file}.new`, "theirs");
    const { code, stderr } = await run(["add", "alice@example.org"], "wonder");
    expect(code).toBe(1);
    expect(stderr).toContain("another one is editing it");
    expect(readFileSync(`${file}.new`, "utf8")).toBe("theirs");
    expect(existsSync(file)).toBe(false);
  });

  test("does not rewrite a file that is not UTF-8, and leaves no lock behind", async () => {
    writeFileSync(file, new Uint8Array([0x23, 0xff, 0x0a]));
    const { code, stderr } = await run(["add", "alice@example.org"], "wonder");
    expect(code).toBe(1);
    expect(stderr).toContain("not UTF-8");
    expect(readFileSync(file)).toHaveLength(3);
    expect(readdirSync(folder)).toEqual(["users"]);
  });

  for (const [name, input] of [["an empty password", "\n"], ["a password of two lines", "a\nb\n"]]) {
    test(`refuses ${name}`, async () => {
      const { code, stderr } = await run(["add", "alice@example.org"], input);
      expect(code).toBe(1);
      expect(stderr).toStartWith("latefork user: Cannot add a user with");
      expect(existsSync(file)).toBe(false);
    });
  }

  test("a folder that is not there fails with its name", async () => {
    const { code, stderr } = await run(["add", "alice@example.org", "--file", join(folder, "no", "users")], "wonder");
    expect(code).toBe(1);
    expect(stderr).toContain(join(folder, "no", "users"));
  });
});

describe("R-16 user rm", () => {
  test("removes the user and keeps the mode", async () => {
    await run(["add", "alice@example.org"], "wonder");
    await run(["add", "bob@example.org"], "builder");
    expect((await run(["rm", "alice@EXAMPLE.org"])).stdout).toStartWith("removed alice@example.org");
    expect(usersOf(file)).toEqual([digestUser("bob", "example.org", "builder")]);
    expect(modeOf(file)).toBe("600");
  });

  test("fails for a user that is not there, and changes nothing", async () => {
    await run(["add", "alice@example.org"], "wonder");
    const before = readFileSync(file, "utf8");
    const { code, stderr } = await run(["rm", "bob@example.org"]);
    expect(code).toBe(1);
    expect(stderr).toContain("does not have it");
    expect(readFileSync(file, "utf8")).toBe(before);
    expect(readdirSync(folder)).toEqual(["users"]);
  });

  test("makes no file where there is none", async () => {
    expect((await run(["rm", "bob@example.org"])).code).toBe(1);
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe("R-16 user ls", () => {
  test("shows names and which hashes there are, never a hash", async () => {
    await run(["add", "alice@example.org"], "wonder");
    writeFileSync(file, readFileSync(file, "utf8") + `bob:x.org:${digestUser("bob", "x.org", "b").ha1Md5}\n`);
    const table = await run(["ls"]);
    expect(table).toEqual({
      code: 0,
      stdout: "USER   REALM        HASHES\nalice  example.org  sha-256, md5\nbob    x.org        md5\n",
      stderr: "",
    });
    const json = JSON.parse((await run(["ls", "--json"])).stdout);
    expect(json).toEqual({
      items: [
        { user: "alice", realm: "example.org", hashes: ["sha-256", "md5"] },
        { user: "bob", realm: "x.org", hashes: ["md5"] },
      ],
      next: null,
    });
  });

  test("names the lines it cannot read and fails, without their text", async () => {
    writeFileSync(file, "# staff\nalice:example.org:swordfish\n");
    const { code, stdout, stderr } = await run(["ls"]);
    expect(code).toBe(1);
    expect(stderr).toStartWith(`${file}:2: Cannot read the hashes of a user`);
    expect(stdout + stderr).not.toContain("swordfish");
  });

  test("a file that is not there fails", async () => {
    expect((await run(["ls"])).code).toBe(1);
  });
});

describe("user with wrong arguments is answered 64 with the usage", () => {
  const cases: [string, string[], RegExp][] = [
    ["nothing", [], /user: expected add, rm or ls/],
    ["an unknown verb", ["del", "a@b"], /unknown verb "del"/],
    ["an unknown option", ["ls", "--verbose"], /verbose/],
    ["no name", ["add"], /add takes one name/],
    ["two names", ["rm", "a@b", "c@d"], /rm takes one name/],
    ["a name for ls", ["ls", "a@b"], /ls takes no name/],
    ["a name without domain", ["add", "alice"], /without a name and a realm/],
    ["a name with a colon", ["add", "a:b@c"], /":"/],
    ["a password on the command line", ["add", "a@b", "--password", "p"], /password/],
    ["a password file for rm", ["rm", "a@b", "--password-file", "x"], /is for add/],
    ["json for rm", ["rm", "a@b", "--json"], /is for ls/],
    ["a terminal in place of a password", ["add", "a@b"], /pipe it in/],
  ];
  for (const [name, args, message] of cases) {
    test(name, async () => {
      const { code, stderr, stdout } = await run(args);
      expect({ code, stdout }).toEqual({ code: 64, stdout: "" });
      expect(stderr).toMatch(message);
      expect(stderr).toContain("usage: latefork user add");
      expect(readdirSync(folder)).toEqual([]);
    });
  }

  test("no users file", async () => {
    const { code, stderr } = await run(["ls"], null, "");
    expect(code).toBe(64);
    expect(stderr).toContain("set users_file");
  });
});
