import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  Authenticator,
  type AuthenticatorSettings,
  type AuthVerdict,
  credentialsHeader,
  isChallengeable,
} from "../../../src/core/registrar/authenticator.ts";
import { UserDirectory } from "../../../src/core/registrar/users.ts";
import {
  answerChallenge,
  type Challenge,
  type DigestRequest,
  type DigestUser,
  digestUser,
  parseChallenges,
  wireText,
} from "../../../src/core/sip/digest.ts";

const NOW = 1_764_000_000_000;
const LIFETIME = 300_000;
const REALM = "example.org";
const URI = "sip:example.org";

function authenticatorOf(users: DigestUser[], settings: Partial<AuthenticatorSettings> = {}): Authenticator {
  const secret = new Uint8Array(32).fill(1);
  return new Authenticator(
    { realms: [REALM], nonceLifetimeMs: LIFETIME, secret, ...settings },
    new UserDirectory(users),
  );
}

let salts = 0;

/** A phone of its own challenge: `answer(nc)` gives credentials for the next request. */
function phoneOf(authenticator: Authenticator, user: string, password: string, nowMs = NOW) {
  const salt = `salt${String(salts++).padStart(6, "0")}`;
  const { values } = authenticator.challenge({ method: "REGISTER", user, domain: REALM, nowMs, salt, isStale: false });
  const challenges = parseChallenges(values);
  const secret = { username: user, password, ha1s: [] };
  const answer = (nc: number, request: Partial<DigestRequest> = {}, change: Partial<Challenge> = {}) => {
    const changed = challenges.map((challenge) => ({ ...challenge, ...change }));
    return answerChallenge(changed, secret, { method: "REGISTER", uri: URI, cnonce: "c", nc, ...request }) ?? "";
  };
  return { challenges, answer };
}

function reasonOf(verdict: AuthVerdict): string {
  return verdict.ok ? "ok" : verdict.reason;
}

const alice = digestUser("alice", REALM, "wonder");

describe("R-16 challenge", () => {
  test("REGISTER is challenged with 401, SHA-256 first, then MD5, with one nonce and qop auth", () => {
    const answer = authenticatorOf([alice]).challenge(
      { method: "REGISTER", user: "alice", domain: REALM, nowMs: NOW, salt: "abcdefgh", isStale: false },
    );
    expect(answer.status).toBe(401);
    expect(answer.header).toBe("WWW-Authenticate");
    const challenges = parseChallenges(answer.values);
    expect(challenges.map(({ algorithm }) => algorithm)).toEqual(["SHA-256", "MD5"]);
    expect(challenges[0]).toEqual({ ...challenges[1]!, algorithm: "SHA-256" });
    expect(challenges[0]).toMatchObject({ realm: REALM, qop: "auth", isStale: false });
    expect(answer.values.length).toBe(2);
  });

  test("F-06 other methods are challenged with 407, ACK and CANCEL not at all", () => {
    const answer = authenticatorOf([alice]).challenge(
      { method: "INVITE", user: "alice", domain: REALM, nowMs: NOW, salt: "abcdefgh", isStale: true },
    );
    expect(answer).toMatchObject({ status: 407, header: "Proxy-Authenticate" });
    expect(answer.values.every((value) => value.endsWith(", stale=true"))).toBe(true);
    expect(credentialsHeader("INVITE")).toBe("Proxy-Authorization");
    expect(credentialsHeader("REGISTER")).toBe("Authorization");
    expect(["INVITE", "MESSAGE", "ACK", "CANCEL"].map(isChallengeable)).toEqual([true, true, false, false]);
  });

  test("only the hashes a user has are offered; an unknown user looks like most users", () => {
    const old = [digestUser("bob", REALM, "b"), digestUser("carol", REALM, "c")].map((user) => ({
      ...user,
      ha1Sha256: "",
    }));
    const offered = (users: DigestUser[], user: string) =>
      phoneOf(authenticatorOf(users), user, "").challenges.map(({ algorithm }) => algorithm);
    expect(offered([alice, ...old], "alice")).toEqual(["SHA-256", "MD5"]);
    expect(offered([alice, ...old], "bob")).toEqual(["MD5"]);
    expect(offered([alice, ...old], "nobody")).toEqual(["MD5"]);
    expect(offered([alice, old[0]!], "nobody")).toEqual(["SHA-256", "MD5"]);
    expect(offered([], "nobody")).toEqual(["SHA-256", "MD5"]);
  });

  test("the realm is the domain if it is ours, spelled as in the users file, else our first", () => {
    const realms = ["example.org", "Example.COM"];
    const authenticator = authenticatorOf([digestUser("bob", "example.com", "b")], { realms });
    const realmFor = (user: string, domain: string) =>
      parseChallenges(
        authenticator.challenge({ method: "REGISTER", user, domain, nowMs: NOW, salt: "s", isStale: false }).values,
      )[0]!.realm;
    expect(realmFor("bob", "EXAMPLE.com")).toBe("example.com");
    expect(realmFor("nobody", "example.com")).toBe("Example.COM");
    expect(realmFor("bob", "10.0.0.1")).toBe("example.org");
  });
});

