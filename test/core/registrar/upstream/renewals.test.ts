import { describe, expect, test } from "bun:test";
import { coreSettings } from "../../../../src/appliance/settings.ts";
import { digestResponse, type DigestSecret, ha1, parseCredentials } from "../../../../src/core/sip/digest.ts";
import { PbxModel } from "../pbx_model.ts";
import {
  accepted,
  answer,
  headers,
  parsed,
  register,
  registered,
  Rig,
  type RigOptions,
  type TestFlow,
} from "../rig.ts";
import { storedContact } from "../../usrloc/stored.ts";

const AOR = "alice@example.org";
const PUSHABLE = "<sip:alice@192.0.2.7:5060;pn-provider=acme;pn-prid=tok>";
const SECRETS = new Map<string, DigestSecret>([["alice", { username: "alice", password: "wonder", ha1s: [] }]]);
const TRUSTED = { pbx: { trusts_us: true, expires: 600_000 } };
const WITH_PASSWORD = { pbx: { expires: 600_000 }, secrets: { credentials: SECRETS } };

/** A phone that asks for a day, then sleeps: its connection is gone, its token is not. */
function asleep(options: RigOptions, grant?: number): { rig: Rig; phone: TestFlow } {
  const rig = new Rig(options);
  const phone = rig.phone("192.0.2.7", 40_000, "tcp");
  rig.receive(phone, register(phone, { contacts: [PUSHABLE], expires: 86_400 }));
  const upstream = rig.one(rig.pbx);
  rig.fromPbx(
    grant === undefined ? accepted(upstream) : accepted(upstream).replace(/;expires=\d+/, `;expires=${grant}`),
  );
  expect(headers(rig.one(phone), "Contact")[0]).toEndWith(";expires=86400");
  rig.close(phone);
  return { rig, phone };
}

/** Lets time pass until something goes to the PBX; the seconds it took. */
function secondsToNext(rig: Rig, atMostMs = 4_000_000): number {
  const fromMs = rig.clock.nowMs;
  while (!rig.sent.some((sent) => sent.flow === rig.pbx)) {
    if (rig.clock.nowMs - fromMs > atMostMs || rig.core.schedule.nextMs === Infinity) {
      throw new Error("Nothing went to the PBX");
    }
    rig.pass(Math.max(1, rig.core.schedule.nextMs - rig.clock.nowMs));
  }
  return (rig.clock.nowMs - fromMs) / 1000;
}

function challenge(algorithm: string, nonce: string, more = ', qop="auth"', name = "WWW-Authenticate"): string {
  return `${name}: Digest realm="pbx", nonce="${nonce}", algorithm=${algorithm}${more}`;
}

/** True if these are Alice's credentials for the REGISTER. */
function isRight(wire: string, header = "Authorization"): boolean {
  const credentials = parseCredentials(headers(wire, header)[0] ?? "");
  if (typeof credentials === "string") return false;
  const hash = credentials.algorithm === "SHA-256" ? "SHA-256" : "MD5";
  const expected = digestResponse(ha1(hash, "alice", "pbx", "wonder"), "REGISTER", credentials);
  return credentials.response === expected && credentials.uri === parsed(wire).uri!.text;
}

