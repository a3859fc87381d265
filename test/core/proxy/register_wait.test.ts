/**
 * What the PBX sends to a phone while it still has the phone's REGISTER. Asterisk's NOTIFY of waiting messages leaves some
 * microseconds before its 200, and never comes again.
 */
import { describe, expect, test } from "bun:test";
import { World } from "../../sim/world.ts";
import { Rig, type TestFlow } from "./rig.ts";
import { answer, methodOf, request, requestUri, startLine, statusOf, uriIn, value } from "./sip_text.ts";

const CONTACT = "sip:alice@192.168.9.9:5060";
const AOR = "<sip:alice@pbx.example.org>";

interface Pending {
  rig: Rig;
  phone: TestFlow;
  /** The Contact that the PBX was given. */
  uri: string;
  /** The PBX's answer to the REGISTER. */
  answers: (status: number) => void;
}

function registering(
  mode: "aor" | "contact" | "mirror" = "aor",
  placement: "param" | "user" | "aor" = "param",
  rig = new Rig({
    config: (config) => {
      config.pbx!.mode = mode;
      config.pbx!.contact_id = placement;
    },
  }),
  phone = rig.flow("192.0.2.9", 40000),
  contact = CONTACT,
): Pending {
  rig.receive(
    phone,
    request("REGISTER", "sip:pbx.example.org", { from: AOR + ";tag=r", to: AOR, contact: `<${contact}>;expires=600` }),
  );
  const forwarded = rig.pbx.one();
  const uri = uriIn(value(forwarded, "Contact"));
  const answers = (status: number) =>
    rig.receive(rig.pbx, answer(forwarded, status, { contact: `<${uri}>;expires=600` }));
  return { rig, phone, uri, answers };
}

const WAYS = [["aor", "param"], ["aor", "user"], ["aor", "aor"], ["contact", "param"], ["contact", "user"], [
  "mirror",
  "param",
]] as const;

for (const transport of ["udp", "tcp"] as const) {
  test(`F-04 a PBX on ${transport} that tells of waiting messages just before each 200 is heard each time`, () => {
    const w = new World({
      pbx: { transport, isNotifying: true },
      // Each REGISTER goes to the PBX.
      config: (config) => config.pbx!.mode = "mirror",
    });
    const alice = w.phone("alice", { transport: "udp" });
    for (let n = 1; n <= 3; n++) {
      alice.register();
      w.settle();
      expect(w.pbx.notified.map(({ finals }) => finals)).toEqual(Array(n).fill([200]));
    }
    expect(w.sent(alice, "NOTIFY")).toHaveLength(3);
  });
}

