/** Requests inside a dialog whose phone sleeps (RFC 8599 §6): they wait for it, for so long, and never for ever. */
import { describe, expect, test } from "bun:test";
import { cidr, Rig, type RigOptions, TCP, type TestFlow, UDP } from "./rig.ts";
import {
  answer,
  callerSide,
  type DialogSide,
  inDialog,
  methodOf,
  request,
  requestUri,
  startLine,
  statusOf,
  value,
  values,
} from "./sip_text.ts";

const PUSH = ";pn-provider=acme;pn-param=app;pn-prid=tok-1";
const CONTACT = "sip:alice@192.168.9.9:5060;transport=tcp";

interface Asleep {
  rig: Rig;
  /** The PBX's side of a call with the phone. */
  side: DialogSide;
  /** Timers that run before anything waits. */
  timers: number;
  /** The phone registers again, over a new connection. */
  wake(): TestFlow;
}

/** A phone that was called, answered and lost its connection. */
function asleep(push = PUSH, options: RigOptions = {}): Asleep {
  const rig = new Rig(options);
  let port = 40_000;
  const registers = () => {
    const flow = rig.flow("192.168.9.9", port++, TCP);
    rig.register("alice", flow, CONTACT + push);
    return flow;
  };
  const phone = registers();
  const invite = request("INVITE", rig.upstreamUri("alice"), {
    from: "<sip:bob@pbx.example.org>;tag=b",
    sentBy: "10.0.0.10",
    contact: "<sip:bob@10.0.0.10>",
  });
  rig.receive(rig.pbx, invite);
  rig.receive(phone, answer(phone.one(), 200, { contact: `<${CONTACT}>` }));
  const side = callerSide(invite, rig.pbx.all().at(-1)!);
  rig.receive(rig.pbx, inDialog("ACK", side, { cseq: 1 }));
  phone.all();
  rig.close(phone);
  // The first call is over for everybody, as far as timers go.
  rig.pass(60_000);
  rig.pbx.all();
  rig.pushes.length = 0;
  return { rig, side, timers: rig.core.table.schedule.deadlines.size, wake: registers };
}

function toPhone({ rig, side }: Asleep, method: string, cseq = 2): string {
  const text = inDialog(method, side, { sentBy: "10.0.0.10", cseq });
  rig.receive(rig.pbx, text);
  return text;
}

function verdict({ rig }: Asleep, outcome: "accepted" | "dead" | "refused" | "failed"): void {
  const { uuid, device, prid } = rig.pushes[0]!;
  rig.core.pushResult({ uuid, outcome, status: 0, reason: "says so", ms: 5 }, device, prid, rig.clock.nowMs);
}

/** Final statuses the PBX got; our own REGISTERs and the 100 of what takes its time aside. */
function statuses({ rig }: Asleep): number[] {
  return rig.pbx.all().map(statusOf).filter((status) => status > 100);
}

function expectNothingLeft({ rig, timers }: Asleep): void {
  expect(rig.core.dialogWake.heldCount).toBe(0);
  rig.pass(120_000);
  expect(rig.core.table.schedule.deadlines.size).toBe(timers);
}

