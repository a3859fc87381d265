import { expect, test } from "bun:test";
import { Rig, TCP, type TestFlow } from "./rig.ts";
import { answer, inDialog, request, value, values } from "./sip_text.ts";

/** Alice with several phones; the PBX calls her. */
function called(phones: number, maxBreadth: string | null): { rig: Rig; sent: string[]; flows: TestFlow[] } {
  const rig = new Rig();
  const flows: TestFlow[] = [];
  for (let i = 0; i < phones; i++) {
    flows.push(rig.flow("192.0.2.9", 40000 + i));
    rig.register("alice", flows[i]!, `sip:alice@192.168.9.${i}:5060`);
  }
  rig.receive(
    rig.pbx,
    request("INVITE", rig.upstreamUri("alice"), {
      headers: maxBreadth === null ? [] : [["Max-Breadth", maxBreadth]],
    }),
  );
  return { rig, flows, sent: flows.flatMap((flow) => flow.all()) };
}

const CASES: [number, string | null, number][] = [
  [3, null, 3],
  [3, "10", 3],
  [3, "3", 3],
  [3, "2", 2],
  [3, "1", 1],
  [8, "1000", 8],
  [3, "many", 3],
];
for (const [phones, maxBreadth, rung] of CASES) {
  test(`F-01 ${phones} phones, Max-Breadth ${maxBreadth ?? "absent"}: ${rung} branches, within it in sum`, () => {
    const { sent } = called(phones, maxBreadth);
    expect(sent).toHaveLength(rung);
    let sum = 0;
    for (const text of sent) {
      const share = values(text, "Max-Breadth");
      expect(share).toHaveLength(1);
      sum += Number(share[0]);
    }
    expect(sum).toBeLessThanOrEqual(Math.min(60, Number(maxBreadth ?? "60") || 60));
  });
}

test("F-01 Max-Breadth 0 gets 440", () => {
  const { rig, sent } = called(2, "0");
  expect(sent).toEqual([]);
  expect(rig.pbx.kinds().at(-1)).toBe(440);
});

test("F-01 a branch that ended gives its breadth to a late one", () => {
  const rig = new Rig();
  const sleepy = rig.flow("192.0.2.8", 40000, TCP);
  const contact = "sip:alice@192.168.9.8;pn-provider=fcm;pn-param=p;pn-prid=token";
  rig.register("alice", sleepy, contact);
  rig.close(sleepy);
  const awake = rig.flow("192.0.2.9", 40000);
  rig.register("alice", awake, "sip:alice@192.168.9.9:5060");
  rig.receive(rig.pbx, request("INVITE", rig.upstreamUri("alice"), { headers: [["Max-Breadth", "1"]] }));
  expect(rig.pbx.kinds()).toEqual([100]);
  rig.receive(awake, answer(awake.one(), 486));
  const woken = rig.flow("192.0.2.8", 40001, TCP);
  rig.receive(
    woken,
    request("REGISTER", "sip:pbx.example.org", { to: "<sip:alice@pbx.example.org>", contact: `<${contact}>` }),
  );
  const forwarded = rig.pbx.one();
  rig.receive(rig.pbx, answer(forwarded, 200, { contact: value(forwarded, "Contact") }));
  expect(woken.kinds().sort()).toEqual([200, "INVITE"]);
});

test("F-01 what goes to the PBX carries all of it, in and out of dialogs", () => {
  const rig = new Rig();
  const alice = rig.flow("192.0.2.9", 40000);
  rig.register("alice", alice, "sip:alice@192.168.9.9:5060");
  for (const [given, expected] of [[[], "60"], [[["Max-Breadth", "7"]], "7"]] as const) {
    const headers = given.map(([name, text]) => [name, text] as [string, string]);
    rig.receive(
      alice,
      request("MESSAGE", "sip:bob@pbx.example.org", { from: "<sip:alice@pbx.example.org>;tag=1", headers }),
    );
    expect(value(rig.pbx.one(), "Max-Breadth")).toBe(expected);
    rig.receive(
      alice,
      inDialog("INFO", {
        target: "sip:bob@10.0.0.10",
        route: [],
        local: "<sip:alice@pbx.example.org>;tag=1",
        remote: "<sip:bob@pbx.example.org>;tag=2",
        callId: "x",
      }, { headers }),
    );
    expect(value(rig.pbx.one(), "Max-Breadth")).toBe(expected);
  }
});

test("F-05 every Via stands in one block, as some UAs read no further than the first other header", () => {
  const { rig, sent: [toPhone = ""], flows } = called(1, null);
  rig.receive(flows[0]!, request("INVITE", "sip:bob@pbx.example.org", { from: "<sip:alice@pbx.example.org>;tag=1" }));
  rig.pbx.sent.shift();
  const bare = request("MESSAGE", rig.upstreamUri("alice"), { maxForwards: null });
  rig.receive(rig.pbx, bare);
  for (const text of [toPhone, rig.pbx.one(), flows[0]!.all().at(-1)!]) {
    const names = text.split("\r\n").slice(1).map((line) => line.slice(0, line.indexOf(":")));
    const first = names.indexOf("Via");
    expect(names.slice(first, first + 2)).toEqual(["Via", "Via"]);
    expect(names.filter((name) => name === "Max-Breadth")).toHaveLength(1);
  }
});