describe("R-16 verdict", () => {
  for (const algorithm of ["SHA-256", "MD5"] as const) {
    test(`the right password is taken with ${algorithm}`, () => {
      const authenticator = authenticatorOf([alice]);
      const phone = phoneOf(authenticator, "alice", "wonder");
      const offered = phone.challenges.filter((challenge) => challenge.algorithm === algorithm);
      const secret = { username: "alice", password: "wonder", ha1s: [] };
      const answer = answerChallenge(offered, secret, { method: "REGISTER", uri: URI, cnonce: "c", nc: 1 });
      expect(authenticator.verify([answer ?? ""], "REGISTER", URI, NOW)).toEqual({
        ok: true,
        user: "alice",
        realm: REALM,
        failed: [],
      });
    });
  }

  const cases: { name: string; values: (phone: ReturnType<typeof phoneOf>) => string[]; reason: string }[] = [
    { name: "no header", values: () => [], reason: "missing" },
    { name: "another scheme", values: () => ["NoOneKnowsThisScheme opaque-data=here"], reason: "missing" },
    {
      name: "another realm",
      values: (phone) => [phone.answer(1, {}, { realm: "pbx.example.org" })],
      reason: "missing",
    },
    { name: "garbage", values: () => ["Digest username=,"], reason: "malformed" },
    { name: "garbage beside the right answer", values: (phone) => ["Digest x", phone.answer(1)], reason: "ok" },
    {
      name: "another realm beside the right answer",
      values: (phone) => [phone.answer(1, {}, { realm: "r" }), phone.answer(1)],
      reason: "ok",
    },
    { name: "another method", values: (phone) => [phone.answer(1, { method: "INVITE" })], reason: "bad_response" },
    {
      name: "another user in the URI",
      values: (phone) => [phone.answer(1, { uri: "sip:bob@example.org" })],
      reason: "bad_uri",
    },
    {
      name: "another host in the URI",
      values: (phone) => [phone.answer(1, { uri: "sip:example.com" })],
      reason: "bad_uri",
    },
    {
      name: "another scheme in the URI",
      values: (phone) => [phone.answer(1, { uri: "sips:example.org" })],
      reason: "bad_uri",
    },
    { name: "no URI in the URI", values: (phone) => [phone.answer(1, { uri: "" })], reason: "bad_uri" },
    {
      name: "port and parameters in the URI",
      values: (phone) => [phone.answer(1, { uri: "sip:EXAMPLE.org:5060;transport=udp" })],
      reason: "ok",
    },
    {
      name: "an algorithm that was not offered",
      values: (phone) => [phone.answer(1, {}, { algorithm: "MD5-sess" })],
      reason: "malformed",
    },
    {
      name: "a qop that was not offered",
      values: (phone) => [phone.answer(1, {}, { qop: "auth-int" })],
      reason: "malformed",
    },
    { name: "a nonce that is not ours", values: (phone) => [phone.answer(1, {}, { nonce: "abc" })], reason: "stale" },
    {
      name: "a nonce with another time",
      values: (phone) => [phone.answer(1, {}, { nonce: "z" + phone.challenges[0]!.nonce.slice(1) })],
      reason: "stale",
    },
    {
      name: "a nonce with more behind it",
      values: (phone) => [phone.answer(1, {}, { nonce: phone.challenges[0]!.nonce + ".x" })],
      reason: "stale",
    },
    {
      name: "a nonce beyond ASCII",
      values: (phone) => [phone.answer(1, {}, { nonce: phone.challenges[0]!.nonce.slice(0, -2) + "\xff" })],
      reason: "stale",
    },
    {
      name: "a response cut short",
      values: (phone) => [phone.answer(1).replace(/response="./, 'response="')],
      reason: "bad_response",
    },
    { name: "the ninth line", values: (phone) => [...Array(8).fill("Basic x"), phone.answer(1)], reason: "missing" },
  ];
  for (const { name, values, reason } of cases) {
    test(`${name}: ${reason}`, () => {
      const authenticator = authenticatorOf([alice]);
      const verdict = authenticator.verify(values(phoneOf(authenticator, "alice", "wonder")), "REGISTER", URI, NOW);
      expect(reasonOf(verdict)).toBe(reason);
      if (!verdict.ok) expect(verdict.stale).toBe(reason === "stale");
    });
  }

  test("of several bad answers the stale one decides, and a wrong one before a malformed one", () => {
    const authenticator = authenticatorOf([alice]);
    // Of one realm and hash the first alone is judged: these are two.
    const stale = phoneOf(authenticator, "alice", "wonder").answer(1, {}, { nonce: "abc", algorithm: "MD5" });
    const wrong = phoneOf(authenticator, "alice", "guess").answer(1);
    const reason = (...values: string[]) => reasonOf(authenticator.verify(values, "REGISTER", URI, NOW));
    expect([reason(stale, wrong), reason(wrong, stale), reason(wrong, "Digest x"), reason("Digest x", wrong)]).toEqual(
      ["stale", "stale", "bad_response", "bad_response"],
    );
  });

  test("X-07 of eight answers of one realm and hash the first is judged, and the others open nothing", () => {
    const authenticator = authenticatorOf([alice]);
    const guesses = Array.from({ length: 7 }, (_, i) => phoneOf(authenticator, "alice", `guess ${i}`).answer(1));
    const right = phoneOf(authenticator, "alice", "wonder").answer(1);
    const verdict = authenticator.verify([...guesses, right], "REGISTER", URI, NOW);
    expect(verdict).toMatchObject({ ok: false, reason: "bad_response", failed: [`alice@${REALM}`] });
    expect(reasonOf(authenticator.verify([right], "REGISTER", URI, NOW))).toBe("ok");
  });

  test("X-07 each hash and each realm may have its answer, and each wrong one counts, also beside a right one", () => {
    const realms = [REALM, "other.org"];
    const authenticator = authenticatorOf([alice, digestUser("alice", "other.org", "wonder")], { realms });
    const guess = (algorithm: "MD5" | "SHA-256", password: string) =>
      phoneOf(authenticator, "alice", password).answer(1, {}, { algorithm });
    const wrong = [guess("SHA-256", "a"), guess("MD5", "b")];
    const name = `alice@${REALM}`;
    expect(authenticator.verify(wrong, "REGISTER", URI, NOW)).toMatchObject({ ok: false, failed: [name, name] });
    const mixed = [guess("SHA-256", "a"), guess("MD5", "wonder")];
    expect(authenticator.verify(mixed, "REGISTER", URI, NOW)).toMatchObject({ ok: true, failed: [name] });
  });

  test("X-07 an empty nonce asks for a challenge, an old or foreign one is stale; no password is looked at", () => {
    const authenticator = authenticatorOf([alice]);
    const phone = phoneOf(authenticator, "alice", "guess");
    const judged = (value: string) => authenticator.verify([value], "REGISTER", URI, NOW);
    expect(judged(phone.answer(1, {}, { nonce: "" }))).toEqual(
      { ok: false, reason: "missing", stale: false, user: "alice", failed: [] },
    );
    const empty = `Digest username="alice", realm="${REALM}", nonce="", uri="${URI}", response=""`;
    expect(judged(empty)).toMatchObject({ reason: "missing", failed: [] });
    for (const nonce of ["abc", phone.challenges[0]!.nonce.replace(/.$/, "_")]) {
      expect(judged(phone.answer(1, {}, { nonce }))).toMatchObject({ reason: "stale", stale: true, failed: [] });
    }
  });

  test("wrong password and unknown user are told apart for the log, and both name who was claimed", () => {
    const authenticator = authenticatorOf([alice]);
    for (const [user, reason] of [["alice", "bad_response"], ["mallory", "unknown_user"]] as const) {
      const phone = phoneOf(authenticator, user, "guess");
      expect(authenticator.verify([phone.answer(1)], "REGISTER", URI, NOW)).toEqual(
        { ok: false, reason, stale: false, user, failed: [`${user}@${REALM}`] },
      );
    }
  });

  test("a hash the user does not have is never right", () => {
    const authenticator = authenticatorOf([{ ...alice, ha1Sha256: "" }]);
    const { challenges } = phoneOf(authenticator, "alice", "wonder");
    const emptyHash = {
      username: "alice",
      password: null,
      ha1s: [{ realm: REALM, hash: "SHA-256" as const, ha1: "" }],
    };
    const offered = [{ ...challenges[0]!, algorithm: "SHA-256" as const }];
    const answer = answerChallenge(offered, emptyHash, { method: "REGISTER", uri: URI, cnonce: "c", nc: 1 });
    expect(reasonOf(authenticator.verify([answer ?? ""], "REGISTER", URI, NOW))).toBe("bad_response");
  });

  test("a user beyond ASCII is known by its bytes", () => {
    const authenticator = authenticatorOf([digestUser("jörg", REALM, "größe")]);
    const phone = phoneOf(authenticator, wireText("jörg"), wireText("größe"));
    expect(authenticator.verify([phone.answer(1)], "REGISTER", URI, NOW)).toMatchObject({
      ok: true,
      user: wireText("jörg"),
    });
  });

  test("users read again count from then on, nonces stay good", () => {
    const authenticator = authenticatorOf([alice]);
    const phone = phoneOf(authenticator, "bob", "builder");
    expect(reasonOf(authenticator.verify([phone.answer(1)], "REGISTER", URI, NOW))).toBe("unknown_user");
    authenticator.setUsers(new UserDirectory([digestUser("bob", REALM, "builder")]));
    expect(reasonOf(authenticator.verify([phone.answer(1)], "REGISTER", URI, NOW))).toBe("ok");
    expect(reasonOf(authenticator.verify([phone.answer(1)], "REGISTER", URI, NOW))).toBe("replay");
  });

  test("a realm that is not in the settings is not ours, even if the users file has it", () => {
    const authenticator = authenticatorOf([digestUser("alice", "old.org", "wonder")]);
    const answer = phoneOf(authenticator, "alice", "wonder").answer(1, {}, { realm: "old.org" });
    expect(reasonOf(authenticator.verify([answer], "REGISTER", URI, NOW))).toBe("missing");
  });
});

describe("R-16 nonce", () => {
  test("X-07 lives its lifetime, then any password is stale, and none is looked at", () => {
    const authenticator = authenticatorOf([alice]);
    const phone = phoneOf(authenticator, "alice", "wonder");
    expect(reasonOf(authenticator.verify([phone.answer(1)], "REGISTER", URI, NOW + LIFETIME))).toBe("ok");
    expect(authenticator.verify([phone.answer(2)], "REGISTER", URI, NOW + LIFETIME + 1)).toMatchObject(
      { reason: "stale", stale: true },
    );
    const guess = phoneOf(authenticator, "alice", "guess");
    expect(authenticator.verify([guess.answer(1)], "REGISTER", URI, NOW + LIFETIME + 1)).toMatchObject(
      { reason: "stale", stale: true, failed: [] },
    );
  });

  test("of before a restart is stale", () => {
    const phone = phoneOf(authenticatorOf([alice]), "alice", "wonder");
    const restarted = authenticatorOf([alice], { secret: new Uint8Array(32).fill(2) });
    expect(reasonOf(restarted.verify([phone.answer(1)], "REGISTER", URI, NOW))).toBe("stale");
  });

  test("of one realm is not good for another", () => {
    const realms = [REALM, "other.org"];
    const authenticator = authenticatorOf([alice, digestUser("alice", "other.org", "wonder")], { realms });
    const phone = phoneOf(authenticator, "alice", "wonder");
    expect(reasonOf(authenticator.verify([phone.answer(1, {}, { realm: "other.org" })], "REGISTER", URI, NOW))).toBe(
      "stale",
    );
  });

  test("the count must rise: the same or a lower one is a replay, which is stale", () => {
    const authenticator = authenticatorOf([alice]);
    const phone = phoneOf(authenticator, "alice", "wonder");
    const reasons = [1, 1, 2, 7, 3, 7, 8].map((nc) =>
      reasonOf(authenticator.verify([phone.answer(nc)], "REGISTER", URI, NOW))
    );
    expect(reasons).toEqual(["ok", "replay", "ok", "ok", "replay", "replay", "ok"]);
    expect(authenticator.verify([phone.answer(1)], "REGISTER", URI, NOW)).toMatchObject({
      reason: "replay",
      stale: true,
    });
  });

  test("a count of zero is never good", () => {
    const authenticator = authenticatorOf([alice]);
    const phone = phoneOf(authenticator, "alice", "wonder");
    expect(reasonOf(authenticator.verify([phone.answer(0)], "REGISTER", URI, NOW))).toBe("replay");
  });

  test("a wrong password uses up no count", () => {
    const authenticator = authenticatorOf([alice]);
    const phone = phoneOf(authenticator, "alice", "wonder");
    const wrong = phone.answer(9).replace(/response="\w{8}/, 'response="00000000');
    expect(reasonOf(authenticator.verify([wrong], "REGISTER", URI, NOW))).toBe("bad_response");
    expect(reasonOf(authenticator.verify([phone.answer(1)], "REGISTER", URI, NOW))).toBe("ok");
  });

  test("without qop a nonce is good once", () => {
    const authenticator = authenticatorOf([alice]);
    const phone = phoneOf(authenticator, "alice", "wonder");
    const answer = phone.answer(1, {}, { qop: null });
    expect(reasonOf(authenticator.verify([answer], "REGISTER", URI, NOW))).toBe("ok");
    expect(reasonOf(authenticator.verify([answer], "REGISTER", URI, NOW))).toBe("replay");
  });

  test("what is forgotten cannot be replayed, what is remembered goes on", () => {
    const authenticator = authenticatorOf([alice], { maxNonces: 2 });
    const phones = [0, 1, 2].map((index) => phoneOf(authenticator, "alice", "wonder", NOW + index));
    const verify = (index: number, nc: number) =>
      reasonOf(authenticator.verify([phones[index]!.answer(nc)], "REGISTER", URI, NOW + 10));
    expect([verify(0, 1), verify(1, 1), verify(2, 1)]).toEqual(["ok", "ok", "ok"]);
    expect(verify(0, 1)).toBe("stale");
    expect(verify(0, 2)).toBe("stale");
    expect([verify(1, 1), verify(1, 2), verify(2, 2)]).toEqual(["replay", "ok", "ok"]);
  });

  test("no sequence of requests is taken twice, however small the table", () => {
    const step = fc.record({
      phone: fc.nat(5),
      nc: fc.integer({ min: 1, max: 4 }),
      waitMs: fc.constantFrom(0, 1, LIFETIME / 2),
    });
    fc.assert(fc.property(fc.array(step, { maxLength: 60 }), fc.integer({ min: 1, max: 4 }), (steps, maxNonces) => {
      const authenticator = authenticatorOf([alice], { maxNonces });
      const phones = Array.from({ length: 6 }, (_, index) => phoneOf(authenticator, "alice", "wonder", NOW + index));
      const taken = new Set<string>();
      let nowMs = NOW;
      for (const { phone, nc, waitMs } of steps) {
        nowMs += waitMs;
        const answer = phones[phone]!.answer(nc);
        if (!authenticator.verify([answer], "REGISTER", URI, nowMs).ok) continue;
        expect(taken.has(answer)).toBe(false);
        taken.add(answer);
      }
    }));
  });

  test("any header is judged without throwing", () => {
    const authenticator = authenticatorOf([alice]);
    const good = phoneOf(authenticator, "alice", "wonder").answer(1);
    fc.assert(
      fc.property(fc.nat(good.length), fc.string({ unit: "binary" }), fc.nat(4), (at, insert, cut) => {
        const changed = good.slice(0, at) + insert + good.slice(at + cut);
        authenticator.verify([changed], "REGISTER", URI, NOW);
      }),
      { numRuns: 1000 },
    );
  });
});
