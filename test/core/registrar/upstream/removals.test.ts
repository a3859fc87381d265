import { describe, expect, test } from "bun:test";
import { type DigestSecret, parseCredentials } from "../../../../src/core/sip/digest.ts";
import { PbxModel } from "../pbx_model.ts";
import {
  accepted,
  answer,
  contactsOf,
  headers,
  parsed,
  register,
  registered,
  Rig,
  START_MS,
  statusLine,
} from "../rig.ts";

const AOR = "alice@example.org";
const CHALLENGE = 'WWW-Authenticate: Digest realm="pbx", nonce="n1", algorithm=MD5, qop="auth"';

function secretOf(user: string): ReadonlyMap<string, DigestSecret> {
  return new Map([[user, { username: user, password: "wonder", ha1s: [] }]]);
}

/** Alice registered for 600 s, 3600 s at the PBX, and 599.999 s have passed. */
function aboutToExpire(options: ConstructorParameters<typeof Rig>[0] = {}): { rig: Rig; contact: string } {
  const rig = new Rig(options);
  const { upstream } = registered(rig, rig.phone("192.0.2.7"), { expires: 600 });
  rig.pass(599_999);
  expect(contactsOf(rig)).toHaveLength(1);
  expect(rig.sent).toEqual([]);
  return { rig, contact: headers(upstream, "Contact")[0]! };
}

/** Lets time pass until something is sent, or it is over. @returns the time, ms */
function passUntilSent(rig: Rig, atMostMs: number): number {
  const startMs = rig.clock.nowMs;
  while (rig.sent.length === 0 && rig.clock.nowMs < startMs + atMostMs) {
    rig.pass(Math.min(rig.core.schedule.nextMs, startMs + atMostMs) - rig.clock.nowMs);
  }
  return rig.clock.nowMs - startMs;
}