describe("P-02 a request inside a dialog wakes its phone", () => {
  for (const method of ["INVITE", "UPDATE", "INFO", "REFER", "MESSAGE", "NOTIFY", "SUBSCRIBE", "X-NEW"]) {
    test(`P-02 ${method}: one push, and it goes over the new connection`, () => {
      const call = asleep(PUSH, { config: (config) => config.wake.methods.push("NOTIFY", "SUBSCRIBE") });
      const { rig, side } = call;
      const text = toPhone(call, method);
      expect(rig.pbx.kinds()).toEqual(method === "INVITE" ? [100] : []);
      rig.receive(rig.pbx, text);
      expect(rig.pbx.kinds()).toEqual(method === "INVITE" ? [100] : []);
      expect(rig.pushes).toHaveLength(1);
      expect(rig.pushes[0]).toMatchObject({
        event: "message",
        method,
        provider: "acme",
        param: "app",
        prid: "tok-1",
        aor: "alice@pbx.example.org",
        callId: side.callId,
        fromUri: "sip:bob@pbx.example.org",
      });
      rig.pass(2_000);
      const phone = call.wake();
      rig.pass(0);
      const [atPhone] = phone.all();
      expect(startLine(atPhone!)).toBe(`${method} ${CONTACT} SIP/2.0`);
      expect(values(atPhone!, "Route")).toEqual([]);
      rig.receive(phone, answer(atPhone!, 200, { contact: `<${CONTACT}>` }));
      expect(rig.pbx.kinds()).toEqual([200]);
      expect(rig.cancelledPushes).toHaveLength(1);
      expectNothingLeft(call);
    });
  }

  for (const method of ["PRACK", "OPTIONS"]) {
    test(`P-02 ${method}: no push, 480 at once`, () => {
      const call = asleep();
      toPhone(call, method);
      expect(call.rig.pbx.kinds()).toEqual([480]);
      expect(call.rig.pushes).toEqual([]);
    });
  }

  test("P-02 ACK: no push and no answer", () => {
    const call = asleep();
    toPhone(call, "ACK");
    expect([call.rig.pbx.kinds(), call.rig.pushes]).toEqual([[], []]);
  });

  test("P-02 a phone that cannot be pushed, and one with a connection: no push", () => {
    const desk = asleep("");
    toPhone(desk, "INFO");
    expect([desk.rig.pbx.kinds(), desk.rig.pushes]).toEqual([[480], []]);
    const awake = asleep();
    const phone = awake.wake();
    toPhone(awake, "INFO");
    expect([phone.kinds(), awake.rig.pushes]).toEqual([["INFO"], []]);
  });

  test("P-02 a PBX that drops our Record-Route: by the Contact we registered", () => {
    const call = asleep();
    toPhone({ ...call, side: { ...call.side, route: [], target: call.rig.upstreamUri("alice") } }, "INFO");
    expect(call.rig.pushes).toHaveLength(1);
    expect(startLine(call.wake().one())).toBe(`INFO ${CONTACT} SIP/2.0`);
  });

  test("P-02 a token that is not this dialog's wakes nobody", () => {
    const call = asleep();
    toPhone({ ...call, side: { ...call.side, callId: "another" } }, "INFO");
    expect(call.rig.pushes).toEqual([]);
    expect(call.rig.core.dialogWake.heldCount).toBe(0);
  });
});

