import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import fc from "fast-check";
import {
  type Algorithm,
  answerChallenge,
  type Challenge,
  chooseChallenge,
  type Credentials,
  digestResponse,
  DigestSession,
  formatChallenge,
  formatCredentials,
  ha1,
  parseChallenges,
  parseCredentials,
  wireText,
} from "../../../src/core/sip/digest.ts";
import { parseAuthValue } from "../../../src/core/sip/auth_value.ts";

const RFC7616_NONCE = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
const RFC7616_CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";

const md5 = (text: string) => createHash("md5").update(text).digest("hex");
const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");

const secret = { username: "Mufasa", password: "Circle of Life", ha1s: [] };
const request = { method: "REGISTER", uri: "sip:example.org", cnonce: "cn", nc: 1 };

function challenge(fields: Partial<Challenge>): Challenge {
  return { realm: "r", nonce: "n", opaque: null, algorithm: "MD5", qop: "auth", isStale: false, ...fields };
}

function credentialsOf(value: string | null): Credentials {
  const credentials = parseCredentials(value ?? "");
  if (typeof credentials === "string") throw new Error(`not digest credentials: ${value}`);
  return credentials;
}

describe("response", () => {
  test("the example of RFC 2617 §3.5", () => {
    const key = ha1("MD5", "Mufasa", "testrealm@host.com", "Circle Of Life");
    expect(key).toBe("939e7578ed9e3c518a452acee763bce9");
    const fields = {
      algorithm: "MD5" as const,
      nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093",
      uri: "/dir/index.html",
      qop: "auth" as const,
      nc: "00000001",
      cnonce: "0a4f113b",
    };
    expect(digestResponse(key, "GET", fields)).toBe("6629fae49393a05397450978507c4ef1");
  });

  test("the example of RFC 2069 §2.4, corrected by erratum 749, has no qop", () => {
    const key = ha1("MD5", "Mufasa", "testrealm@host.com", "CircleOfLife");
    const nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093";
    const fields = { algorithm: "MD5" as const, nonce, uri: "/dir/index.html", qop: null, nc: "", cnonce: "" };
    expect(digestResponse(key, "GET", fields)).toBe("1949323746fe6a43ef61f9606e7febea");
  });

  for (
    const [algorithm, response] of [
      ["MD5", "8ca523f5e9506fed4657c9700eebdbec"],
      ["SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"],
    ] as const
  ) {
    test(`the example of RFC 7616 §3.9.1 with ${algorithm}`, () => {
      const key = ha1(algorithm, "Mufasa", "http-auth@example.org", "Circle of Life");
      const fields = {
        algorithm,
        nonce: RFC7616_NONCE,
        uri: "/dir/index.html",
        qop: "auth" as const,
        nc: "00000001",
        cnonce: RFC7616_CNONCE,
      };
      expect(digestResponse(key, "GET", fields)).toBe(response);
    });
  }

  for (const [algorithm, hash] of [["MD5-sess", md5], ["SHA-256-sess", sha256]] as const) {
    test(`${algorithm} hashes HA1 with nonce and cnonce (RFC 7616 §3.4.2)`, () => {
      const key = ha1(algorithm === "MD5-sess" ? "MD5" : "SHA-256", "u", "r", "p");
      const fields = { algorithm, nonce: "n", uri: "sip:x", qop: "auth" as const, nc: "00000001", cnonce: "c" };
      const expected = hash(`${hash(`${hash("u:r:p")}:n:c`)}:n:00000001:c:auth:${hash("REGISTER:sip:x")}`);
      expect(digestResponse(key, "REGISTER", fields)).toBe(expected);
    });
  }

  test("auth-int hashes the body (RFC 7616 §3.4.3)", () => {
    const fields = { algorithm: "MD5" as const, nonce: "n", uri: "sip:x", nc: "00000001", cnonce: "c" };
    const expected = md5(`${md5("u:r:p")}:n:00000001:c:auth-int:${md5(`INVITE:sip:x:${md5("v=0")}`)}`);
    expect(digestResponse(ha1("MD5", "u", "r", "p"), "INVITE", { ...fields, qop: "auth-int" }, "v=0")).toBe(expected);
  });

  test("a password beyond ASCII is hashed as UTF-8", () => {
    const key = ha1("SHA-256", wireText("jörg"), "r", wireText("größe€"));
    expect(key).toBe(createHash("sha256").update("jörg:r:größe€", "utf8").digest("hex"));
  });
});