describe("R-08 the last device expires", () => {
  test("R-10 R-08 to the millisecond, and our own de-REGISTER goes to the PBX in the same turn", () => {
    const { rig, contact } = aboutToExpire();
    rig.pass(1);
    expect(contactsOf(rig)).toEqual([]);
    const wire = rig.one(rig.pbx);
    const message = parsed(wire);
    expect(message.method).toBe("REGISTER");
    expect(message.uri!.text).toBe("sip:example.org");
    expect([message.to.uriText, message.from.uriText]).toEqual([`sip:${AOR}`, `sip:${AOR}`]);
    expect(headers(wire, "Contact")).toEqual([contact.replace("expires=3600", "expires=0")]);
    expect(headers(wire, "Expires")).toEqual(["0"]);
    rig.fromPbx(answer(wire, "200 OK"));
    expect(rig.core.usrloc.aorCount).toBe(0);
    rig.pass(100_000);
    expect(rig.sent).toEqual([]);
  });

  test("R-08 challenged: answered with the user's credentials", () => {
    for (
      const [status, challenge, header] of [
        ["401 Unauthorized", CHALLENGE, "Authorization"],
        ["407 Proxy Authentication Required", CHALLENGE.replace("WWW", "Proxy"), "Proxy-Authorization"],
      ] as const
    ) {
      const { rig } = aboutToExpire({ secrets: { credentials: secretOf("alice") } });
      rig.pass(1);
      const first = rig.one(rig.pbx);
      rig.fromPbx(answer(first, status, [challenge]));
      const second = rig.one(rig.pbx);
      expect(headers(second, "Call-ID")).toEqual(headers(first, "Call-ID"));
      expect(parsed(second).cseq).toBe(parsed(first).cseq + 1);
      expect(headers(second, "Contact")).toEqual(headers(first, "Contact"));
      const credentials = parseCredentials(headers(second, header)[0]!);
      expect(credentials).toMatchObject({ username: "alice", realm: "pbx", nonce: "n1", uri: "sip:example.org" });
      rig.fromPbx(answer(second, "200 OK"));
      expect(rig.core.usrloc.aorCount).toBe(0);
      expect(rig.logText).not.toContain("Cannot end");
    }
  });

  test("R-08 challenged by a proxy and by the registrar behind it, and its nonce too old: all answered", () => {
    const { rig } = aboutToExpire({ secrets: { credentials: secretOf("alice") } });
    rig.pass(1);
    const proxys = CHALLENGE.replace("WWW", "Proxy").replace("pbx", "edge");
    const stale = `${CHALLENGE.replace("n1", "n2")}, stale=true`;
    rig.fromPbx(answer(rig.one(rig.pbx), "407 Proxy Authentication Required", [proxys]));
    rig.fromPbx(answer(rig.one(rig.pbx), "401 Unauthorized", [CHALLENGE]));
    rig.fromPbx(answer(rig.one(rig.pbx), "401 Unauthorized", [stale]));
    const last = rig.one(rig.pbx);
    expect(parseCredentials(headers(last, "Proxy-Authorization")[0]!)).toMatchObject({ realm: "edge", nonce: "n1" });
    expect(parseCredentials(headers(last, "Authorization")[0]!)).toMatchObject({ realm: "pbx", nonce: "n2" });
    rig.fromPbx(answer(last, "200 OK"));
    expect(rig.core.usrloc.aorCount).toBe(0);
    expect(rig.logText).not.toContain("Cannot end");
  });

  test("R-08 credentials that the PBX does not take are tried once", () => {
    const { rig } = aboutToExpire({ secrets: { credentials: secretOf("alice") } });
    rig.pass(1);
    rig.fromPbx(answer(rig.one(rig.pbx), "401 Unauthorized", [CHALLENGE]));
    rig.fromPbx(answer(rig.one(rig.pbx), "401 Unauthorized", [CHALLENGE]));
    rig.pass(3_000_000);
    expect(rig.sent).toEqual([]);
    expect(rig.logText).toContain("keeps our Contact for another 3000 s: the PBX does not take the password");
    expect(rig.core.usrloc.aorCount).toBe(0);
  });

  for (const credentials of [new Map(), secretOf("bob")]) {
    test(`R-08 challenged without credentials (${credentials.size} others): said in the log, and the AoR is let go`, () => {
      const { rig } = aboutToExpire({ secrets: { credentials } });
      rig.pass(1);
      rig.fromPbx(answer(rig.one(rig.pbx), "401 Unauthorized", [CHALLENGE]));
      expect(rig.sent).toEqual([]);
      expect(rig.logText).toContain("pbx.credentials_file has none for this user");
      expect(rig.counts.get("registrations_total{upstream_not_ended}")).toBe(1);
      expect(rig.core.usrloc.aorCount).toBe(0);
    });
  }

  test("R-08 the password is in no log line", () => {
    const { rig } = aboutToExpire({ secrets: { credentials: secretOf("alice") } });
    rig.pass(1);
    rig.fromPbx(answer(rig.one(rig.pbx), "401 Unauthorized", [CHALLENGE.replace("MD5", "SHA3-1")]));
    expect(rig.logText).toContain("a kind of authentication we cannot answer");
    expect(JSON.stringify(rig.logged)).not.toContain("wonder");
  });

  test("R-08 a PBX binding that ended before or with the phone's needs no de-REGISTER", () => {
    const rig = new Rig();
    registered(rig, rig.phone("192.0.2.7"), { expires: 3600 });
    rig.pass(3_600_000);
    expect(rig.sent).toEqual([]);
    expect(rig.core.usrloc.aorCount).toBe(0);
  });

  test("R-08 token dead: a sleeping phone is taken off the PBX", () => {
    const rig = new Rig();
    const phone = rig.phone("192.0.2.7", 40000, "tcp");
    registered(rig, phone, { contacts: ["<sip:alice@192.0.2.7;pn-provider=acme;pn-prid=tok>"] });
    rig.close(phone);
    const device = rig.core.usrloc.find(AOR)!.contacts[0]!.id;
    rig.pass(1000);
    rig.core.pushResult(
      { uuid: "u", outcome: "dead", status: 410, reason: "gone", ms: 5 },
      device,
      "tok",
      rig.clock.nowMs,
    );
    expect(headers(rig.one(rig.pbx), "Contact")[0]).toEndWith(";expires=0");
    expect(contactsOf(rig)).toEqual([]);
  });

  test("R-08 one of several goes: aor keeps the binding, contact and mirror end that device's", () => {
    for (const mode of ["aor", "contact", "mirror"] as const) {
      const rig = new Rig({ pbx: { mode } });
      const { upstream } = registered(rig, rig.phone("192.0.2.7"), { expires: 600 });
      registered(rig, rig.phone("192.0.2.8"), { expires: 60 });
      const [first, second] = rig.core.usrloc.find(AOR)!.contacts;
      rig.core.usrloc.remove(first!, "control");
      const sent = rig.take(rig.pbx);
      if (mode === "aor") expect(sent).toEqual([]);
      else {
        expect(headers(sent[0]!, "Contact")).toEqual([headers(upstream, "Contact")[0]!.replace(/\d+$/, "0")]);
        rig.fromPbx(answer(sent[0]!, "200 OK"));
      }
      expect(rig.core.usrloc.find(AOR)!.contacts).toEqual([second!]);
      expect(rig.core.usrloc.find(AOR)!.upstream.state).toBe("registered");
    }
  });

  test("R-08 contact: each device's binding ends with it, however short the last grant was", () => {
    const rig = new Rig({ pbx: { mode: "contact", expires: 60_000 } });
    const pbx = new PbxModel();
    const through = (address: string, expires: number) => {
      const phone = rig.phone(address);
      rig.receive(phone, register(phone, { expires }));
      rig.fromPbx(pbx.take(rig.one(rig.pbx), rig.clock.nowMs));
      rig.take(phone);
    };
    through("192.0.2.7", 6000);
    through("192.0.2.8", 60);
    rig.pass(100_000);
    for (const wire of rig.take(rig.pbx)) rig.fromPbx(pbx.take(wire, rig.clock.nowMs));
    rig.core.usrloc.remove(rig.core.usrloc.find(AOR)!.contacts[0]!, "control");
    for (const wire of rig.take(rig.pbx)) rig.fromPbx(pbx.take(wire, rig.clock.nowMs));
    expect(pbx.live(AOR, rig.clock.nowMs)).toEqual([]);
    expect(rig.core.usrloc.aorCount).toBe(0);
  });

  test("R-08 mirror: what runs out at the PBX by itself is not ended once more", () => {
    const rig = new Rig({ pbx: { mode: "mirror" } });
    registered(rig, rig.phone("192.0.2.7"), { expires: 60 });
    registered(rig, rig.phone("192.0.2.8"), { expires: 600 });
    registered(rig, rig.phone("192.0.2.8"), { cseq: 2, expires: 0 });
    rig.pass(60_000);
    expect(rig.sent).toEqual([]);
    expect(rig.core.usrloc.aorCount).toBe(0);
  });
});

