import { expect, test } from "bun:test";
import { PbxModel } from "./pbx_model.ts";
import { headers, Rig, type TestFlow } from "./rig.ts";

/** Fewer for a quick look: `SOAK_PHONES=500`. */
const PHONES = Number(process.env.SOAK_PHONES ?? 10_000);
const MINUTES = 60;

function refresh(phone: TestFlow, user: string, cseq: number): string {
  const at = `${phone.remoteAddress}:${phone.remotePort}`;
  return `REGISTER sip:example.org SIP/2.0\r\nVia: SIP/2.0/UDP ${at};branch=z9hG4bK${user}x${cseq};rport\r\n` +
    `Max-Forwards: 70\r\nFrom: <sip:${user}@example.org>;tag=f\r\nTo: <sip:${user}@example.org>\r\n` +
    `Call-ID: ${user}\r\nCSeq: ${cseq} REGISTER\r\n` +
    `Contact: <sip:${user}@${at};pn-provider=acme;pn-prid=${user}>;+sip.instance="<urn:uuid:${user}>"\r\n` +
    `Expires: 90\r\nContent-Length: 0\r\n\r\n`;
}

test(
  `R-05 ${PHONES} phones that register every minute for an hour: the PBX hears of each AoR once, and once more where its hour ends`,
  () => {
    const rig = new Rig({ pbx: { expires: 3_600_000 }, maxBindings: PHONES });
    const pbx = new PbxModel();
    const heard = new Map<string, number>();
    const phones = Array.from({ length: PHONES }, (_, n) => rig.phone(`192.0.${2 + (n >> 12)}.7`, 1024 + (n & 4095)));
    // Answers and records of one minute are looked at and thrown away, so that the hour fits into memory.
    const settle = (): number => {
      let oks = 0;
      for (let at = 0; at < rig.sent.length; at++) {
        const { flow, wire } = rig.sent[at]!;
        if (flow !== rig.pbx) {
          if (wire.startsWith("SIP/2.0 200")) oks++;
          continue;
        }
        const to = headers(wire, "To")[0]!;
        heard.set(to, (heard.get(to) ?? 0) + 1);
        rig.fromPbx(pbx.take(wire, rig.clock.nowMs));
      }
      rig.sent.length =
        rig.events.length =
        rig.logged.length =
        pbx.seen.length =
          0;
      return oks;
    };
    let answered = 0;
    for (let minute = 0; minute < MINUTES; minute++) {
      for (let n = 0; n < PHONES; n++) {
        rig.receive(phones[n]!, refresh(phones[n]!, `u${n}`, minute + 1));
        if (n % 1000 === 999) {
          answered += settle();
          rig.pass(60_000 / (PHONES / 1000));
        }
      }
      answered += settle();
      rig.pass(Math.max(0, 60_000 - Math.floor(PHONES / 1000) * (60_000 / (PHONES / 1000))));
    }
    expect(answered).toBe(PHONES * MINUTES);
    expect(rig.core.usrloc.contactCount).toBe(PHONES);
    expect(heard.size).toBe(PHONES);
    expect(Math.max(...heard.values())).toBeLessThanOrEqual(2);
    for (let n = 0; n < PHONES; n += 97) expect(pbx.live(`u${n}@example.org`, rig.clock.nowMs)).toHaveLength(1);
    expect(rig.pushes).toEqual([]);
    expect(rig.core.table.serverCount + rig.core.table.clientCount).toBeLessThan(PHONES * 2);
  },
  60_000,
);
