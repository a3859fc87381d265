/** X-07: an office behind one address comes in, whatever nonces its phones still have; who guesses is counted by the guess. */
import { describe, expect, test } from "bun:test";
import { SourceGuard } from "../../../src/core/guard/source_guard.ts";
import { Htable } from "../../../src/core/htable/htable.ts";
import { UserDirectory } from "../../../src/core/registrar/users.ts";
import {
  answerChallenge,
  type Challenge,
  digestResponse,
  digestUser,
  formatCredentials,
  ha1,
  parseChallenges,
  parseCredentials,
} from "../../../src/core/sip/digest.ts";
import { accepted, answer, headers, register, Rig, statusLine, type TestFlow } from "./rig.ts";

const OFFICE = "192.0.2.7";
const DOMAIN = "example.org";
const password = (user: string) => `secret of ${user}`;

/** A PBX that never says `stale`: every nonce it did not just send for this Call-ID is answered with a new one. */
class StrictPbx {
  private readonly nonces = new Map<string, string>();
  /** Lines of credentials it was sent in one REGISTER, at most. */
  mostLines = 0;
  guesses = 0;
  private count = 0;

  take(wire: string): string {
    const [callId = ""] = headers(wire, "Call-ID");
    const values = headers(wire, "Authorization");
    this.mostLines = Math.max(this.mostLines, values.length);
    const isRight = values.map((value) => this.isRight(value, callId)).includes(true);
    if (isRight) return accepted(wire);
    const nonce = `nonce${++this.count}`;
    this.nonces.set(callId, nonce);
    return answer(wire, "401 Unauthorized", [`WWW-Authenticate: Digest realm="pbx", nonce="${nonce}", qop="auth"`]);
  }

  private isRight(value: string, callId: string): boolean {
    const credentials = parseCredentials(value);
    if (typeof credentials === "string" || credentials.nonce !== this.nonces.get(callId)) return false;
    this.guesses++;
    const { username } = credentials;
    return digestResponse(ha1("MD5", username, "pbx", password(username)), "REGISTER", credentials) ===
      credentials.response;
  }
}

class World {
  readonly bans = new Htable("banned", { ttl: 600_000, max: 10, persist: false });
  readonly pbx = new StrictPbx();
  readonly rig: Rig;
  readonly users = Array.from({ length: 60 }, (_, i) => `u${i}`);

  constructor(readonly mode: "mid-registrar" | "registrar") {
    const users = new UserDirectory(this.users.map((user) => digestUser(user, DOMAIN, password(user))));
    this.rig = new Rig({
      ...(mode === "registrar" ? { pbx: false, secrets: { users } } : {}),
      guard: (port) =>
        new SourceGuard(this.bans, port, {
          requestsPerSource: { count: 50, per_ms: 1000 },
          strangers: { count: 2000, per_ms: 1000 },
          authFailures: { count: 10, per_ms: 60_000 },
          isScannerBanned: true,
          isExempt: () => false,
          isDenied: () => false,
        }),
    });
  }

  /** One REGISTER to its answer. */
  send(flow: TestFlow, user: string, cseq: number, values: readonly string[]): string {
    const lines = values.map((value) => `Authorization: ${value}`);
    this.rig.receive(flow, register(flow, { user, cseq, lines, callId: `${user}@${flow.remotePort}` }));
    for (const wire of this.rig.take(this.rig.pbx)) this.rig.fromPbx(this.pbx.take(wire));
    return this.rig.one(flow);
  }

  answer(user: string, challenges: readonly Challenge[], secret = password(user), nc = 1): string {
    const how = { method: "REGISTER", uri: `sip:${DOMAIN}`, cnonce: "c", nc };
    return answerChallenge(challenges, { username: user, password: secret, ha1s: [] }, how) ?? "";
  }

  get banned(): string | undefined {
    return this.bans.get(OFFICE, this.rig.clock.nowMs);
  }
}

