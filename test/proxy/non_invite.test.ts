import { describe, expect, test } from "bun:test";
import { Rig, type TestFlow } from "./rig.ts";
import { answer, request } from "./sip_text.ts";

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
});