describe("R-09 our own REGISTERs", () => {
  for (const grant of [30, 45, 60, 90, 120, 300, 600, 1800, 3600]) {
    test(`R-09 a grant of ${grant} s is renewed before it ends, again and again`, () => {
      const { rig } = asleep({ pbx: { trusts_us: true, expires: 3_600_000 } }, grant);
      for (let round = 0; round < 20; round++) {
        const seconds = secondsToNext(rig);
        expect(seconds).toBeGreaterThanOrEqual(Math.min(grant * 0.75, grant - 10 - grant * 0.05) - 0.1);
        expect(grant - seconds).toBeGreaterThanOrEqual(10);
        const wire = rig.one(rig.pbx);
        expect(headers(wire, "Contact")[0]).toEndWith(";expires=3600");
        rig.fromPbx(accepted(wire).replace(/;expires=\d+/, `;expires=${grant}`));
      }
      expect(rig.logText).not.toContain("Cannot refresh");
    });
  }

  test("R-09 very short grants are renewed in time, too, and never in a tight loop", () => {
    for (const grant of [1, 2, 5, 10, 20]) {
      const { rig } = asleep(TRUSTED, grant);
      for (let round = 0; round < 5; round++) {
        const seconds = secondsToNext(rig);
        expect(seconds).toBeGreaterThanOrEqual(Math.max(1, grant * 0.45) - 0.001);
        if (grant > 1) expect(seconds).toBeLessThan(grant);
        rig.fromPbx(accepted(rig.one(rig.pbx)).replace(/;expires=\d+/, `;expires=${grant}`));
      }
    }
  });

  test("R-09 the REGISTER is a well-formed one of its own: one Call-ID and tag, CSeq rising, our Contact", () => {
    const { rig } = asleep(TRUSTED);
    secondsToNext(rig);
    const first = rig.one(rig.pbx);
    rig.fromPbx(accepted(first));
    secondsToNext(rig);
    const second = rig.one(rig.pbx);
    expect(headers(second, "Contact")).toEqual(headers(first, "Contact"));
    expect(headers(second, "Contact")[0]).toMatch(/^<sip:alice@10\.0\.0\.5:5060;lf=[0-9a-z]+>;expires=600$/);
    expect(headers(second, "Call-ID")).toEqual(headers(first, "Call-ID"));
    expect(headers(second, "From")).toEqual(headers(first, "From"));
    expect(parsed(second).cseq).toBe(parsed(first).cseq + 1);
    expect(parsed(second).uri!.text).toBe("sip:example.org");
    expect(headers(second, "Authorization")).toEqual([]);
  });

  test("R-09 thousands that were granted in one second do not refresh in one second", () => {
    const rig = new Rig({ pbx: { trusts_us: true } });
    rig.token = chance();
    for (let n = 0; n < 200; n++) registered(rig, rig.phone("192.0.2.7", 10_000 + n), { user: `u${n}`, expires: 7200 });
    const seconds = new Map<number, number>();
    for (let ms = 0; ms < 3_600_000; ms += 250) {
      rig.pass(250);
      const asked = rig.take(rig.pbx);
      const second = Math.floor(ms / 1000);
      if (asked.length > 0) seconds.set(second, (seconds.get(second) ?? 0) + asked.length);
      // Answered before Timer E, so that none is repeated.
      for (const wire of asked) rig.fromPbx(accepted(wire));
    }
    expect([...seconds.values()].reduce((sum, count) => sum + count, 0)).toBe(200);
    expect(Math.max(...seconds.values())).toBeLessThan(20);
  });

  test("R-09 while a phone refreshes by itself we keep quiet", () => {
    const rig = new Rig(TRUSTED);
    const phone = rig.phone("192.0.2.7", 40_000, "tcp");
    registered(rig, phone, { contacts: [PUSHABLE], expires: 600 });
    for (let cseq = 2; cseq < 20; cseq++) {
      rig.pass(300_000);
      expect(rig.take(rig.pbx)).toEqual([]);
      registered(rig, phone, { contacts: [PUSHABLE], expires: 600, cseq });
    }
  });

  test("R-09 a REGISTER of the phone that is at the PBX is waited for", () => {
    const { rig } = asleep(TRUSTED);
    rig.pass(440_000);
    const phone = rig.phone("192.0.2.8", 40_000, "tcp");
    rig.receive(phone, register(phone, { contacts: [PUSHABLE], expires: 86_400, cseq: 2 }));
    const upstream = rig.one(rig.pbx);
    rig.pass(31_000);
    expect(rig.take(rig.pbx).every((wire) => wire === upstream)).toBe(true);
    rig.fromPbx(accepted(upstream));
    expect(secondsToNext(rig)).toBeGreaterThan(400);
  });

  test("R-09 contact: one REGISTER for each device, also after a restart", () => {
    const rig = new Rig({ pbx: { mode: "contact", trusts_us: true, expires: 600_000 } });
    const ids: string[] = [];
    for (const n of [7, 8]) {
      const phone = rig.phone(`192.0.2.${n}`, 40_000, "tcp");
      const contacts = [`<sip:alice@192.0.2.${n};pn-provider=acme;pn-prid=tok${n}>`];
      ids.push(headers(registered(rig, phone, { contacts, expires: 86_400 }).upstream, "Contact")[0]!);
      rig.close(phone);
    }
    expect(contactsAnswered(rig, 485_000)).toEqual(ids.sort());
    const again = new Rig({
      pbx: { mode: "contact", trusts_us: true, expires: 600_000 },
      nowMs: rig.clock.nowMs + 400_000,
    });
    again.core.restore(...stored(rig), () => null);
    // Not before it is time, and before it is over: about 580 s were granted when it stopped.
    expect(contactsAnswered(again, 80_000)).toEqual([]);
    expect(contactsAnswered(again, 90_000)).toEqual(ids);
  });

  test("R-09 mirror: nothing of our own", () => {
    const rig = new Rig({ pbx: { mode: "mirror", trusts_us: true } });
    registered(rig, rig.phone("192.0.2.7"), { expires: 600 });
    rig.pass(599_000);
    expect(rig.sent).toEqual([]);
  });
});