const old = (user: string, nonce: string): string =>
  formatCredentials({
    username: user,
    realm: "pbx",
    nonce,
    uri: `sip:${DOMAIN}`,
    response: nonce === "" ? "" : "0123456789abcdef0123456789abcdef",
    algorithm: "MD5",
    qop: null,
    nc: "",
    cnonce: "",
  });

const firsts: [what: string, first: (user: string) => string[]][] = [
  ["the nonce of before our restart", (user) => [old(user, "of before")]],
  ["an empty nonce", (user) => [old(user, "")]],
  ["nothing", () => []],
];

for (const mode of ["mid-registrar", "registrar"] as const) {
  describe(mode, () => {
    for (const [what, first] of firsts) {
      for (const spacingMs of [0, 7, 900, 30_000]) {
        test(`X-07 sixty phones that send ${what} first, ${spacingMs} ms apart, all come in`, () => {
          const world = new World(mode);
          const realm = mode === "registrar" ? DOMAIN : "pbx";
          const flows = world.users.map((_, i) => world.rig.phone(OFFICE, 10_000 + i, "tcp"));
          // All ask, then all answer: the worst order for a count that a success takes back.
          const challenges = world.users.map((user, i) => {
            world.rig.pass(spacingMs);
            const lines = first(user).map((value) => value.replace('realm="pbx"', `realm="${realm}"`));
            const reply = world.send(flows[i]!, user, 1, lines);
            expect(statusLine(reply)).toBe("SIP/2.0 401 Unauthorized");
            return parseChallenges(headers(reply, "WWW-Authenticate"));
          });
          world.users.forEach((user, i) => {
            let answered = world.send(flows[i]!, user, 2, [world.answer(user, challenges[i]!)]);
            // The nonce of registrar mode may be too old by now: then it says so.
            if (answered.startsWith("SIP/2.0 401")) {
              const again = parseChallenges(headers(answered, "WWW-Authenticate"));
              expect(again[0]!.isStale).toBe(true);
              answered = world.send(flows[i]!, user, 3, [world.answer(user, again)]);
            }
            expect(statusLine(answered)).toBe("SIP/2.0 200 OK");
          });
          expect(world.banned).toBeUndefined();
        });
      }
    }

    test("X-07 phones that lose their connections and come back with the nonce they had are asked again, not banned", () => {
      const world = new World(mode);
      const had = world.users.map((user, i) => {
        const flow = world.rig.phone(OFFICE, 10_000 + i, "tcp");
        const challenges = parseChallenges(headers(world.send(flow, user, 1, []), "WWW-Authenticate"));
        expect(statusLine(world.send(flow, user, 2, [world.answer(user, challenges)]))).toBe("SIP/2.0 200 OK");
        world.rig.close(flow);
        return challenges;
      });
      world.users.forEach((user, i) => {
        const flow = world.rig.phone(OFFICE, 20_000 + i, "tcp");
        const reply = world.send(flow, user, 3, [world.answer(user, had[i]!, password(user), 2)]);
        if (statusLine(reply) === "SIP/2.0 200 OK") return;
        const challenges = parseChallenges(headers(reply, "WWW-Authenticate"));
        expect(statusLine(world.send(flow, user, 4, [world.answer(user, challenges)]))).toBe("SIP/2.0 200 OK");
      });
      expect(world.banned).toBeUndefined();
    });

    test("X-07 eight guesses in one REGISTER are one, and the eighth is not taken though it is right", () => {
      const world = new World(mode);
      const flow = world.rig.phone(OFFICE, 10_000, "tcp");
      let reply = world.send(flow, "u1", 1, []);
      for (let round = 0; round < 10; round++) {
        expect(world.banned).toBeUndefined();
        const challenges = parseChallenges(headers(reply, "WWW-Authenticate"));
        const guesses = Array.from({ length: 7 }, (_, i) => world.answer("u1", challenges, `guess ${i}`));
        reply = world.send(flow, "u1", 2 + round, [...guesses, world.answer("u1", challenges)]);
        expect(statusLine(reply)).toBe("SIP/2.0 401 Unauthorized");
      }
      expect(world.banned).toStartWith("auth_failures: u1@");
      expect(world.pbx.mostLines).toBeLessThanOrEqual(1);
    });

    test("X-07 the ban names who failed, in the log, in the event and in the table", () => {
      const world = new World(mode);
      const realm = mode === "registrar" ? DOMAIN : "pbx";
      for (let i = 0; i < 10; i++) {
        const user = `u${i % 7}`;
        const flow = world.rig.phone(OFFICE, 10_000 + i, "tcp");
        const challenges = parseChallenges(headers(world.send(flow, user, 1, []), "WWW-Authenticate"));
        world.send(flow, user, 2, [world.answer(user, challenges, "guess")]);
      }
      const names = `${[0, 1, 2, 3, 4].map((i) => `u${i}@${realm}`).join(", ")}, and others`;
      expect(world.banned).toBe(`auth_failures: ${names}`);
      const line = world.rig.logged.find(({ message }) => message.startsWith("Banned"));
      expect(line).toMatchObject({ level: "warn", fields: { source: OFFICE, users: names } });
      expect(world.rig.events.find(({ type }) => type === "ban"))
        .toMatchObject({ source: OFFICE, reason: "auth_failures", users: names });
    });
  });
}

