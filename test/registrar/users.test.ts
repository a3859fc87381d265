import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  formatUser,
  nameProblem,
  parseUsers,
  UserDirectory,
  withoutUser,
  withUser,
} from "../../src/registrar/users.ts";
import { ha1 } from "../../src/sip/digest.ts";

const MD5 = ha1("MD5", "alice", "example.org", "wonder");
const SHA = ha1("SHA-256", "alice", "example.org", "wonder");
const alice = { user: "alice", realm: "example.org", ha1Md5: MD5, ha1Sha256: SHA };

describe("R-16 the users file is read", () => {
  const good: { name: string; text: string; expected: ReturnType<typeof parseUsers>["users"] }[] = [
    { name: "both hashes", text: `alice:example.org:${MD5}:${SHA}\n`, expected: [alice] },
    { name: "MD5 alone", text: `alice:example.org:${MD5}`, expected: [{ ...alice, ha1Sha256: "" }] },
    { name: "SHA-256 alone", text: `alice:example.org::${SHA}`, expected: [{ ...alice, ha1Md5: "" }] },
    {
      name: "comments, blank lines, CRLF, a byte order mark, upper-case hashes",
      text: `\xef\xbb\xbf# users\r\n\r\n  alice:example.org:${MD5.toUpperCase()}:${SHA.toUpperCase()}  \r\n \t# end`,
      expected: [alice],
    },
    {
      name: "a realm with colons",
      text: `alice:[2001:db8::1]:${MD5}:${SHA}`,
      expected: [{ ...alice, realm: "[2001:db8::1]" }],
    },
    { name: "nothing", text: "", expected: [] },
  ];
  for (const { name, text, expected } of good) {
    test(name, () => expect(parseUsers(text)).toEqual({ users: expected, problems: [] }));
  }

  const bad: { name: string; line: string; message: RegExp }[] = [
    { name: "a password in place of the hash", line: "bob:example.org:swordfish", message: /never a password/ },
    { name: "a password of the old user:password form", line: "bob:swordfish", message: /expected user:realm/ },
    { name: "a hash that is cut", line: `bob:example.org:${MD5.slice(1)}`, message: /32 hexadecimal digits/ },
    {
      name: "hashes in the wrong order",
      line: `bob:example.org:${SHA}:${MD5}:${SHA.slice(1)}`,
      message: /32 hexadecimal/,
    },
    { name: "SHA-256 in the place of MD5", line: `bob:example.org:${SHA}`, message: /32 hexadecimal digits/ },
    { name: "no name", line: `:example.org:${MD5}`, message: /name or the realm is empty/ },
    { name: "no realm", line: `bob::${MD5}`, message: /name or the realm is empty/ },
    { name: "the same user twice", line: `alice:EXAMPLE.org:${MD5}`, message: /stands on line 2 already/ },
  ];
  for (const { name, line, message } of bad) {
    test(`${name} is a problem with its line, and the others count`, () => {
      const { users, problems } = parseUsers(`# users\n${formatUser(alice)}\n\n${line}\n`);
      expect(users).toEqual([alice]);
      expect(problems).toHaveLength(1);
      expect(problems[0].line).toBe(4);
      expect(problems[0].message).toMatch(message);
      expect(problems[0].hint).not.toBe("");
      expect(JSON.stringify(problems)).not.toMatch(/swordfish|[0-9a-f]{16}/);
    });
  }

  test("reading never throws", () => {
    const noise = fc.array(
      fc.oneof(fc.constantFrom(":", "\n", "#", MD5, SHA, "a"), fc.string({ unit: "binary", maxLength: 3 })),
    );
    fc.assert(fc.property(noise, (parts) => {
      const { users } = parseUsers(parts.join(""));
      expect(parseUsers(users.map(formatUser).join("\n")).users).toEqual(users);
    }));
  });
});