describe("P-02 nothing waits for ever", () => {
  test("P-02 480 within 20 s, a re-INVITE after the wake window", () => {
    for (const [method, afterMs] of [["INFO", 20_000], ["INVITE", 30_000]] as const) {
      const call = asleep(PUSH, { config: (config) => config.wake.window = 30_000 });
      const text = toPhone(call, method);
      call.rig.pass(afterMs - 1);
      expect(call.rig.pbx.kinds()).toEqual([100]);
      expect(call.rig.pushes[0]!.ttlMs).toBe(afterMs);
      call.rig.pass(1);
      const [reply] = call.rig.pbx.all();
      expect([statusOf(reply!), value(reply!, "CSeq")]).toEqual([480, value(text, "CSeq")]);
      expect(call.rig.cancelledPushes).toEqual([call.rig.pushes[0]!.uuid]);
      expect(call.wake().kinds()).toEqual([]);
    }
  });

  for (const [outcome, told] of [["dead", [480]], ["refused", [480]], ["accepted", []], ["failed", []]] as const) {
    test(`P-02 the push is ${outcome}: ${told[0] ?? "it waits on"}`, () => {
      const call = asleep();
      toPhone(call, "INFO");
      verdict(call, outcome);
      expect(statuses(call)).toEqual([...told]);
      expect(call.rig.core.dialogWake.heldCount).toBe(1 - told.length);
    });
  }

  test("P-02 the device is removed: 480, and no push for what comes after", () => {
    const call = asleep();
    toPhone(call, "INFO");
    call.rig.core.usrloc.remove(call.rig.contactOf("alice", CONTACT + PUSH), "control");
    expect(statuses(call)).toEqual([480]);
    call.rig.pushes.length = 0;
    toPhone(call, "INFO", 3);
    expect(call.rig.pushes).toEqual([]);
    expect(call.rig.core.dialogWake.heldCount).toBe(0);
  });

  for (const cause of ["expired", "evicted"] as const) {
    test(`P-02 W-07 R-13 the device is ${cause}: it was pushed, and may wake as well as before`, () => {
      const call = asleep();
      const { rig } = call;
      rig.register("alice", rig.flow("192.168.7.7", 5060), "sip:alice@192.168.7.7");
      toPhone(call, "INFO");
      rig.core.usrloc.remove(rig.contactOf("alice", CONTACT + PUSH), cause);
      expect(statuses(call)).toEqual([]);
      rig.pass(3000);
      rig.pbx.all();
      expect(call.wake().kinds()).toEqual(["INFO"]);
      expect(rig.core.dialogWake.heldCount).toBe(0);
    });
  }

  test("P-02 CANCEL of a re-INVITE that waits: 200 and 487, and the phone never sees it", () => {
    const call = asleep();
    const text = toPhone(call, "INVITE");
    call.rig.pbx.all();
    call.rig.receive(call.rig.pbx, text.replace(/^INVITE/, "CANCEL").replace(/(CSeq: \d+) INVITE/, "$1 CANCEL"));
    expect(call.rig.pbx.kinds()).toEqual([200, 487]);
    call.rig.receive(call.rig.pbx, text.replace(/^INVITE/, "ACK").replace(/(CSeq: \d+) INVITE/, "$1 ACK"));
    expect(call.rig.core.table.schedule.deadlines.size).toBe(call.timers);
    expect(call.wake().kinds()).toEqual([]);
    expectNothingLeft(call);
  });

  test("P-02 BYE ends what waits in its dialog (RFC 3261 §15.1.2), and nothing else", () => {
    const call = asleep();
    const { rig, side } = call;
    toPhone(call, "INVITE");
    toPhone(call, "INFO", 3);
    const elsewhere = { ...side, callId: "another", route: [], target: rig.upstreamUri("alice") };
    toPhone({ ...call, side: elsewhere }, "INFO", 2);
    rig.pbx.all();
    toPhone(call, "BYE", 4);
    expect(rig.pbx.all().map((text) => [statusOf(text), value(text, "CSeq")])).toEqual([
      [487, "2 INVITE"],
      [487, "3 INFO"],
    ]);
    expect(rig.core.dialogWake.heldCount).toBe(2);
    expect(rig.cancelledPushes).toEqual([]);
    expect(call.wake().all().map((text) => [methodOf(text), value(text, "Call-ID")])).toEqual([
      ["INFO", "another"],
      ["BYE", side.callId],
    ]);
  });

  test("P-02 BYE of a dialog in which alone something waits takes the push back", () => {
    const call = asleep();
    toPhone(call, "INVITE");
    toPhone(call, "BYE", 3);
    call.rig.pbx.all();
    expect(call.wake().kinds()).toEqual(["BYE"]);
    expect(call.rig.cancelledPushes).toHaveLength(1);
  });

  test("P-02 R-15 it goes over the first flow of its phone that comes back", () => {
    const call = asleep();
    const { rig } = call;
    const register = (regId: number) => {
      const flow = rig.flow("192.168.9.9", 41_000 + rig.core.usrloc.contactCount + regId, TCP);
      rig.register("alice", flow, CONTACT + PUSH, { params: `;+sip.instance="<urn:uuid:a>";reg-id=${regId}` });
      return flow;
    };
    for (const regId of [1, 2]) rig.close(register(regId));
    expect(rig.core.usrloc.contactCount).toBe(2);
    toPhone({ ...call, side: { ...call.side, route: [], target: rig.upstreamUri("alice") } }, "INFO");
    expect(rig.core.dialogWake.heldCount).toBe(1);
    expect(register(1).kinds()).toEqual(["INFO"]);
  });

  test("P-02 four wait for one device, by one push, and go in their order; a fifth is answered", () => {
    const call = asleep();
    for (let cseq = 2; cseq <= 6; cseq++) toPhone(call, "INFO", cseq);
    expect(call.rig.pbx.kinds()).toEqual([480]);
    expect(call.rig.pushes).toHaveLength(1);
    expect(call.wake().all().map((text) => value(text, "CSeq"))).toEqual(["2 INFO", "3 INFO", "4 INFO", "5 INFO"]);
    expect(call.rig.core.dialogWake.heldCount).toBe(0);
  });

  test("P-02 a thousand wait in all", () => {
    const call = asleep(PUSH);
    const { rig } = call;
    for (let n = 0; n < 251; n++) {
      const flow = rig.flow("192.168.8.8", 1024 + n, TCP);
      const user = `user${n}`;
      rig.register(user, flow, `sip:${user}@192.168.8.8:${1024 + n};pn-provider=acme;pn-prid=t${n}`);
      rig.close(flow);
      for (let cseq = 2; cseq < 6; cseq++) {
        const side = { ...call.side, callId: `many-${n}`, route: [], target: rig.upstreamUri(user) };
        rig.receive(rig.pbx, inDialog("INFO", side, { sentBy: "10.0.0.10", cseq }));
      }
    }
    expect(rig.core.dialogWake.heldCount).toBe(1000);
    expect(rig.pbx.kinds()).toEqual([480, 480, 480, 480]);
    rig.pass(20_000);
    expect(rig.core.dialogWake.heldCount).toBe(0);
  });
});

