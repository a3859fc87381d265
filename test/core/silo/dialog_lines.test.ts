/** W-22: the requests of a dialog in the ladder of the call that made it, each once and with its pair. */
import { expect, test } from "bun:test";
import type { TimelineEntry } from "../../../src/core/silo/record.ts";
import { Rig, type TestFlow } from "../proxy/rig.ts";
import {
  answer,
  calleeSide,
  callerSide,
  type DialogSide,
  inDialog,
  methodOf,
  request,
  statusOf,
} from "../proxy/sip_text.ts";

const A = "192.168.9.7:5060";
const B = "192.168.9.1:5060";
const PBX = "10.0.0.10:5060";

/** Takes everything that was sent; the first message of this kind. */
function take(flow: TestFlow, kind: string | number): string {
  const found = flow.all().find((text) => (methodOf(text) || statusOf(text)) === kind);
  if (found === undefined) throw new Error(`No ${kind} to ${flow.key}`);
  return found;
}

/** What the ladder has of the dialog. */
function dialogLines(rig: Rig): string[] {
  const { timeline } = rig.core.silo.allRecords()[0]!;
  const ofDialog = ({ event }: TimelineEntry) => event === "ack" || event === "bye";
  return timeline.filter(ofDialog).map(({ from, to, label }) => `${from}→${to} ${label}`);
}

/**
 * A call of phone A to phone B through a PBX that passes Call-ID and tags on, as Kamailio does: A → latefork → PBX → latefork
 * → B. Each side of each of the two passes is given back.
 */
function callBetweenPhones() {
  const rig = new Rig();
  const [a, b] = [rig.flow("192.168.9.7", 5060), rig.flow("192.168.9.1", 5060)];
  rig.register("bob", a, `sip:bob@${A}`);
  rig.register("alice", b, `sip:alice@${B}`);
  const from = "<sip:bob@pbx.example.org>;tag=b";
  const identity = { from, to: "<sip:alice@pbx.example.org>", callId: "both-ways", contact: `<sip:bob@${A}>` };
  const out = request("INVITE", "sip:alice@pbx.example.org", { ...identity, sentBy: A });
  rig.receive(a, out);
  const atPbx = take(rig.pbx, "INVITE");
  const back = request("INVITE", rig.upstreamUri("alice"), { ...identity, sentBy: PBX });
  rig.receive(rig.pbx, back);
  const rings = take(b, "INVITE");
  const ok = answer(rings, 200, { tag: "a", contact: `<sip:alice@${B}>` });
  rig.receive(b, ok);
  const okToPbx = take(rig.pbx, 200);
  rig.receive(rig.pbx, answer(atPbx, 200, { tag: "a", contact: `<sip:alice@${B}>` }));
  const sides = {
    a: callerSide(out, take(a, 200)),
    pbxToB: callerSide(back, okToPbx),
    b: calleeSide(rings, ok),
    pbxToA: calleeSide(atPbx, answer(atPbx, 200, { tag: "a" })),
  };
  /** One request on both of its passes. */
  const pass = (method: string, [first, second]: [DialogSide, DialogSide], by: TestFlow, cseq?: number) => {
    const options = cseq === undefined ? {} : { cseq };
    rig.receive(by, inDialog(method, first, { sentBy: by === a ? A : B, ...options }));
    rig.receive(rig.pbx, inDialog(method, second, { sentBy: PBX, ...options }));
  };
  return { rig, a, b, sides, pass };
}

test("W-22 a call between two phones over a PBX that keeps its Call-ID: ACK and BYE stand in it once each", () => {
  const { rig, a, sides, pass } = callBetweenPhones();
  pass("ACK", [sides.a, sides.pbxToB], a);
  pass("BYE", [sides.a, sides.pbxToB], a);
  expect(dialogLines(rig)).toEqual([
    "PBX→latefork ACK",
    "latefork→alice/1 ACK",
    "PBX→latefork BYE",
    "latefork→alice/1 BYE",
  ]);
});

test("W-22 the same where the phone that was called hangs up", () => {
  const { rig, a, b, sides, pass } = callBetweenPhones();
  pass("ACK", [sides.a, sides.pbxToB], a);
  pass("BYE", [sides.b, sides.pbxToA], b);
  expect(dialogLines(rig)).toEqual([
    "PBX→latefork ACK",
    "latefork→alice/1 ACK",
    "alice/1→latefork BYE",
    "latefork→PBX BYE",
  ]);
});

test("W-22 an ACK that comes again, or belongs to a re-INVITE, has no line: its INVITE has none", () => {
  const { rig, a, b, sides, pass } = callBetweenPhones();
  for (let i = 0; i < 3; i++) pass("ACK", [sides.a, sides.pbxToB], a);
  for (const [by, way] of [[a, [sides.a, sides.pbxToB]], [b, [sides.b, sides.pbxToA]]] as const) {
    pass("INVITE", [...way], by, 7);
    pass("ACK", [...way], by, 7);
  }
  expect(dialogLines(rig)).toEqual(["PBX→latefork ACK", "latefork→alice/1 ACK"]);
});