describe("R-16 the directory", () => {
  test("finds by exact name and by realm in any case", () => {
    const directory = new UserDirectory([alice, { ...alice, realm: "other.org" }, { ...alice, ha1Md5: "0" }]);
    expect(directory.size).toBe(2);
    expect(directory.find("alice", "Example.ORG")).toBe(alice);
    expect(directory.find("Alice", "example.org")).toBeNull();
    expect(directory.find("alice", "elsewhere.org")).toBeNull();
    expect(directory.find("__proto__", "example.org")).toBeNull();
  });

  test("a name from the network cannot reach into the realm", () => {
    const directory = new UserDirectory([{ ...alice, realm: "a:example.org" }]);
    expect(directory.find("alice:a", "example.org")).toBeNull();
    expect(directory.find("alice\na:example.org", "")).toBeNull();
  });

  test("knows what most users have", () => {
    const old = (user: string) => ({ ...alice, user, ha1Sha256: "" });
    const offer = (...users: typeof alice[]) => new UserDirectory(users).commonOffer;
    expect(offer()).toEqual({ hasMd5: true, hasSha256: true });
    expect(offer(alice, old("b"))).toEqual({ hasMd5: true, hasSha256: true });
    expect(offer(alice, old("b"), old("c"))).toEqual({ hasMd5: true, hasSha256: false });
    expect(offer({ ...alice, ha1Md5: "" })).toEqual({ hasMd5: false, hasSha256: true });
  });
});

describe("R-16 the users file is edited", () => {
  const bob = { ...alice, user: "bob" };

  test("a new user comes to the end, whether or not the last line is closed", () => {
    const line = formatUser(alice) + "\n";
    expect(withUser("", alice)).toEqual({ text: line, isReplaced: false });
    expect(withUser("# a\n", alice).text).toBe("# a\n" + line);
    expect(withUser("# a", alice).text).toBe("# a\n" + line);
  });

  test("a user that is there keeps its place, all other lines every byte", () => {
    const before = `# staff\r\n ${formatUser({ ...alice, ha1Sha256: "" })} \r\n\r\nbroken line\n${
      formatUser(bob)
    }\n# end`;
    const after = withUser(before, { ...alice, realm: "EXAMPLE.org" });
    expect(after.isReplaced).toBe(true);
    expect(after.text).toBe(
      `# staff\r\nalice:EXAMPLE.org:${MD5}:${SHA}\r\n\r\nbroken line\n${formatUser(bob)}\n# end`,
    );
  });

  test("a user is removed with its line alone", () => {
    const text = `# staff\n${formatUser(alice)}\n#${formatUser(bob)}\n`;
    expect(withoutUser(text, "alice", "Example.org")).toBe(`# staff\n#${formatUser(bob)}\n`);
    expect(withoutUser(text, "bob", "example.org")).toBeNull();
  });

  test("adding and removing any user gives the file back", () => {
    const name = fc.string({ unit: fc.constantFrom(..."abz09.-_+%#@é"), minLength: 1 });
    fc.assert(fc.property(name, name, (user, realm) => {
      fc.pre(nameProblem(user, realm) === null);
      const file = `# staff\n${formatUser(alice)}\n`;
      const { text } = withUser(file, { ...alice, user, realm });
      expect(parseUsers(text).users).toContainEqual({ ...alice, user, realm });
      expect(parseUsers(text).problems).toEqual([]);
      if (user !== "alice") expect(withoutUser(text, user, realm)).toBe(file);
    }));
  });

  const names: [string, string, RegExp | null][] = [
    ["alice", "example.org", null],
    ["", "example.org", /without a name/],
    ["alice", "", /without a name and a realm/],
    ["#alice", "example.org", /comment/],
    ["al:ice", "example.org", /":"/],
    ["alice\n", "example.org", /control/],
    ["alice", "exa mple", /spaces/],
  ];
  for (const [user, realm, problem] of names) {
    test(`the name ${JSON.stringify(user)} of ${JSON.stringify(realm)} is ${problem ? "refused" : "taken"}`, () => {
      if (problem === null) expect(nameProblem(user, realm)).toBeNull();
      else expect(nameProblem(user, realm)).toMatch(problem);
    });
  }
});