describe("challenges", () => {
  const cases: { name: string; lines: string[]; expected: Partial<Challenge>[] }[] = [
    {
      name: "the example of RFC 7616 §3.9.1, two lines",
      lines: [
        `Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=SHA-256, nonce="${RFC7616_NONCE}", ` +
        `opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"`,
        `Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=MD5, nonce="${RFC7616_NONCE}", ` +
        `opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"`,
      ],
      expected: [
        { algorithm: "SHA-256", qop: "auth", opaque: "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS" },
        { algorithm: "MD5", nonce: RFC7616_NONCE },
      ],
    },
    {
      name: "several in one line, other schemes among them",
      lines: [
        'Basic realm="a, Digest b", DIGEST nonce="1", realm="x",Negotiate abc==, NTLM , digest realm=y,nonce=2 ,  stale=TRUE',
      ],
      expected: [{ realm: "x", nonce: "1", isStale: false }, { realm: "y", nonce: "2", isStale: true }],
    },
    {
      name: "folded, spaces around equals, escapes and commas in quotes",
      lines: ['Digest\r\n realm = "a \\"b\\", \\\\c" ,\r\n\tnonce= "n,1"'],
      expected: [{ realm: 'a "b", \\c', nonce: "n,1", qop: null, opaque: null, algorithm: "MD5" }],
    },
    {
      name: "algorithm in quotes, any case",
      lines: ['Digest realm="", nonce="", algorithm="md5-SESS"'],
      expected: [{ realm: "", algorithm: "MD5-sess" }],
    },
    { name: "auth-int alone", lines: ['Digest realm="r", nonce="n", qop="auth-int"'], expected: [{ qop: "auth-int" }] },
    {
      name: "an unknown algorithm is passed over",
      lines: ['Digest realm="r", nonce="n", algorithm=SHA-512-256'],
      expected: [],
    },
    {
      name: "an algorithm named like an object's member",
      lines: ['Digest realm="r", nonce="n", algorithm=constructor'],
      expected: [],
    },
    { name: "an unknown qop is passed over", lines: ['Digest realm="r", nonce="n", qop="token"'], expected: [] },
    { name: "no nonce", lines: ['Digest realm="r"'], expected: [] },
    { name: "a quote that is not closed", lines: ['Digest nonce="n", realm="r'], expected: [] },
    { name: "a parameter twice", lines: ['Digest realm="r", nonce="n", nonce="m"'], expected: [] },
    { name: "no scheme", lines: ['realm="r", nonce="n"'], expected: [] },
    { name: "nothing", lines: ["", " , ,"], expected: [] },
  ];
  for (const { name, lines, expected } of cases) {
    test(name, () => {
      const challenges = parseChallenges(lines);
      expect(challenges.length).toBe(expected.length);
      expected.forEach((fields, index) => expect(challenges[index]).toMatchObject(fields));
    });
  }

  test("no more than 16 values are read of a line", () => {
    expect(parseAuthValue('Digest realm="r", nonce="n", '.repeat(1000)).length).toBe(16);
  });
});

describe("credentials", () => {
  const complete = 'Digest username="u", realm="r", nonce="n", uri="sip:x", response="AB"';
  const cases: { name: string; value: string; expected: Partial<Credentials> | "malformed" | "other" }[] = [
    { name: "without qop", value: complete, expected: { response: "ab", qop: null, nc: "", algorithm: "MD5" } },
    {
      name: "with qop, quoted by phones that quote everything",
      value: `${complete}, qop="auth", nc="0000000a", cnonce="c", algorithm="SHA-256"`,
      expected: { qop: "auth", nc: "0000000a", cnonce: "c", algorithm: "SHA-256" },
    },
    { name: "another scheme", value: "NoOneKnowsThisScheme opaque-data=here", expected: "other" },
    { name: "Basic", value: "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", expected: "other" },
    {
      name: "a missing response",
      value: 'Digest username="u", realm="r", nonce="n", uri="sip:x"',
      expected: "malformed",
    },
    { name: "qop without cnonce", value: `${complete}, qop=auth, nc=00000001`, expected: "malformed" },
    {
      name: "a count that is no hexadecimal number",
      value: `${complete}, qop=auth, nc=-1, cnonce="c"`,
      expected: "malformed",
    },
    { name: "garbage", value: '\0\x01=,,"', expected: "malformed" },
    { name: "garbage in place of a parameter", value: `${complete}, "x"`, expected: "malformed" },
    { name: "garbage after a parameter", value: `${complete} !, x=y`, expected: "malformed" },
    { name: "nothing", value: "", expected: "malformed" },
  ];
  for (const { name, value, expected } of cases) {
    test(name, () => {
      const credentials = parseCredentials(value);
      if (typeof expected === "string") expect(credentials).toBe(expected);
      else expect(credentials).toMatchObject(expected);
    });
  }
});

