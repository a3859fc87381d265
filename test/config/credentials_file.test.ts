import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { parseCredentialsFile } from "../../src/config/credentials_file.ts";
import { formatUser } from "../../src/config/users_file.ts";
import { answerChallenge, digestUser, parseCredentials, wireText } from "../../src/core/sip/digest.ts";

const alice = digestUser("alice", "pbx", "wonder");
const { ha1Md5: MD5, ha1Sha256: SHA } = alice;

describe("R-09 the credentials file is read", () => {
  const cases: { name: string; text: string; password: string | null; hashes: string[] }[] = [
    { name: "a password", text: "# PBX\r\n\r\nalice:wonder\r\n", password: "wonder", hashes: [] },
    { name: "a password with colons and spaces", text: "alice: a:b ", password: " a:b ", hashes: [] },
    { name: "a password that looks like a hash", text: `alice:${MD5}`, password: MD5, hashes: [] },
    { name: "a hash", text: `alice:pbx:${MD5.toUpperCase()}`, password: null, hashes: ["MD5"] },
    { name: "a SHA-256 hash", text: `alice:pbx:${SHA}`, password: null, hashes: ["SHA-256"] },
    { name: "a line of a users file", text: formatUser(alice), password: null, hashes: ["MD5", "SHA-256"] },
    {
      name: "hashes in two lines and a password for other realms",
      text: `alice:pbx:${MD5}\nalice:pbx:${SHA}\nalice:other`,
      password: "other",
      hashes: ["MD5", "SHA-256"],
    },
  ];
  for (const { name, text, password, hashes } of cases) {
    test(name, () => {
      const { secrets, problems } = parseCredentialsFile(text);
      expect(problems).toEqual([]);
      expect([...secrets.keys()]).toEqual(["alice"]);
      const secret = secrets.get("alice")!;
      expect(secret.password).toBe(password);
      expect(secret.ha1s.map(({ hash }) => hash as string)).toEqual(hashes);
      for (const { hash, realm, ha1 } of secret.ha1s) {
        expect({ realm, ha1 }).toEqual({ realm: "pbx", ha1: hash === "MD5" ? MD5 : SHA });
      }
    });
  }

  test("names and passwords beyond ASCII answer as the server hashes them", () => {
    const secret = parseCredentialsFile("jörg:größe").secrets.get(wireText("jörg"))!;
    const challenge = { realm: "pbx", nonce: "n", opaque: null, algorithm: "MD5", qop: null, isStale: false } as const;
    const request = { method: "REGISTER", uri: "sip:pbx", cnonce: "c", nc: 1 };
    const hashed = {
      username: wireText("jörg"),
      password: null,
      ha1s: [{
        realm: "pbx",
        hash: "MD5" as const,
        ha1: digestUser("jörg", "pbx", "größe").ha1Md5,
      }],
    };
    const answer = answerChallenge([challenge], secret, request);
    expect(answer).toBe(answerChallenge([challenge], hashed, request));
    expect(parseCredentials(answer!)).toMatchObject({ username: "j\xc3\xb6rg" });
  });

  const bad: [string, string, RegExp][] = [
    ["no colon", "swordfish", /expected user:password/],
    ["no user", ":swordfish", /expected user:password/],
    ["no password", "bob:", /expected user:password/],
    ["a second password", "alice:swordfish", /User alice has credentials/],
    ["a second hash for the realm", `carol:pbx:${SHA}`, /User carol has credentials/],
  ];
  for (const [name, line, message] of bad) {
    test(`${name} is a problem with its line, and the others count`, () => {
      const { secrets, problems } = parseCredentialsFile(`alice:wonder\ncarol:pbx:${MD5}:${SHA}\n${line}\n`);
      expect([...secrets.keys()]).toEqual(["alice", "carol"]);
      expect(secrets.get("alice")?.password).toBe("wonder");
      expect(problems.map((problem) => problem.line)).toEqual([3]);
      expect(problems[0]!.message).toMatch(message);
      expect(JSON.stringify(problems)).not.toMatch(/swordfish|[0-9a-f]{16}/);
    });
  }

  test("reading never throws", () => {
    const noise = fc.array(fc.oneof(fc.constantFrom(":", "\n", "#", MD5, SHA, "a"), fc.string({ maxLength: 3 })));
    fc.assert(fc.property(noise, (parts) => void parseCredentialsFile(parts.join(""))));
  });
});