describe("X-07 what the PBX is given to judge", () => {
  test("a challenge is good for one guess: the same nonce again, here or over another flow, does not reach the PBX", () => {
    const world = new World("mid-registrar");
    const flow = world.rig.phone(OFFICE, 10_000, "tcp");
    const challenges = parseChallenges(headers(world.send(flow, "u1", 1, []), "WWW-Authenticate"));
    for (let i = 0; i < 40; i++) {
      const over = i % 2 === 0 ? flow : world.rig.phone(OFFICE, 20_000 + i, "tcp");
      world.send(over, "u1", 2 + i, [world.answer("u1", challenges, `guess ${i}`)]);
    }
    expect(world.pbx.guesses).toBe(1);
    expect(world.rig.counts.get("rejected_total{credentials}")).toBe(39);
  });

  test("the nonce of a login is no way to guess the password of another", () => {
    const world = new World("mid-registrar");
    const flow = world.rig.phone(OFFICE, 10_000, "tcp");
    const challenges = parseChallenges(headers(world.send(flow, "u1", 1, []), "WWW-Authenticate"));
    expect(statusLine(world.send(flow, "u1", 2, [world.answer("u1", challenges)]))).toBe("SIP/2.0 200 OK");
    const { guesses } = world.pbx;
    world.send(flow, "u2", 3, [world.answer("u2", challenges, "guess")]);
    expect(world.pbx.guesses).toBe(guesses);
  });

  test("R-01 an answer for each realm goes on as it came", () => {
    const world = new World("mid-registrar");
    const flow = world.rig.phone(OFFICE);
    const lines = ["one", "two"].map((realm) => `Proxy-Authorization: ${old("u1", "n").replace("pbx", realm)}`);
    world.rig.receive(flow, register(flow, { user: "u1", lines }));
    expect(headers(world.rig.one(world.rig.pbx), "Proxy-Authorization").map((value) => `Proxy-Authorization: ${value}`))
      .toEqual(lines);
  });

  test("an answer the PBX said nothing of may come again", () => {
    const world = new World("mid-registrar");
    const flow = world.rig.phone(OFFICE);
    const challenges = parseChallenges(headers(world.send(flow, "u1", 1, []), "WWW-Authenticate"));
    const value = world.answer("u1", challenges);
    const lines = [`Authorization: ${value}`];
    world.rig.receive(flow, register(flow, { user: "u1", cseq: 2, lines, callId: `u1@${flow.remotePort}` }));
    world.rig.fromPbx(answer(world.rig.one(world.rig.pbx), "503 Busy"));
    world.rig.take(flow);
    expect(statusLine(world.send(flow, "u1", 3, [value]))).toBe("SIP/2.0 200 OK");
  });
});
