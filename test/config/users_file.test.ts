import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { formatUser, nameProblem, parseUsersFile, withoutUser, withUser } from "../../src/config/users_file.ts";
import { digestUser } from "../../src/core/sip/digest.ts";

const alice = digestUser("alice", "example.org", "wonder");
const { ha1Md5: MD5, ha1Sha256: SHA } = alice;

describe("R-16 the users file is read", () => {
  const good: { name: string; text: string; expected: ReturnType<typeof parseUsersFile>["users"] }[] = [
    { name: "both hashes", text: `alice:example.org:${MD5}:${SHA}\n`, expected: [alice] },
    { name: "MD5 alone", text: `alice:example.org:${MD5}`, expected: [{ ...alice, ha1Sha256: "" }] },
    { name: "SHA-256 alone", text: `alice:example.org::${SHA}`, expected: [{ ...alice, ha1Md5: "" }] },
    {
      name: "comments, blank lines, CRLF, a byte order mark, upper-case hashes",
      text: `\ufeff# users\r\n\r\n  alice:example.org:${MD5.toUpperCase()}:${SHA.toUpperCase()}  \r\n \t# end`,
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
    test(name, () => expect(parseUsersFile(text)).toEqual({ users: expected, problems: [] }));
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
      const { users, problems } = parseUsersFile(`# users\n${formatUser(alice)}\n\n${line}\n`);
      expect(users).toEqual([alice]);
      expect(problems).toHaveLength(1);
      expect(problems[0]!.line).toBe(4);
      expect(problems[0]!.message).toMatch(message);
      expect(problems[0]!.hint).not.toBe("");
      expect(JSON.stringify(problems)).not.toMatch(/swordfish|[0-9a-f]{16}/);
    });
  }

  test("reading never throws", () => {
    const noise = fc.array(
      fc.oneof(fc.constantFrom(":", "\n", "#", MD5, SHA, "a"), fc.string({ unit: "binary", maxLength: 3 })),
    );
    fc.assert(fc.property(noise, (parts) => {
      const { users } = parseUsersFile(parts.join(""));
      expect(parseUsersFile(users.map(formatUser).join("\n")).users).toEqual(users);
    }));
  });
});

describe("R-16 the users file is edited", () => {
  const aliceLine = formatUser(alice);
  const bobLine = formatUser(digestUser("bob", "example.org", "builder"));

  test("a new user comes to the end, whether or not the last line is closed", () => {
    const add = (text: string) => withUser(text, "alice", "example.org", "wonder");
    expect(add("")).toEqual({ text: `${aliceLine}\n`, isReplaced: false });
    expect(add("# a\n").text).toBe(`# a\n${aliceLine}\n`);
    expect(add("# a").text).toBe(`# a\n${aliceLine}\n`);
  });

  test("what is written are hashes alone", () => {
    const { text } = withUser("", "alice", "example.org", "wonder");
    expect(text).toBe(`alice:example.org:${MD5}:${SHA}\n`);
    expect(text).not.toContain("wonder");
  });

  test("a user that is there keeps its place, all other lines every byte", () => {
    const before = `# staff\r\n alice:example.org:${MD5} \r\n\r\nbroken line\n${bobLine}\n# end`;
    const after = withUser(before, "alice", "EXAMPLE.org", "new");
    expect(after.isReplaced).toBe(true);
    const line = formatUser(digestUser("alice", "EXAMPLE.org", "new"));
    expect(after.text).toBe(`# staff\r\n${line}\r\n\r\nbroken line\n${bobLine}\n# end`);
  });

  test("a user is removed with all its lines and nothing else", () => {
    const text = `# staff\n${aliceLine}\n#${bobLine}\nalice:EXAMPLE.org:${MD5}\n`;
    expect(withoutUser(text, "alice", "Example.org")).toBe(`# staff\n#${bobLine}\n`);
    expect(withoutUser(text, "bob", "example.org")).toBeNull();
  });

  test("adding and removing any user gives the file back", () => {
    const name = fc.string({ unit: fc.constantFrom(..."abz09.-_+%#@é\u00a0 :"), minLength: 1 });
    fc.assert(fc.property(name, name, (user, realm) => {
      fc.pre(nameProblem(user, realm) === null && user !== "alice");
      const file = `# staff\n${aliceLine}\n`;
      const { text } = withUser(file, user, realm, "p");
      expect(parseUsersFile(text)).toEqual({ users: [alice, digestUser(user, realm, "p")], problems: [] });
      expect(withoutUser(text, user, realm)).toBe(file);
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
    ["\u00a0alice", "example.org", /spaces/],
  ];
  for (const [user, realm, problem] of names) {
    test(`the name ${JSON.stringify(user)} of ${JSON.stringify(realm)} is ${problem ? "refused" : "taken"}`, () => {
      if (problem === null) expect(nameProblem(user, realm)).toBeNull();
      else expect(nameProblem(user, realm)).toMatch(problem);
    });
  }
});