describe("answer", () => {
  test("the strongest algorithm is chosen, the server's order decides among equals", () => {
    const offer = (algorithm: Algorithm, nonce: string) => challenge({ algorithm, nonce });
    const choose = (...offers: Challenge[]) => chooseChallenge(offers, secret)?.nonce;
    expect(choose(offer("MD5", "1"), offer("SHA-256", "2"))).toBe("2");
    expect(choose(offer("SHA-256-sess", "1"), offer("SHA-256", "2"), offer("MD5", "3"))).toBe("1");
    expect(choose()).toBeUndefined();
  });

  test("a secret of one hash answers that hash in its realm only", () => {
    const hashed = {
      username: "u",
      password: null,
      ha1s: [{ realm: "r", hash: "MD5" as const, ha1: ha1("MD5", "u", "r", "p") }],
    };
    expect(answerChallenge([challenge({ algorithm: "SHA-256" }), challenge({ realm: "other" })], hashed, request))
      .toBeNull();
    const answer = credentialsOf(
      answerChallenge([challenge({ algorithm: "SHA-256" }), challenge({})], hashed, request),
    );
    expect(answer.response).toBe(digestResponse(ha1("MD5", "u", "r", "p"), "REGISTER", answer));
  });

  test("opaque goes back as it came, only if it came, and without qop there is no count", () => {
    expect(answerChallenge([challenge({ opaque: 'o"1' })], secret, request)).toContain('opaque="o\\"1"');
    expect(answerChallenge([challenge({})], secret, request)).not.toContain("opaque");
    expect(answerChallenge([challenge({ qop: null })], secret, request)).not.toMatch(/qop|nc=|cnonce/);
  });

  test("the example of RFC 7616 §3.9.1 as a header", () => {
    const offered = parseChallenges([
      `Digest realm="http-auth@example.org", qop="auth", algorithm=SHA-256, nonce="${RFC7616_NONCE}"`,
    ]);
    const answer = answerChallenge(offered, secret, {
      method: "GET",
      uri: "/dir/index.html",
      cnonce: RFC7616_CNONCE,
      nc: 1,
    });
    expect(answer).toBe(
      `Digest username="Mufasa", realm="http-auth@example.org", nonce="${RFC7616_NONCE}", uri="/dir/index.html", ` +
        'response="753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1", algorithm=SHA-256, qop=auth, ' +
        `nc=00000001, cnonce="${RFC7616_CNONCE}"`,
    );
  });

  test("a line break in a value cannot end the header", () => {
    const answer = answerChallenge([challenge({ realm: "a\r\nX: y" })], secret, request);
    expect(answer).not.toMatch(/[\r\n]/);
  });
});