describe("F-04 a request of the PBX just before its 200 to the REGISTER", () => {
  for (const [mode, placement] of WAYS) {
    for (const method of ["NOTIFY", "MESSAGE", "INVITE", "OPTIONS"]) {
      test(`F-04 ${method} reaches the phone (mode ${mode}, contact_id ${placement})`, () => {
        const { rig, phone, uri, answers } = registering(mode, placement);
        rig.receive(rig.pbx, request(method, uri));
        expect([phone.sent, rig.pbx.kinds()]).toEqual([[], method === "INVITE" ? [100] : []]);
        answers(200);
        if (method === "OPTIONS") return expect(rig.pbx.kinds()).toEqual([200]);
        expect(phone.all().map(startLine).sort()).toEqual([`${method} ${CONTACT} SIP/2.0`, "SIP/2.0 200 Whatever"]);
        expect(rig.core.registerWait.waitingCount).toBe(0);
      });
    }
  }

  test("F-04 several go on in the order they came", () => {
    const { rig, phone, uri, answers } = registering();
    for (let n = 1; n <= 5; n++) rig.receive(rig.pbx, request("NOTIFY", uri, { cseq: n }));
    answers(200);
    const numbers = phone.all().filter((text) => methodOf(text) === "NOTIFY").map((text) => value(text, "CSeq"));
    expect(numbers).toEqual([1, 2, 3, 4, 5].map((n) => `${n} NOTIFY`));
  });

  test("F-04 a second phone of the user gets it, too, and each waits for its own REGISTER alone", () => {
    const first = registering();
    first.answers(200);
    first.phone.all();
    const { rig } = first;
    const desk = rig.flow("192.0.2.10", 40000);
    const second = registering("aor", "param", rig, desk, "sip:alice@192.168.9.10:5060");
    rig.receive(rig.pbx, request("NOTIFY", second.uri));
    expect(first.phone.sent).toEqual([]);
    second.answers(200);
    expect(first.phone.kinds()).toEqual(["NOTIFY"]);
    expect(desk.kinds().sort()).toEqual([200, "NOTIFY"]);
  });

  for (const status of [401, 403, 500]) {
    test(`F-04 the PBX answers the REGISTER ${status}: nobody is there`, () => {
      const { rig, uri, answers } = registering();
      rig.receive(rig.pbx, request("NOTIFY", uri));
      answers(status);
      expect(rig.pbx.kinds()).toEqual([480]);
    });
  }

  test("F-04 the PBX does not answer: after 5 s it is as if nobody registered", () => {
    const { rig, uri } = registering();
    rig.receive(rig.pbx, request("NOTIFY", uri));
    rig.pass(4999);
    expect(rig.pbx.kinds().filter((kind) => kind !== "REGISTER")).toEqual([100]);
    rig.pass(1);
    expect(rig.pbx.kinds().filter((kind) => kind !== "REGISTER")).toEqual([480]);
    rig.pass(60_000);
    expect(rig.core.registerWait.waitingCount).toBe(0);
  });

  test("F-04 CANCEL of a call that waits: 487", () => {
    const { rig, phone, uri, answers } = registering();
    const invite = request("INVITE", uri, { branch: "z9hG4bKwaits" });
    rig.receive(rig.pbx, invite);
    const { length } = rig.pbx.all();
    expect(length).toBe(1);
    rig.receive(rig.pbx, invite.replaceAll("INVITE", "CANCEL"));
    expect(rig.pbx.kinds()).toEqual([200, 487]);
    answers(200);
    expect(phone.kinds()).toEqual([200]);
  });

  test("W-04 a call for a user who has a phone here waits for no REGISTER, and takes in who registers", () => {
    const first = registering();
    first.answers(200);
    first.phone.all();
    const { rig } = first;
    const second = registering("aor", "param", rig, rig.flow("192.0.2.10", 40000), "sip:alice@192.168.9.10:5060");
    rig.receive(rig.pbx, request("INVITE", second.uri));
    expect(requestUri(first.phone.one())).toBe(CONTACT);
    second.answers(200);
    expect(second.phone.kinds().sort()).toEqual([200, "INVITE"]);
  });

  test("W-07 a call that waited has one 100, and no longer than others until it ends", () => {
    const { rig, phone, uri, answers } = registering();
    rig.receive(rig.pbx, request("INVITE", uri));
    rig.pass(3000);
    answers(200);
    rig.receive(phone, answer(phone.all().find((text) => methodOf(text) === "INVITE")!, 180));
    rig.pass(117_000 - 200);
    expect(rig.pbx.kinds().filter((kind) => kind !== "REGISTER")).toEqual([100, 180]);
    rig.pass(400);
    expect(rig.pbx.kinds()[0]).toBeGreaterThanOrEqual(400);
  });

  test("X-01 sixteen wait for one phone; others wait for nobody", () => {
    const { rig, phone, uri, answers } = registering();
    rig.receive(rig.pbx, request("NOTIFY", "sip:carol@10.0.0.5:5060"));
    expect(rig.pbx.kinds()).toEqual([480]);
    for (let n = 0; n < 20; n++) rig.receive(rig.pbx, request("NOTIFY", uri));
    expect(rig.pbx.all().map(statusOf)).toEqual([480, 480, 480, 480]);
    answers(200);
    expect(phone.all().filter((text) => methodOf(text) === "NOTIFY")).toHaveLength(16);
  });

  test("F-06 a stranger's or a phone's waits for nothing", () => {
    const { rig, uri } = registering();
    const stranger = rig.flow("198.51.100.66", 5060);
    rig.receive(stranger, request("NOTIFY", uri));
    expect(stranger.kinds()).toEqual([403]);
    expect(rig.core.registerWait.waitingCount).toBe(0);
  });
});