/** Tokens as random as the appliance's, and the same in every run: those of the rig count up, which is no jitter. */
function chance(): (length: number) => string {
  let state = 1;
  return (length) => {
    let token = "";
    while (token.length < length) token += (state = (state * 48_271) % 2_147_483_647).toString(32).slice(-4);
    return token.slice(0, length);
  };
}

/** Accepts everything for a while; the Contacts of it, sorted. */
function contactsAnswered(rig: Rig, ms: number): string[] {
  const contacts: string[] = [];
  for (let passed = 0; passed < ms; passed += 100) {
    rig.pass(100);
    for (const wire of rig.take(rig.pbx)) {
      contacts.push(headers(wire, "Contact")[0]!);
      rig.fromPbx(accepted(wire));
    }
  }
  return contacts.sort();
}

/** What the store would give back. */
function stored(rig: Rig) {
  const aors = [...rig.core.usrloc.all()];
  return [aors, aors.flatMap((aor) => aor.contacts.map(storedContact))] as const;
}

describe("R-09 digest", () => {
  const cases: [name: string, challenges: string[], algorithm: string, qop: string | null][] = [
    ["MD5", [challenge("MD5", "n1")], "MD5", "auth"],
    ["SHA-256", [challenge("SHA-256", "n1")], "SHA-256", "auth"],
    ["both on two lines, the weaker first", [challenge("MD5", "n1"), challenge("SHA-256", "n2")], "SHA-256", "auth"],
    [
      "both in one line",
      [`${challenge("MD5", "n1")}, ${challenge("SHA-256", "n2").slice("WWW-Authenticate: ".length)}`],
      "SHA-256",
      "auth",
    ],
    ["an unknown one and MD5", [challenge("SHA-512-256", "n1"), challenge("MD5", "n2")], "MD5", "auth"],
    ["without algorithm and qop (RFC 2069)", ['WWW-Authenticate: Digest realm="pbx", nonce="n1"'], "MD5", null],
    ["qop auth,auth-int", [challenge("MD5", "n1", ', qop="auth,auth-int", opaque="o"')], "MD5", "auth"],
    ["basic and digest", ['WWW-Authenticate: Basic realm="x"', challenge("MD5", "n1")], "MD5", "auth"],
  ];
  for (const [name, challenges, algorithm, qop] of cases) {
    test(`R-09 ${name}: answered`, () => {
      const { rig } = asleep(WITH_PASSWORD);
      secondsToNext(rig);
      rig.fromPbx(answer(rig.one(rig.pbx), "401 Unauthorized", challenges));
      const wire = rig.one(rig.pbx);
      expect(isRight(wire)).toBe(true);
      expect(parseCredentials(headers(wire, "Authorization")[0]!)).toMatchObject({ algorithm, qop });
      rig.fromPbx(accepted(wire));
      expect(rig.core.usrloc.find(AOR)!.upstream.expiresAtMs).toBe(rig.clock.nowMs + 600_000);
    });
  }

  test("R-09 the nonce is used again with the next count, so that a refresh costs one REGISTER", () => {
    const { rig } = asleep(WITH_PASSWORD);
    secondsToNext(rig);
    rig.fromPbx(answer(rig.one(rig.pbx), "401 Unauthorized", [challenge("MD5", "n1")]));
    for (let nc = 1; nc < 20; nc++) {
      const wire = rig.one(rig.pbx);
      expect(isRight(wire)).toBe(true);
      expect(parseCredentials(headers(wire, "Authorization")[0]!)).toMatchObject({
        nonce: "n1",
        nc: nc.toString(16).padStart(8, "0"),
      });
      rig.fromPbx(accepted(wire));
      secondsToNext(rig);
    }
  });

  for (const stale of [", stale=true", ""]) {
    test(`R-09 a nonce the PBX forgot${stale === "" ? " without saying so" : " (stale)"} is replaced at once`, () => {
      const { rig } = asleep(WITH_PASSWORD);
      secondsToNext(rig);
      rig.fromPbx(answer(rig.one(rig.pbx), "401 Unauthorized", [challenge("MD5", "n1")]));
      rig.fromPbx(accepted(rig.one(rig.pbx)));
      secondsToNext(rig);
      rig.fromPbx(answer(rig.one(rig.pbx), "401 Unauthorized", [challenge("MD5", "n2", `, qop="auth"${stale}`)]));
      const wire = rig.one(rig.pbx);
      expect(parseCredentials(headers(wire, "Authorization")[0]!)).toMatchObject({ nonce: "n2", nc: "00000001" });
      rig.fromPbx(accepted(wire));
      expect(rig.core.mid!.renewals.failing).toBe(0);
    });
  }

  test("R-09 a proxy before the registrar wants credentials of its own", () => {
    const { rig } = asleep(WITH_PASSWORD);
    secondsToNext(rig);
    rig.fromPbx(
      answer(rig.one(rig.pbx), "407 Proxy Authentication Required", [
        challenge("MD5", "p1", ', qop="auth"', "Proxy-Authenticate"),
      ]),
    );
    const second = rig.one(rig.pbx);
    expect(isRight(second, "Proxy-Authorization")).toBe(true);
    rig.fromPbx(answer(second, "401 Unauthorized", [challenge("MD5", "n1")]));
    const third = rig.one(rig.pbx);
    expect(isRight(third, "Authorization")).toBe(true);
    expect(isRight(third, "Proxy-Authorization")).toBe(true);
    rig.fromPbx(accepted(third));
    expect(rig.core.mid!.renewals.failing).toBe(0);
  });

  test("R-09 HA1 hashes in place of the password", () => {
    const secret = { username: "alice", password: null, ha1s: [{ realm: "pbx", hash: "MD5" as const, ha1: "" }] };
    secret.ha1s[0]!.ha1 = ha1("MD5", "alice", "pbx", "wonder");
    const { rig } = asleep({ pbx: { expires: 600_000 }, secrets: { credentials: new Map([["alice", secret]]) } });
    secondsToNext(rig);
    rig.fromPbx(
      answer(rig.one(rig.pbx), "401 Unauthorized", [challenge("SHA-256", "n1"), challenge("MD5", "n2")]),
    );
    expect(isRight(rig.one(rig.pbx))).toBe(true);
  });

  test("R-09 another password after a reload is used on the next try", () => {
    const { rig } = asleep({ ...WITH_PASSWORD, secrets: { credentials: new Map(SECRETS).set("alice", wrong()) } });
    secondsToNext(rig);
    rig.fromPbx(answer(rig.one(rig.pbx), "401 Unauthorized", [challenge("MD5", "n1")]));
    rig.fromPbx(answer(rig.one(rig.pbx), "401 Unauthorized", [challenge("MD5", "n2")]));
    expect(rig.core.mid!.renewals.failing).toBe(1);
    rig.core.reconfigure(coreSettings(rig.config, { ...rig.secrets, credentials: SECRETS }));
    secondsToNext(rig);
    rig.fromPbx(answer(rig.one(rig.pbx), "401 Unauthorized", [challenge("MD5", "n3")]));
    const wire = rig.one(rig.pbx);
    expect(isRight(wire)).toBe(true);
    rig.fromPbx(accepted(wire));
    expect(rig.core.mid!.renewals.failing).toBe(0);
  });
});