describe("P-02 a phone that sleeps again", () => {
  for (const [how, answered] of [["registered", false], ["registered and answered", true]] as const) {
    test(`P-02 it woke by one push for two requests, ${how}, and slept: the next request brings a push`, () => {
      const call = asleep();
      const { rig } = call;
      toPhone(call, "INFO", 2);
      toPhone(call, "INVITE", 3);
      expect(rig.pushes).toHaveLength(1);
      rig.pass(1000);
      const phone = call.wake();
      const [info, invite] = phone.all();
      expect([methodOf(info!), methodOf(invite!)]).toEqual(["INFO", "INVITE"]);
      if (answered) rig.receive(phone, answer(invite!, 200, { contact: `<${CONTACT}>` }));
      rig.pass(1000);
      rig.close(phone);
      rig.pass(1000);
      const before = rig.pushes.length;
      toPhone(call, "INVITE", 4);
      expect(rig.pushes.slice(before)).toMatchObject([{ event: "message", method: "INVITE", ttlMs: 30_000 }]);
      const again = call.wake().all();
      expect(again.filter((text) => value(text, "CSeq") === "4 INVITE")).toHaveLength(1);
    });
  }

  test("P-02 it answers over the connection it had, and sleeps: the next request brings a push", () => {
    const call = asleep();
    const { rig } = call;
    const phone = rig.flow("192.168.9.9", 45_000, UDP);
    rig.register("alice", phone, CONTACT + PUSH);
    toPhone(call, "INFO", 2);
    toPhone(call, "INFO", 3);
    rig.pass(1500);
    const [, second] = phone.all();
    expect(rig.pushes).toHaveLength(1);
    rig.receive(phone, answer(second!, 200));
    rig.pass(100);
    toPhone(call, "INFO", 4);
    rig.pass(1500);
    expect(rig.pushes).toHaveLength(2);
  });

  test("P-02 the push of an earlier request has lapsed: a later one brings another", () => {
    const call = asleep();
    toPhone(call, "INFO", 2);
    call.rig.pass(15_000);
    toPhone(call, "INVITE", 3);
    expect(call.rig.pushes).toHaveLength(1);
    call.rig.pass(10_000);
    toPhone(call, "INFO", 4);
    expect(call.rig.pushes).toHaveLength(2);
  });

  test("P-02 a request that waited does so once: unanswered by a phone that came, it brings no second push", () => {
    const call = asleep();
    toPhone(call, "INFO");
    call.wake();
    call.rig.pass(10_000);
    expect(call.rig.pushes).toHaveLength(1);
  });
});