describe("R-09 session", () => {
  const sessionRequest = { method: "REGISTER", uri: "sip:example.org" };

  test("a nonce is used again with a rising count and the same cnonce", () => {
    const session = new DigestSession(secret);
    expect(session.authorize({ ...sessionRequest, cnonce: "a" })).toBeNull();
    expect(session.challenged([challenge({ nonce: "n1", algorithm: "SHA-256-sess" })])).toBe("answer");
    const counts = ["a", "b", "c"].map((cnonce) => {
      const { nc, nonce, cnonce: sent, response } = credentialsOf(session.authorize({ ...sessionRequest, cnonce }));
      session.accepted();
      return { nc, nonce, sent, length: response.length };
    });
    expect(counts).toEqual([
      { nc: "00000001", nonce: "n1", sent: "a", length: 64 },
      { nc: "00000002", nonce: "n1", sent: "a", length: 64 },
      { nc: "00000003", nonce: "n1", sent: "a", length: 64 },
    ]);
  });

  test("a new challenge to a nonce used before starts anew, said to be stale or not", () => {
    for (const isStale of [true, false]) {
      const session = new DigestSession(secret);
      session.challenged([challenge({ nonce: "n1" })]);
      session.authorize({ ...sessionRequest, cnonce: "a" });
      session.accepted();
      session.authorize({ ...sessionRequest, cnonce: "b" });
      expect(session.challenged([challenge({ nonce: "n2", isStale })])).toBe("answer");
      expect(credentialsOf(session.authorize({ ...sessionRequest, cnonce: "d" }))).toMatchObject({
        nonce: "n2",
        nc: "00000001",
        cnonce: "d",
      });
    }
  });

  test("a challenge to fresh credentials means they are wrong", () => {
    const session = new DigestSession(secret);
    session.challenged([challenge({ nonce: "n1" })]);
    session.authorize({ ...sessionRequest, cnonce: "a" });
    expect(session.challenged([challenge({ nonce: "n2" })])).toBe("refused");
    expect(session.authorize({ ...sessionRequest, cnonce: "a" })).toBeNull();
    expect(session.challenged([challenge({ nonce: "n3" })])).toBe("answer");
  });

  test("a server that finds every nonce stale is given up on", () => {
    const session = new DigestSession(secret);
    const verdicts = [1, 2, 3, 4].map((round) => {
      const verdict = session.challenged([challenge({ nonce: `n${round}`, isStale: round > 1 })]);
      session.authorize({ ...sessionRequest, cnonce: "a" });
      return verdict;
    });
    expect(verdicts).toEqual(["answer", "answer", "answer", "refused"]);
  });

  test("what cannot be answered leaves the session as it was", () => {
    const session = new DigestSession(secret);
    session.challenged([challenge({ nonce: "n1" })]);
    expect(session.challenged([])).toBe("unsupported");
    expect(credentialsOf(session.authorize({ ...sessionRequest, cnonce: "a" })).nonce).toBe("n1");
  });
});

describe("any input", () => {
  const noise = fc.array(
    fc.oneof(
      fc.constantFrom(
        "Digest ",
        "realm",
        "nonce",
        "=",
        '"',
        "\\",
        ",",
        " ",
        "\r\n ",
        "<",
        "/",
        "qop=auth",
        "nc=1",
        "x",
      ),
      fc.string({ unit: "binary", maxLength: 4 }),
    ),
    { maxLength: 60 },
  ).map((parts) => parts.join(""));
  const text = fc.string({ unit: fc.integer({ min: 32, max: 255 }).map((code) => String.fromCharCode(code)) });
  const algorithm = fc.constantFrom<Algorithm>("MD5", "SHA-256", "MD5-sess", "SHA-256-sess");

  test("reading never throws", () => {
    fc.assert(
      fc.property(noise, (value) => {
        parseAuthValue(value);
        parseCredentials(value);
        for (const offered of parseChallenges([value])) {
          expect(parseChallenges([formatChallenge(offered)])).toEqual([offered]);
        }
      }),
      { numRuns: 2000 },
    );
  });

  test("a challenge written is read back the same", () => {
    const any = fc.record({
      realm: text,
      nonce: text,
      opaque: fc.option(text),
      algorithm,
      qop: fc.constantFrom("auth" as const, "auth-int" as const, null),
      isStale: fc.boolean(),
    });
    fc.assert(fc.property(fc.array(any, { maxLength: 5 }), (offered) => {
      expect(parseChallenges([offered.map(formatChallenge).join(", ")])).toEqual(offered);
      expect(parseChallenges(offered.map(formatChallenge))).toEqual(offered);
    }));
  });

  test("credentials written are read back the same", () => {
    const hex = fc.string({ unit: fc.constantFrom(..."0123456789abcdef"), minLength: 1, maxLength: 8 });
    const any = fc.record({ username: text, realm: text, nonce: text, uri: text, response: hex, algorithm }).chain((
      base,
    ) =>
      fc.oneof(
        fc.constant({ ...base, qop: null, nc: "", cnonce: "" }),
        fc.record({ nc: hex, cnonce: text.filter((value) => value !== "") }).map((count) => ({
          ...base,
          qop: "auth" as const,
          ...count,
        })),
      )
    );
    fc.assert(fc.property(any, fc.option(text), (credentials, opaque) => {
      expect(parseCredentials(formatCredentials(credentials, opaque))).toEqual(credentials);
    }));
  });
});