describe("R-08 a PBX that cannot be reached when the last device goes", () => {
  test("R-08 no answer: tried again with back-off until its binding lapses, and forgotten then", () => {
    const { rig } = aboutToExpire();
    rig.pass(1);
    const tries: number[] = [];
    const endMs = rig.clock.nowMs + 3_000_000;
    let last = "";
    while (rig.clock.nowMs < endMs) {
      for (const wire of rig.take(rig.pbx)) {
        if (headers(wire, "Via")[0] !== last) tries.push(Math.round((endMs - rig.clock.nowMs) / 1000));
        last = headers(wire, "Via")[0]!;
      }
      rig.pass(1000);
    }
    // 32 s without an answer, then 5 s, 10 s, ... 10 min, each with up to half of it on top.
    const waits = tries.slice(1).map((left, i) => tries[i]! - left - 32);
    expect(waits.length).toBeGreaterThan(6);
    waits.forEach((wait, i) => expect(wait).toBeWithin(Math.min(5 * 2 ** i, 600), Math.min(5 * 2 ** i, 600) * 1.5 + 2));
    expect(new Set(waits.map((wait, i) => wait / 2 ** i)).size).toBeGreaterThan(2);
    expect(rig.core.usrloc.aorCount).toBe(0);
    // The last try may still be on its way.
    rig.pass(33_000);
    rig.take(rig.pbx);
    rig.pass(10_000_000);
    expect(rig.take(rig.pbx)).toEqual([]);
    expect(rig.core.schedule.nextMs).toBe(Infinity);
  });

  test("R-08 not resolved: tried when it is", () => {
    const { rig } = aboutToExpire();
    const pbx = rig.pbx!;
    rig.pbx = null;
    pbx.state = "closed";
    rig.pass(4000);
    pbx.state = "open";
    rig.pbx = pbx;
    rig.pbxIsBack();
    expect(rig.take(pbx)).toEqual([]);
    expect(passUntilSent(rig, 5000)).toBeWithin(1000, 3502);
    rig.fromPbx(answer(rig.one(pbx), "200 OK"));
    expect(rig.core.usrloc.aorCount).toBe(0);
  });

  test("R-08 500 and 503 are tried again, 403 is not", () => {
    for (const [status, tries] of [["500 Error", 2], ["503 Busy", 2], ["403 Forbidden", 1]] as const) {
      const { rig } = aboutToExpire();
      rig.pass(1);
      const first = rig.one(rig.pbx);
      rig.fromPbx(answer(first, status));
      const waitedMs = passUntilSent(rig, 8000);
      if (tries === 2) expect(waitedMs).toBeWithin(5000, 7501);
      expect(rig.take(rig.pbx)).toHaveLength(tries - 1);
    }
  });

  test("R-08 Retry-After is waited for", () => {
    const { rig } = aboutToExpire();
    rig.pass(1);
    rig.fromPbx(answer(rig.one(rig.pbx), "503 Busy", ["Retry-After: 90 (maintenance)"]));
    expect(passUntilSent(rig, 100_000)).toBeWithin(90_000, 92_501);
  });

  test("R-08 contact: two devices go together, one is answered at once and one on the second try: both are ended", () => {
    const rig = new Rig({ pbx: { mode: "contact" } });
    const pbx = new PbxModel();
    for (const n of [7, 8]) {
      const phone = rig.phone(`192.0.2.${n}`);
      rig.receive(phone, register(phone, { expires: 600 }));
      rig.fromPbx(pbx.take(rig.one(rig.pbx), rig.clock.nowMs));
    }
    rig.sent.length = 0;
    rig.pass(600_000);
    const [first, second] = rig.take(rig.pbx);
    rig.fromPbx(answer(first!, "500 Error"));
    rig.fromPbx(pbx.take(second!, rig.clock.nowMs));
    expect(rig.core.usrloc.aorCount).toBe(1);
    passUntilSent(rig, 7500);
    rig.fromPbx(pbx.take(rig.one(rig.pbx), rig.clock.nowMs));
    expect(pbx.live(AOR, rig.clock.nowMs)).toEqual([]);
    expect(rig.core.usrloc.aorCount).toBe(0);
  });

  test("R-08 a thousand devices that expire in one moment: ended at 200 a second, and complained of in few lines", () => {
    const rig = new Rig({ maxBindings: 2000 });
    for (let n = 0; n < 1000; n++) {
      registered(rig, rig.phone("192.0.2.7"), { user: `u${n}`, callId: `c${n}`, expires: 600 });
    }
    rig.pass(600_000);
    let [most, ended] = [rig.sent.filter(({ flow }) => flow === rig.pbx).length, 0];
    expect(most).toBe(20);
    while (rig.core.usrloc.aorCount > 0) {
      const wires = rig.take(rig.pbx);
      most = Math.max(most, wires.length);
      ended += wires.length;
      for (const wire of wires) rig.fromPbx(answer(wire, "401 Unauthorized", [CHALLENGE]));
      rig.pass(100);
    }
    expect([most, ended]).toEqual([20, 1000]);
    expect(rig.clock.nowMs).toBe(START_MS + 605_000);
    const lines = rig.logged.filter(({ message }) => message.includes("Cannot end"));
    expect([lines.length, lines.filter(({ level }) => level === "warn").length]).toEqual([1000, 10]);
    expect(lines[9]!.message).toContain("level debug");
  });
});