describe("F-03 BYE for a phone whose connection just broke", () => {
  for (const [kind, push] of [["mobile", PUSH], ["desk", ""]] as const) {
    test(`F-03 a ${kind} phone: it waits without a push, and goes over the new connection`, () => {
      const call = asleep(push);
      const { rig } = call;
      const text = toPhone(call, "BYE");
      rig.pass(3000);
      expect([rig.pbx.kinds(), rig.pushes]).toEqual([[], []]);
      rig.receive(rig.pbx, text);
      const phone = call.wake();
      const bye = phone.one();
      expect(startLine(bye)).toBe(`BYE ${CONTACT} SIP/2.0`);
      rig.receive(phone, answer(bye, 200));
      expect(rig.pbx.kinds()).toEqual([200]);
      expectNothingLeft({ ...call, timers: rig.core.table.schedule.deadlines.size });
    });
  }

  test("F-03 it does not come back: 480 after 20 s, before the sender's Timer F, however short wake.window is", () => {
    const call = asleep(PUSH, { config: (config) => config.wake.window = 4000 });
    toPhone(call, "BYE");
    call.rig.pass(19_999);
    expect(statuses(call)).toEqual([]);
    call.rig.pass(1);
    expect(statuses(call)).toEqual([480]);
    expect(call.rig.pushes).toEqual([]);
    expectNothingLeft(call);
  });

  for (const [how, push] of [["breaks under it", PUSH], ["leads nowhere", PUSH], ["breaks under it", ""]] as const) {
    test(`F-03 the connection ${how}: it goes again over the one the phone registers, ${push || "a desk phone"}`, () => {
      const call = asleep(push);
      const { rig } = call;
      const old = rig.flow("192.168.9.9", 45_000, TCP);
      rig.register("alice", old, CONTACT + push);
      toPhone(call, "BYE");
      expect(old.kinds()).toEqual(["BYE"]);
      if (how === "breaks under it") rig.close(old);
      rig.pass(4000);
      expect([statuses(call), rig.pushes]).toEqual([[], []]);
      const phone = call.wake();
      const bye = phone.one();
      rig.receive(phone, answer(bye, 200));
      expect(statuses(call)).toEqual([200]);
      rig.pass(60_000);
      expectNothingLeft({ ...call, timers: rig.core.table.schedule.deadlines.size });
      expect(rig.core.table.clientCount).toBe(0);
    });
  }

  test("F-03 it changes its connection again before it answers: the BYE follows, a few times", () => {
    const call = asleep();
    const { rig } = call;
    toPhone(call, "BYE");
    let last = call.wake();
    for (let n = 0; n < 5; n++) {
      expect([n, last.all().map((text) => value(text, "CSeq"))]).toEqual([n, ["2 BYE"]]);
      if (n % 2 === 0) rig.close(last);
      rig.pass(1000);
      last = call.wake();
    }
    rig.receive(last, answer(last.one(), 200));
    expect(statuses(call)).toEqual([200]);
    expect(rig.core.dialogWake.heldCount).toBe(0);
    expect(rig.pushes).toEqual([]);
    for (let n = 0; n < 20; n++) expect(call.wake().kinds()).toEqual([]);
  });

  test("F-03 its push token is dead: nothing of a push ends what waits without one", () => {
    const call = asleep();
    toPhone(
      { ...call, side: { ...call.side, callId: "another", route: [], target: call.rig.upstreamUri("alice") } },
      "INFO",
    );
    toPhone(call, "BYE", 3);
    verdict(call, "refused");
    expect(statuses(call)).toEqual([480]);
    expect(call.wake().kinds()).toEqual(["BYE"]);
  });

  test("F-03 a second BYE ends nothing that the first waits for", () => {
    const call = asleep();
    toPhone(call, "BYE", 2);
    toPhone(call, "BYE", 3);
    expect(statuses(call)).toEqual([]);
    expect(call.wake().kinds()).toEqual(["BYE", "BYE"]);
  });
});

