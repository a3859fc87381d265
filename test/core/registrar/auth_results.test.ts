/** whose failed logins are counted: wrong credentials, here or at the PBX; and scanners, dropped once parsed. */
import { expect, test } from "bun:test";
import { SourceGuard } from "../../../src/core/guard/source_guard.ts";
import { Htable } from "../../../src/core/htable/htable.ts";
import { UserDirectory } from "../../../src/core/registrar/users.ts";
import { answerChallenge, digestUser, parseChallenges } from "../../../src/core/sip/digest.ts";
import { answer, headers, register, Rig, type RigOptions, statusLine } from "./rig.ts";

const PHONE = "192.0.2.7";
const CREDENTIALS = 'Authorization: Digest username="alice", realm="a", nonce="n", uri="sip:example.org", response="0"';
const CHALLENGE = 'WWW-Authenticate: Digest realm="a", nonce="n"';

/** Two failures are a ban. */
function guarded(options: RigOptions = {}) {
  const bans = new Htable("banned", { ttl: 600_000, max: 10, persist: false });
  const guard = (port: Rig) =>
    new SourceGuard(bans, port, {
      requestsPerSource: { count: 50, per_ms: 1000 },
      strangers: { count: 2000, per_ms: 1000 },
      authFailures: { count: 2, per_ms: 60_000 },
      isScannerBanned: true,
      isExempt: () => false,
      isDenied: () => false,
    });
  const rig = new Rig({ ...options, guard });
  return { rig, isBanned: () => bans.get(PHONE, rig.clock.nowMs)?.startsWith("auth_failures") ?? false, bans };
}

const relayed: [what: string, lines: string[], status: string, told: string[], isBanned: boolean][] = [
  ["403 to credentials", [CREDENTIALS], "403 Forbidden", [], true],
  ["401 to an answer to its challenge", [CREDENTIALS], "401 Unauthorized", [CHALLENGE], true],
  ["407 to an answer to its challenge", [`Proxy-${CREDENTIALS}`], "407 Proxy Authentication Required", [
    `Proxy-Authenticate: Digest realm="a", nonce="n"`,
  ], true],
  ["401 to stale credentials", [CREDENTIALS], "401 Unauthorized", [`${CHALLENGE}, stale=TRUE`], false],
  ["401 to none", [], "401 Unauthorized", [CHALLENGE], false],
  ["403 to none", [], "403 Forbidden", [], false],
  ["500", [CREDENTIALS], "500 Broken", [], false],
  ["401 to a nonce it never sent", [CREDENTIALS.replace('"n"', '"old"')], "401 Unauthorized", [CHALLENGE], false],
  ["401 to an empty nonce", [CREDENTIALS.replace('"n"', '""')], "401 Unauthorized", [CHALLENGE], false],
];
test.each(relayed)("X-02 X-07 auth_failures: twice the PBX's %s", (_, lines, status, told, isBanned) => {
  const world = guarded();
  const phone = world.rig.phone(PHONE);
  for (const cseq of [2, 4]) {
    expect(world.isBanned()).toBe(false);
    world.rig.receive(phone, register(phone, { cseq: cseq - 1 }));
    world.rig.fromPbx(answer(world.rig.one(world.rig.pbx), "401 Unauthorized", [CHALLENGE]));
    world.rig.take(phone);
    world.rig.receive(phone, register(phone, { cseq, lines }));
    world.rig.fromPbx(answer(world.rig.one(world.rig.pbx), status, told));
    expect(statusLine(world.rig.one(phone))).toBe(`SIP/2.0 ${status}`);
  }
  expect(world.isBanned()).toBe(isBanned);
});

test("X-02 auth_failures: phones that answer their old challenge first, and are then accepted, are no attack", () => {
  const { rig, isBanned } = guarded();
  for (let cseq = 1; cseq < 20; cseq += 2) {
    const phone = rig.phone(PHONE, 5000 + cseq);
    rig.receive(phone, register(phone, { cseq, lines: [CREDENTIALS] }));
    rig.fromPbx(answer(rig.one(rig.pbx), "401 Unauthorized", [CHALLENGE]));
    rig.receive(phone, register(phone, { cseq: cseq + 1, lines: [CREDENTIALS] }));
    rig.fromPbx(answer(rig.one(rig.pbx), "200 OK"));
  }
  expect(isBanned()).toBe(false);
});

test.each([
  ["a wrong password", "alice", "guess", true],
  ["an unknown user", "nobody", "guess", true],
  ["the right password", "alice", "wonder", false],
])("X-02 auth_failures in registrar mode: twice %s", (_, username, password, isBannedThen) => {
  const users = new UserDirectory([digestUser("alice", "example.org", "wonder")]);
  const { rig, isBanned } = guarded({ pbx: false, secrets: { users } });
  const phone = rig.phone(PHONE);
  rig.receive(phone, register(phone));
  const challenges = parseChallenges(headers(rig.one(phone), "WWW-Authenticate"));
  for (let nc = 1; nc <= 2; nc++) {
    expect(isBanned()).toBe(false);
    const value = answerChallenge(challenges, { username, password, ha1s: [] }, {
      method: "REGISTER",
      uri: "sip:example.org",
      cnonce: "abc",
      nc,
    });
    rig.receive(phone, register(phone, { cseq: nc + 1, lines: [`Authorization: ${value}`] }));
  }
  expect(isBanned()).toBe(isBannedThen);
});

test("X-02 auth_failures in registrar mode: the right password with a nonce that has expired is no failure", () => {
  const users = new UserDirectory([digestUser("alice", "example.org", "wonder")]);
  const { rig, isBanned } = guarded({ pbx: false, secrets: { users } });
  const phone = rig.phone(PHONE);
  rig.receive(phone, register(phone));
  const challenges = parseChallenges(headers(rig.one(phone), "WWW-Authenticate"));
  rig.pass(301_000);
  for (let nc = 1; nc <= 5; nc++) {
    const how = { method: "REGISTER", uri: "sip:example.org", cnonce: "abc", nc };
    const value = answerChallenge(challenges, { username: "alice", password: "wonder", ha1s: [] }, how);
    rig.receive(phone, register(phone, { cseq: nc + 1, lines: [`Authorization: ${value}`] }));
  }
  expect(rig.counts.get("rejected_total{auth_stale}")).toBe(5);
  expect(isBanned()).toBe(false);
});

for (const what of ["good", "malformed"]) {
  test(`X-02 a scanner's ${what} request gets no answer and reaches nobody; it is banned`, () => {
    const { rig, bans } = guarded();
    const phone = rig.phone(PHONE);
    const wire = register(phone, { lines: ["user-agent : friendly-scanner"] });
    rig.receive(phone, what === "good" ? wire : wire.replace("CSeq: 1 REGISTER", "CSeq: x"));
    expect(rig.sent).toEqual([]);
    expect(bans.get(PHONE, rig.clock.nowMs)).toBe("scanner");
    expect(rig.counts.get("rejected_total{scanner}")).toBe(1);
  });
}

test("X-02 a registered phone is no scanner, whatever it calls itself", () => {
  const { rig, bans } = guarded();
  const phone = rig.phone(PHONE);
  rig.core.receive(phone, register(phone, { lines: ["User-Agent: VaxSIPUserAgent/3.1"] }), true);
  expect(rig.take(rig.pbx)).toHaveLength(1);
  expect(bans.size).toBe(0);
});
