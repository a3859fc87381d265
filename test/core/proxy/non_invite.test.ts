import { describe, expect, test } from "bun:test";
import { Rig, TCP, type TestFlow } from "./rig.ts";
import { answer, callerSide, inDialog, request } from "./sip_text.ts";

/** A PBX and two phones of alice, which a request to her reaches both. */
function forked(): { rig: Rig; phones: TestFlow[] } {
  const rig = new Rig();
  const phones = [9, 10].map((number) => {
    const phone = rig.flow(`192.0.2.${number}`, 40000);
    rig.register("alice", phone, `sip:alice@192.168.9.${number}:5060`);
    return phone;
  });
  return { rig, phones };
}

describe("F-01 forks of what is no INVITE", () => {
  for (const status of [100, 180]) {
    test(`F-01 the phone that lost gets no CANCEL for its ${status} (RFC 3261 §9.1)`, () => {
      const { rig, phones: [winner, loser] } = forked();
      rig.receive(rig.pbx, request("MESSAGE", rig.upstreamUri("alice")));
      const late = loser!.one();
      rig.receive(winner!, answer(winner!.one(), 200));
      rig.receive(loser!, answer(late, status));
      expect(loser!.sent).toEqual([]);
      rig.receive(loser!, answer(late, 486));
      expect(rig.pbx.kinds()).toEqual([200]);
      rig.pass(40_000);
      expect([rig.core.table.clientCount, rig.core.table.serverCount]).toEqual([0, 0]);
    });
  }

  test("F-01 F-05 no 1xx of a phone goes back, as only 100 may (RFC 4320 §4.1); ours goes after 3.5 s", () => {
    const { rig, phones: [one, other] } = forked();
    rig.receive(rig.pbx, request("MESSAGE", rig.upstreamUri("alice")));
    const text = one!.one();
    for (const status of [100, 180, 183]) rig.receive(one!, answer(text, status));
    rig.pass(3499);
    expect(rig.pbx.kinds()).toEqual([]);
    rig.pass(1);
    expect(rig.pbx.kinds()).toEqual([100]);
    rig.receive(one!, answer(text, 202));
    rig.receive(other!, answer(other!.all()[0]!, 200));
    expect(rig.pbx.kinds()).toEqual([202]);
  });
});

describe("W-17 the sender hears of it while he listens", () => {
  for (const [said, told] of [[404, 404], [0, 504]] as const) {
    test(`W-17 a silent phone, ${said === 0 ? "and no other" : `and one that said ${said}`}: ${told} after 28 s`, () => {
      const { rig, phones: [silent, other] } = forked();
      rig.receive(rig.pbx, request("MESSAGE", rig.upstreamUri("alice")));
      const text = silent!.one();
      if (said !== 0) rig.receive(other!, answer(other!.one(), said));
      rig.pass(28_000);
      expect(rig.pbx.kinds()).toEqual([100]);
      rig.pass(100);
      expect(rig.pbx.kinds()).toEqual([told]);
      // Too late: one final is enough.
      rig.receive(silent!, answer(text, 200));
      rig.pass(60_000);
      expect(rig.pbx.kinds()).toEqual([]);
      expect([rig.core.table.clientCount, rig.core.table.serverCount]).toEqual([0, 0]);
    });
  }

  for (const [said, told] of [[0, 504], [404, 404], [503, 500]] as const) {
    const other = said === 0 ? "the other silent" : `${said} of the other`;
    test(`F-01 a phone's 408 is no answer, as nobody listens to it (RFC 4320 §4.2); ${other}: ${told}`, () => {
      const { rig, phones: [one, two] } = forked();
      rig.receive(rig.pbx, request("MESSAGE", rig.upstreamUri("alice")));
      rig.receive(one!, answer(one!.one(), 408));
      if (said !== 0) rig.receive(two!, answer(two!.one(), said));
      rig.pass(28_100);
      const kinds = rig.pbx.kinds();
      expect(kinds.filter((kind) => kind !== 100)).toEqual([told]);
    });
  }

  test("F-01 408 alone, inside a dialog too: 504; the 408 to an INVITE is passed on", () => {
    for (const [method, told] of [["MESSAGE", 504], ["INVITE", 408]] as const) {
      const rig = new Rig();
      const phone = rig.flow("192.0.2.9", 40000);
      rig.register("alice", phone, "sip:alice@192.168.9.9:5060");
      rig.receive(rig.pbx, request(method, rig.upstreamUri("alice")));
      rig.receive(phone, answer(phone.one(), 408));
      expect(rig.pbx.kinds().at(-1)).toBe(told);
    }
    const { rig, phones: [phone] } = forked();
    const invite = request("INVITE", rig.upstreamUri("alice"), { contact: "<sip:bob@10.0.0.10>" });
    rig.receive(rig.pbx, invite);
    const ok = answer(phone!.one(), 200, { contact: "<sip:alice@192.168.9.9:5060>" });
    rig.receive(phone!, ok);
    phone!.all();
    const side = callerSide(invite, rig.pbx.all().at(-1)!);
    rig.receive(rig.pbx, inDialog("INFO", side));
    rig.receive(phone!, answer(phone!.one(), 408));
    expect(rig.pbx.kinds()).toEqual([504]);
  });

  test("W-17 a 2xx that comes in the last moment is the answer", () => {
    const { rig, phones: [phone] } = forked();
    rig.receive(rig.pbx, request("MESSAGE", rig.upstreamUri("alice")));
    const text = phone!.one();
    rig.pass(28_050);
    rig.receive(phone!, answer(text, 202));
    expect(rig.pbx.kinds()).toEqual([100, 202]);
  });
});

describe("W-15 a phone's connection that fails under a request", () => {
  for (const method of ["MESSAGE", "SUBSCRIBE", "INVITE", "BYE", "re-INVITE"]) {
    test(`W-15 ${method}: 480, as a 503 would tell the PBX that we are out of order (RFC 3261 §21.5.4)`, () => {
      const rig = new Rig();
      const phone = rig.flow("192.0.2.9", 40000, TCP);
      rig.register("alice", phone, "sip:alice@192.168.9.9:5060;transport=tcp");
      const uri = rig.upstreamUri("alice");
      if (method !== "BYE" && method !== "re-INVITE") rig.receive(rig.pbx, request(method, uri));
      else {
        const invite = request("INVITE", uri);
        rig.receive(rig.pbx, invite);
        rig.receive(phone, answer(phone.one(), 200, { contact: "<sip:alice@192.168.9.9:5060>" }));
        const side = callerSide(invite, rig.pbx.all().at(-1)!);
        rig.receive(rig.pbx, inDialog(method.replace("re-", ""), side));
      }
      expect(phone.sent).toHaveLength(1);
      rig.close(phone);
      // A BYE waits for its phone to come back.
      if (method === "BYE") rig.pass(20_000);
      expect(rig.pbx.kinds().filter((status) => status !== 100)).toEqual([480]);
    });
  }
});