describe("W-17 P-02 what belongs to a subscription", () => {
  const notify = (call: Asleep, cseq: number, event: string, from = call.side): string => {
    const text = inDialog("NOTIFY", from, { sentBy: "10.0.0.10", cseq, headers: [["Event", event]] });
    call.rig.receive(call.rig.pbx, text);
    return text;
  };
  const named = { config: (config: { wake: { methods: string[] } }) => void config.wake.methods.push("NOTIFY") };

  for (const event of ["presence", "dialog;id=7", "message-summary"]) {
    test(`W-17 NOTIFY of ${event} wakes no phone; its notifier is told to come again`, () => {
      const call = asleep();
      notify(call, 2, event);
      const [reply] = call.rig.pbx.all();
      expect([statusOf(reply!), value(reply!, "Retry-After")]).toEqual([480, "60"]);
      expect(call.rig.pushes).toEqual([]);
    });
  }

  test("W-17 nor does SUBSCRIBE inside its dialog, nor NOTIFY to a phone that seems awake", () => {
    const call = asleep();
    toPhone(call, "SUBSCRIBE");
    expect(statuses(call)).toEqual([480]);
    const phone = call.wake();
    notify(call, 3, "presence");
    expect(phone.kinds()).toEqual(["NOTIFY"]);
    call.rig.pass(10_000);
    expect(call.rig.pushes).toEqual([]);
  });

  for (const header of ["refer", "refer;id=93809824", "Refer"]) {
    test(`P-02 NOTIFY of ${header} tells a call how its transfer goes on: it wakes the phone`, () => {
      const call = asleep();
      notify(call, 2, header);
      expect(call.rig.pushes).toMatchObject([{ event: "message", method: "NOTIFY" }]);
    });
  }

  test("W-17 wake.methods names NOTIFY: one push, and the phone gets the newest of each subscription alone", () => {
    const call = asleep(PUSH, named);
    const { rig, side } = call;
    const other = { ...side, callId: "another", route: [], target: rig.upstreamUri("alice") };
    for (let cseq = 2; cseq < 12; cseq++) notify(call, cseq, "presence");
    notify(call, 12, "dialog");
    notify(call, 2, "presence", other);
    expect(rig.pushes).toHaveLength(1);
    const replies = rig.pbx.all();
    expect(replies.map((text) => [statusOf(text), value(text, "CSeq"), value(text, "Retry-After")])).toEqual(
      Array.from({ length: 9 }, (_, n) => [480, `${n + 2} NOTIFY`, "60"]),
    );
    expect(call.wake().all().map((text) => [value(text, "Call-ID"), value(text, "CSeq")])).toEqual([
      [side.callId, "11 NOTIFY"],
      [side.callId, "12 NOTIFY"],
      ["another", "2 NOTIFY"],
    ]);
    expect(rig.core.dialogWake.heldCount).toBe(0);
  });

  test("W-17 behind an open connection, too, the newest alone waits", () => {
    const call = asleep(PUSH, named);
    const { rig } = call;
    const phone = rig.flow("192.168.9.9", 45_000, UDP);
    rig.register("alice", phone, CONTACT + PUSH);
    for (let cseq = 2; cseq < 8; cseq++) notify(call, cseq, "presence");
    rig.pass(1500);
    expect(rig.pushes).toHaveLength(1);
    expect(rig.core.dialogWake.heldCount).toBe(1);
    phone.all();
    expect(call.wake().all().map((text) => value(text, "CSeq"))).toEqual(["7 NOTIFY"]);
  });
});