describe("R-08 a phone that comes while its binding is being ended", () => {
  test("R-08 nothing of the removal is sent any more once the phone's REGISTER is on its way", () => {
    const { rig } = aboutToExpire({ secrets: { credentials: secretOf("alice") } });
    rig.pass(1);
    const removal = rig.one(rig.pbx);
    const phone = rig.phone("192.0.2.7");
    rig.receive(phone, register(phone, { cseq: 2 }));
    const upstream = rig.one(rig.pbx);
    // Neither its credentials nor its retransmissions may arrive behind the REGISTER.
    rig.fromPbx(answer(removal, "401 Unauthorized", [CHALLENGE]));
    rig.pass(400);
    expect(rig.take(rig.pbx)).toEqual([]);
    rig.fromPbx(accepted(upstream));
    rig.pass(60_000);
    expect(rig.take(rig.pbx)).toEqual([]);
    expect(contactsOf(rig)).toHaveLength(1);
    expect(rig.core.usrloc.find(AOR)!.upstream.state).toBe("registered");
  });

  test("R-08 and if the PBX refuses that REGISTER the removal goes on", () => {
    const { rig } = aboutToExpire();
    rig.pass(1);
    rig.one(rig.pbx);
    const phone = rig.phone("192.0.2.7");
    rig.receive(phone, register(phone, { cseq: 2 }));
    rig.fromPbx(answer(rig.one(rig.pbx), "403 Forbidden"));
    const again = rig.one(rig.pbx);
    expect(headers(again, "Contact")[0]).toEndWith(";expires=0");
    rig.fromPbx(answer(again, "200 OK"));
    expect(rig.core.usrloc.aorCount).toBe(0);
  });

  test("R-08 a refresh that is at the PBX when the binding runs out here: nothing is ended", () => {
    for (const mode of ["aor", "contact"] as const) {
      const { rig } = aboutToExpire({ pbx: { mode } });
      const phone = rig.phone("192.0.2.7");
      rig.receive(phone, register(phone, { cseq: 2, callId: "again", expires: 600 }));
      const upstream = rig.one(rig.pbx);
      rig.pass(20);
      expect(contactsOf(rig)).toEqual([]);
      expect(rig.sent).toEqual([]);
      rig.fromPbx(accepted(upstream));
      expect(headers(rig.one(phone), "Contact")).toEqual(["<sip:alice@192.0.2.7:5060>;expires=600"]);
      rig.pass(10_000);
      expect(rig.sent).toEqual([]);
      expect(contactsOf(rig)).toHaveLength(1);
    }
  });

  test("R-08 and if that refresh is refused, the binding is ended then", () => {
    for (const mode of ["aor", "contact"] as const) {
      const { rig } = aboutToExpire({ pbx: { mode } });
      const phone = rig.phone("192.0.2.7");
      rig.receive(phone, register(phone, { cseq: 2, callId: "again", expires: 600 }));
      const upstream = rig.one(rig.pbx);
      rig.pass(20);
      rig.fromPbx(answer(upstream, "403 Forbidden"));
      expect(statusLine(rig.one(phone))).toBe("SIP/2.0 403 Forbidden");
      expect(headers(rig.one(rig.pbx), "Contact")[0]).toEndWith(";expires=0");
    }
  });

  test("R-08 the device that stays expires while the PBX judges the removal of the other: the binding is ended", () => {
    const rig = new Rig();
    registered(rig, rig.phone("192.0.2.7"), { expires: 600 });
    registered(rig, rig.phone("192.0.2.8"), { expires: 100 });
    rig.pass(99_990);
    const phone = rig.phone("192.0.2.7");
    rig.receive(phone, register(phone, { cseq: 2, expires: 0 }));
    const upstream = rig.one(rig.pbx);
    expect(headers(upstream, "Contact")[0]).toEndWith(";expires=3600");
    rig.pass(10);
    rig.fromPbx(accepted(upstream));
    rig.one(phone);
    const removal = rig.one(rig.pbx);
    expect(headers(removal, "Contact")[0]).toEndWith(";expires=0");
    rig.fromPbx(answer(removal, "200 OK"));
    expect(rig.core.usrloc.aorCount).toBe(0);
  });

  test("R-08 two devices that expire together: no trace of the AoR is written after it is gone", () => {
    const saved: string[] = [];
    const changes = {
      contactSaved: () => {},
      contactRemoved: () => {},
      aorSaved: () => void saved.push("saved"),
      aorRemoved: () => void saved.push("removed"),
    };
    const rig = new Rig({ pbx: { mode: "contact" }, changes });
    registered(rig, rig.phone("192.0.2.7"), { expires: 600 });
    registered(rig, rig.phone("192.0.2.8"), { expires: 600 });
    rig.pass(600_000);
    const removals = rig.take(rig.pbx);
    expect(removals).toHaveLength(2);
    for (const removal of removals) rig.fromPbx(answer(removal, "200 OK"));
    expect(saved.at(-1)).toBe("removed");
    expect(saved.filter((what) => what === "removed")).toHaveLength(1);
    expect(rig.core.usrloc.aorCount).toBe(0);
  });
});