function wrong(): DigestSecret {
  return { username: "alice", password: "wrong", ha1s: [] };
}

/** Answers every REGISTER by `reply` for a while; the waits between the first tries of each round, seconds. */
function rounds(rig: Rig, reply: (wire: string) => string, count: number): number[] {
  const waits: number[] = [];
  for (let n = 0; n < count; n++) {
    waits.push(secondsToNext(rig));
    for (let m = 0; m < 10 && rig.sent.length > 0; m++) for (const wire of rig.take(rig.pbx)) rig.fromPbx(reply(wire));
  }
  return waits;
}

describe("R-09 a PBX that does not take it", () => {
  const refusals: [name: string, reply: (wire: string) => string, words: string, state: "warn"][] = [
    [
      "a wrong password",
      (wire) => answer(wire, "401 No", [challenge("MD5", "n")]),
      "does not take the password",
      "warn",
    ],
    ["403", (wire) => answer(wire, "403 Forbidden"), "the PBX answered 403", "warn"],
    ["503", (wire) => answer(wire, "503 Busy"), "the PBX answered 503", "warn"],
    ["a grant of nothing", (wire) => accepted(wire).replace(/expires=\d+/, "expires=0"), "granted 0 seconds", "warn"],
    ["an unknown algorithm", (wire) => answer(wire, "401 No", [challenge("X", "n")]), "cannot answer", "warn"],
    [
      "Min-Expires that rises for ever",
      (wire) => answer(wire, "423 Brief", [`Min-Expires: ${Number(headers(wire, "Expires")[0]) + 1}`]),
      "the PBX answered 423",
      "warn",
    ],
    ["Min-Expires it has", (wire) => answer(wire, "423 Brief", ["Min-Expires: 60"]), "the PBX answered 423", "warn"],
  ];
  for (const [name, reply, words] of refusals) {
    test(`R-09 ${name}: tried again after 5 s up to 10 min with jitter, an alarm in log and state`, () => {
      const { rig } = asleep(WITH_PASSWORD);
      const [, ...waits] = rounds(rig, reply, 12);
      let base = 5;
      for (const seconds of waits) {
        expect(seconds).toBeGreaterThanOrEqual(base);
        expect(seconds).toBeLessThanOrEqual(base * 1.5);
        base = Math.min(base * 2, 600);
      }
      const alarms = rig.logged.filter(({ level, message }) => level !== "debug" && message.includes("Cannot refresh"));
      expect(alarms[0]).toMatchObject({ level: "warn", fields: { aor: AOR } });
      expect(alarms[0]!.message).toContain(words);
      expect(alarms.length).toBeLessThanOrEqual(2);
      expect(rig.core.mid!.renewals.failing).toBe(1);
      const outlook = rig.outlookOfAor(rig.core.usrloc.find(AOR)!)!;
      expect(outlook.lastFailure).toContain(words);
      expect(outlook.isAtRisk).toBe(true);
      expect(JSON.stringify(rig.logged)).not.toContain("wonder");
      // And back again.
      secondsToNext(rig);
      for (let n = 0; n < 3 && rig.sent.length > 0; n++) {
        for (const wire of rig.take(rig.pbx)) rig.fromPbx(accepted(wire));
      }
      expect(rig.core.mid!.renewals.failing).toBe(0);
      expect(rig.logText).toContain("refreshed again");
      expect(secondsToNext(rig)).toBeGreaterThan(400);
      // What failed long ago is not held against it.
      const [, again] = rounds(rig, reply, 2);
      expect(again).toBeLessThanOrEqual(7.5);
    });
  }

  test("R-09 Retry-After is waited for, ten minutes at most", () => {
    for (const [value, low, high] of [["120", 120, 123], ["86400", 600, 603], ["30 (soon)", 30, 33]] as const) {
      const { rig } = asleep(TRUSTED);
      secondsToNext(rig);
      rig.fromPbx(answer(rig.one(rig.pbx), "503 Busy", [`Retry-After: ${value}`]));
      const seconds = secondsToNext(rig);
      expect([seconds >= low, seconds <= high]).toEqual([true, true]);
    }
  });

  test("R-09 423: asked for as much as the PBX wants, from then on", () => {
    const { rig } = asleep(TRUSTED);
    secondsToNext(rig);
    rig.fromPbx(answer(rig.one(rig.pbx), "423 Interval Too Brief", ["Min-Expires: 1800"]));
    const wire = rig.one(rig.pbx);
    expect(headers(wire, "Contact")[0]).toEndWith(";expires=1800");
    expect(headers(wire, "Expires")).toEqual(["1800"]);
    rig.fromPbx(accepted(wire));
    expect(secondsToNext(rig)).toBeGreaterThan(1300);
    expect(headers(rig.one(rig.pbx), "Contact")[0]).toEndWith(";expires=1800");
  });

  test("R-09 no answer: tried on, one alarm for all AoRs; once the PBX answers anything, all of them soon", () => {
    const rig = new Rig({ pbx: { trusts_us: true, expires: 600_000 } });
    for (let n = 0; n < 20; n++) {
      registered(rig, rig.phone("192.0.2.7", 10_000 + n), { user: `u${n}`, expires: 86_400 });
    }
    rig.pass(8_000_000);
    rig.take(rig.pbx);
    expect(rig.core.mid!.renewals.failing).toBe(20);
    expect(rig.logged.filter(({ level }) => level === "warn" || level === "error")).toHaveLength(1);
    const phone = rig.phone("192.0.2.9");
    rig.receive(phone, register(phone, { user: "carol" }));
    const own = rig.take(rig.pbx).find((wire) => wire.includes("carol"))!;
    rig.fromPbx(accepted(own));
    const seen = new Set<string>();
    for (let n = 0; n < 60; n++) {
      for (const wire of rig.take(rig.pbx)) {
        seen.add(headers(wire, "To")[0]!);
        rig.fromPbx(accepted(wire));
      }
      rig.pass(100);
    }
    expect(seen.size).toBe(20);
    expect(rig.core.mid!.renewals.failing).toBe(0);
  });

  test("R-09 a PBX whose name is not resolved is tried again, too", () => {
    const { rig } = asleep(TRUSTED);
    const pbx = rig.pbx!;
    rig.pbx = null;
    pbx.state = "closed";
    rig.pass(480_000);
    expect(rig.core.mid!.renewals.failing).toBe(1);
    pbx.state = "open";
    rig.pbx = pbx;
    rig.pbxIsBack();
    secondsToNext(rig, 20_000);
    rig.fromPbx(accepted(rig.one(pbx)));
    expect(rig.core.mid!.renewals.failing).toBe(0);
  });

  test("R-09 a refused refresh leaves it to the phones: they are pushed before the binding ends, and granted no more than the PBX grants", () => {
    const { rig } = asleep(WITH_PASSWORD);
    rounds(rig, (wire) => answer(wire, "403 Forbidden"), 1);
    const endMs = rig.core.usrloc.find(AOR)!.upstream.expiresAtMs;
    while (rig.pushes.length === 0) rounds(rig, (wire) => answer(wire, "403 Forbidden"), 1);
    expect(rig.pushes[0]).toMatchObject({ event: "refresh", prid: "tok" });
    expect(endMs - rig.clock.nowMs).toBeGreaterThan(0);
    const phone = rig.phone("192.0.2.7", 40_001, "tcp");
    const { reply } = registered(rig, phone, { contacts: [PUSHABLE], expires: 86_400, cseq: 2 });
    expect(headers(reply, "Contact")[0]).toEndWith(";expires=86400");
  });
});