describe("P-02 a request inside a dialog to a phone that has a flow and may be asleep all the same", () => {
  /** A phone in a call: its flow is open. */
  function connected(transport = TCP, push = PUSH): Asleep & { phone: TestFlow } {
    const call = asleep(push);
    const { rig } = call;
    const phone = rig.flow("192.168.9.9", 45_000, transport);
    rig.register("alice", phone, CONTACT + push);
    rig.pbx.all();
    return { ...call, timers: rig.core.table.schedule.deadlines.size, phone };
  }

  for (const transport of [TCP, UDP]) {
    test(`P-02 W-03 ${transport.transport}: nothing heard within wake.hedge: a push; it goes again over the flow of its REGISTER`, () => {
      const call = connected(transport);
      const { rig, phone } = call;
      toPhone(call, "INFO");
      expect([phone.kinds(), rig.pushes]).toEqual([["INFO"], []]);
      rig.pass(1499);
      expect(rig.pushes).toEqual([]);
      rig.pass(1);
      expect(rig.pushes).toMatchObject([{ event: "message", prid: "tok-1", ttlMs: 20_000 }]);
      rig.pass(3000);
      phone.all();
      const again = call.wake();
      const [info] = again.all();
      expect(methodOf(info!)).toBe("INFO");
      rig.receive(again, answer(info!, 200));
      expect(statuses(call)).toEqual([200]);
      // The old one comes late: one final response is enough.
      expectNothingLeft(call);
      expect(statuses(call)).toEqual([]);
    });
  }

  test("P-02 what the phone says over its new flow is final, whatever became of the old one", () => {
    const call = connected();
    const { rig } = call;
    toPhone(call, "INFO");
    rig.pass(2000);
    const again = call.wake();
    rig.receive(again, answer(again.one(), 481));
    expect(statuses(call)).toEqual([481]);
  });

  test("P-02 UDP: it thaws on its old flow: the request is repeated at once", () => {
    const call = connected(UDP);
    const { rig, phone } = call;
    toPhone(call, "INFO");
    rig.pass(8000);
    phone.all();
    rig.register("alice", phone, CONTACT + PUSH);
    const [info, ...more] = phone.all();
    expect([methodOf(info!), more]).toEqual(["INFO", []]);
    rig.receive(phone, answer(info!, 200));
    expect(statuses(call)).toEqual([200]);
    expectNothingLeft(call);
  });

  test("P-02 a phone that answers, or says that it is trying, is not pushed", () => {
    for (
      const [method, status] of [["INFO", 200], ["INFO", 405], ["INVITE", 100], ["INVITE", 180], [
        "REFER",
        202,
      ]] as const
    ) {
      const call = connected();
      const { rig, phone } = call;
      toPhone(call, method);
      const [text] = phone.all();
      rig.pass(1000);
      rig.receive(phone, answer(text!, status, { contact: `<${CONTACT}>` }));
      rig.pass(10_000);
      expect([method, status, rig.pushes]).toEqual([method, status, []]);
    }
  });

  for (const method of ["BYE", "PRACK", "OPTIONS"]) {
    test(`P-02 ${method} is not worth a push`, () => {
      const call = connected();
      toPhone(call, method);
      call.rig.pass(10_000);
      expect(call.rig.pushes).toEqual([]);
    });
  }

  test("P-02 a desk phone, or one without a token, is not pushed", () => {
    for (const push of [PUSH, ""]) {
      const call = connected(TCP, push);
      call.rig.contactOf("alice", CONTACT + push).kind = "desk";
      toPhone(call, "INFO");
      call.rig.pass(10_000);
      expect(call.rig.pushes).toEqual([]);
    }
  });

  test("P-02 its connection closes under the request: pushed at once, and 480 only if it does not wake", () => {
    for (const wakes of [true, false]) {
      const call = connected();
      const { rig, phone } = call;
      toPhone(call, "INFO");
      rig.close(phone);
      expect([wakes, rig.pushes.length, statuses(call)]).toEqual([wakes, 1, []]);
      if (wakes) rig.receive(call.wake(), "\r\n\r\n");
      rig.pass(20_000);
      if (!wakes) expect(statuses(call)).toEqual([480]);
      expect(rig.core.dialogWake.heldCount).toBe(0);
    }
  });

  test("P-02 it does not wake: 480 before the sender's Timer F is over", () => {
    const call = connected(UDP);
    toPhone(call, "INFO");
    call.rig.pass(1500 + 20_000);
    call.rig.pass(100);
    expect(statuses(call)).toEqual([480]);
    expect(call.rig.cancelledPushes).toHaveLength(1);
    call.phone.all();
    call.rig.pass(60_000);
    expectNothingLeft(call);
  });

  for (const outcome of ["dead", "refused"] as const) {
    test(`P-02 the push is ${outcome}: a slow answer over the open flow still counts`, () => {
      const call = connected();
      const { rig, phone } = call;
      toPhone(call, "INFO");
      const [info] = phone.all();
      rig.pass(1500);
      verdict(call, outcome);
      rig.pass(1000);
      expect(statuses(call)).toEqual([]);
      rig.receive(phone, answer(info!, 200));
      expect(statuses(call)).toEqual([200]);
    });

    test(`P-02 the push is ${outcome} and the flow was closed: 480 at once`, () => {
      const call = connected();
      toPhone(call, "INFO");
      call.rig.close(call.phone);
      verdict(call, outcome);
      expect(statuses(call)).toEqual([480]);
    });
  }

  test("P-02 CANCEL of a re-INVITE takes the push back", () => {
    const call = connected();
    const { rig, phone } = call;
    const text = toPhone(call, "INVITE");
    const [invite] = phone.all();
    rig.pass(2000);
    expect(rig.pushes).toHaveLength(1);
    rig.pbx.all();
    rig.receive(rig.pbx, text.replace(/^INVITE/, "CANCEL").replace(/(CSeq: \d+) INVITE/, "$1 CANCEL"));
    rig.pass(100);
    expect(rig.pbx.kinds()).toEqual([200, 487]);
    expect(rig.cancelledPushes).toHaveLength(1);
    rig.receive(phone, answer(invite!, 487));
    expect(rig.core.dialogWake.heldCount).toBe(0);
  });

  test("P-02 four wait for one device; what is more goes without", () => {
    const call = connected(UDP);
    for (let cseq = 2; cseq <= 7; cseq++) toPhone(call, "INFO", cseq);
    call.rig.pass(1500);
    expect(call.rig.pushes).toHaveLength(1);
    expect(call.rig.core.dialogWake.heldCount).toBe(4);
    expect(statuses(call)).toEqual([]);
  });

  test("P-02 the device is removed before the push: the request goes on by itself", () => {
    const call = connected();
    const { rig, phone } = call;
    toPhone(call, "INFO");
    const [info] = phone.all();
    rig.core.usrloc.remove(rig.contactOf("alice", CONTACT + PUSH), "control");
    rig.pass(2000);
    expect(rig.pushes).toEqual([]);
    rig.receive(phone, answer(info!, 200));
    expect(statuses(call)).toEqual([200]);
  });
});

describe("P-02 PURR in a request inside a dialog", () => {
  const purrTarget = (rig: Rig) =>
    `sip:alice@192.168.9.9:5060;transport=tcp;pn-purr=${rig.core.purrOf(rig.contactOf("alice", CONTACT + PUSH))}`;

  test("P-02 in the Request-URI, without our Record-Route: held for its device, and untouched when it goes", () => {
    const call = asleep();
    const target = purrTarget(call.rig);
    toPhone({ ...call, side: { ...call.side, route: [], target } }, "INFO");
    expect(call.rig.pushes).toHaveLength(1);
    const phone = call.wake();
    expect(requestUri(phone.one())).toBe(target);
    toPhone({ ...call, side: { ...call.side, route: [], target } }, "INFO", 3);
    expect(requestUri(phone.one())).toBe(target);
    expect(call.rig.pushes).toHaveLength(1);
  });

  test("P-02 in a Route of ours", () => {
    const call = asleep();
    const route = [`<sip:10.0.0.5:5060;lr;${purrTarget(call.rig).split(";").at(-1)}>`];
    toPhone({ ...call, side: { ...call.side, route } }, "INFO");
    expect(call.rig.pushes).toHaveLength(1);
    expect(methodOf(call.wake().one())).toBe("INFO");
  });

  test("P-02 made up, or of a device that is gone: no way, and no push", () => {
    for (const isGone of [true, false]) {
      const call = asleep();
      const target = isGone ? purrTarget(call.rig) : purrTarget(call.rig).slice(0, -1) + "_";
      if (isGone) call.rig.core.usrloc.remove(call.rig.contactOf("alice", CONTACT + PUSH), "control");
      call.rig.pbx.all();
      toPhone({ ...call, side: { ...call.side, route: [], target } }, "INFO");
      expect(call.rig.pbx.kinds()).toEqual([481]);
      expect(call.rig.pushes).toEqual([]);
    }
  });

  test("P-02 a stranger's wakes nobody", () => {
    const call = asleep();
    const stranger = call.rig.flow("203.0.113.5", 5060);
    call.rig.receive(stranger, inDialog("INFO", { ...call.side, route: [], target: purrTarget(call.rig) }));
    expect(stranger.kinds()).toEqual([403]);
    expect(call.rig.pushes).toEqual([]);
  });

  test("P-02 registrar mode: a registered phone's leads to the device, a stranger's nowhere", () => {
    const rig = new Rig({ pbx: null, config: (config) => config.security.trust = [cidr("192.168.0.0/16")] });
    const alice = rig.flow("192.168.9.9", 40_000, TCP);
    const bob = rig.flow("192.168.7.7", 40_000, TCP);
    const device = rig.register("alice", alice, CONTACT + PUSH);
    rig.register("bob", bob, "sip:bob@192.168.7.7:5060;transport=tcp");
    rig.close(alice);
    const target = `${CONTACT};pn-purr=${rig.core.purrOf(device)}`;
    const info = () => request("INFO", target, { from: "<sip:bob@10.0.0.5>;tag=b", to: "<sip:alice@10.0.0.5>;tag=a" });
    const stranger = rig.flow("203.0.113.5", 5060);
    rig.receive(stranger, info().replace("sip:bob@", "sip:eve@"));
    expect([stranger.kinds(), rig.pushes]).toEqual([[403], []]);
    rig.receive(bob, info());
    expect([bob.kinds(), rig.pushes.length]).toEqual([[], 1]);
    const again = rig.flow("192.168.9.9", 40_001, TCP);
    rig.register("alice", again, CONTACT + PUSH);
    expect(requestUri(again.one())).toBe(target);
  });
});