describe("R-09 whom it is done for", () => {
  test("R-09 nobody who could be reached or woken: the binding is left to lapse; a token set by hand brings it back", () => {
    const rig = new Rig(TRUSTED);
    const phone = rig.phone("192.0.2.7", 40_000, "tcp");
    registered(rig, phone, { contacts: ["<sip:alice@192.0.2.7>"], expires: 86_400 });
    rig.close(phone);
    rig.pass(3_000_000);
    expect(rig.sent).toEqual([]);
    expect(rig.outlookOfAor(rig.core.usrloc.find(AOR)!)!.next).toContain("no device can be reached or woken");
    const contact = rig.core.usrloc.find(AOR)!.contacts[0]!;
    contact.kind = "mobile";
    contact.push = { provider: "acme", param: "", prid: "t", tokenState: "unknown", registeredAtMs: rig.clock.nowMs };
    expect(secondsToNext(rig)).toBeLessThanOrEqual(60);
    rig.fromPbx(accepted(rig.one(rig.pbx)));
  });

  test("R-09 a desk phone that is there is reason enough", () => {
    const rig = new Rig(TRUSTED);
    registered(rig, rig.phone("192.0.2.7", 40_000, "tcp"), { contacts: ["<sip:alice@192.0.2.7>"], expires: 86_400 });
    expect(secondsToNext(rig)).toBeLessThan(500);
  });

  test("R-09 with the last device gone nothing is refreshed any more, and no timer is left", () => {
    const { rig } = asleep(TRUSTED);
    rig.core.usrloc.remove(rig.core.usrloc.find(AOR)!.contacts[0]!, "control");
    const removal = rig.one(rig.pbx);
    expect(headers(removal, "Contact")[0]).toEndWith(";expires=0");
    rig.fromPbx(answer(removal, "200 OK"));
    rig.pass(10_000_000);
    expect(rig.sent).toEqual([]);
    expect(rig.core.mid!.renewals.size).toBe(0);
    expect(rig.core.schedule.nextMs).toBe(Infinity);
  });

  test("R-09 the last device leaves while our refresh is at the PBX: the binding is ended behind it", () => {
    const { rig } = asleep(TRUSTED);
    secondsToNext(rig);
    const refresh = rig.one(rig.pbx);
    rig.core.usrloc.remove(rig.core.usrloc.find(AOR)!.contacts[0]!, "control");
    expect(rig.sent).toEqual([]);
    const pbx = new PbxModel();
    rig.fromPbx(pbx.take(refresh, rig.clock.nowMs));
    rig.fromPbx(pbx.take(rig.one(rig.pbx), rig.clock.nowMs));
    expect(pbx.live(AOR, rig.clock.nowMs)).toEqual([]);
    expect(rig.core.usrloc.aorCount).toBe(0);
    rig.pass(10_000_000);
    expect(rig.core.schedule.nextMs).toBe(Infinity);
  });

  test("R-09 after a restart the refresh is in time, and what lapsed meanwhile is renewed soon", () => {
    const { rig } = asleep(TRUSTED);
    for (const [awayMs, atMost] of [[60_000, 430], [3_600_000, 7]] as const) {
      const again = new Rig({ ...TRUSTED, nowMs: rig.clock.nowMs + awayMs });
      again.core.restore(...stored(rig), () => null);
      expect(secondsToNext(again)).toBeLessThanOrEqual(atMost);
      again.fromPbx(accepted(again.one(again.pbx)));
      expect(again.core.usrloc.find(AOR)!.upstream.expiresAtMs).toBe(again.clock.nowMs + 600_000);
    }
  });

  test("R-18 R-09 thousands that lapsed while we were away are renewed at about 200 a second", () => {
    const rig = new Rig({ ...TRUSTED, maxBindings: 2000 });
    for (let n = 0; n < 2000; n++) {
      const contacts = [`<sip:u${n}@192.0.2.7;pn-provider=acme;pn-prid=t${n}>`];
      registered(rig, rig.phone("192.0.2.7"), { user: `u${n}`, callId: `c${n}`, contacts, expires: 86_400 });
    }
    const again = new Rig({ ...TRUSTED, nowMs: rig.clock.nowMs + 3_600_000 });
    again.token = chance();
    again.core.restore(...stored(rig), () => null);
    const seconds: number[] = [];
    while (seconds.length < 12) {
      let count = 0;
      for (let ms = 0; ms < 1000; ms += 100) {
        again.pass(100);
        const asked = again.take(again.pbx);
        count += asked.length;
        for (const wire of asked) again.fromPbx(accepted(wire));
      }
      seconds.push(count);
    }
    expect(seconds.reduce((sum, count) => sum + count, 0)).toBe(2000);
    expect(Math.max(...seconds)).toBeLessThan(300);
  });

  test("R-09 without credentials, without trust: the phone is granted what the PBX grants, and nothing is sent for it", () => {
    const rig = new Rig({ pbx: { expires: 600_000 }, secrets: { credentials: new Map([["bob", wrong()]]) } });
    const phone = rig.phone("192.0.2.7", 40_000, "tcp");
    rig.receive(phone, register(phone, { contacts: [PUSHABLE], expires: 86_400 }));
    rig.fromPbx(accepted(rig.one(rig.pbx)).replace(/;expires=\d+/, ";expires=600"));
    expect(headers(rig.one(phone), "Contact")[0]).toEndWith(";expires=600");
    rig.close(phone);
    rig.pass(599_000);
    expect(rig.sent).toEqual([]);
  });
});
