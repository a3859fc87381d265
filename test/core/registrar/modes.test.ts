import { describe, expect, test } from "bun:test";
import { PbxModel } from "./pbx_model.ts";
import { accepted, contactsOf, headers, register, registered, type RegisterText, Rig, type TestFlow } from "./rig.ts";

const AOR = "alice@example.org";
const MODES = ["aor", "contact", "mirror"] as const;

/** A REGISTER through the model PBX; returns what the PBX got and what the phone got. */
function through(rig: Rig, pbx: PbxModel, flow: TestFlow, text: RegisterText = {}) {
  rig.receive(flow, register(flow, text));
  const upstream = rig.one(rig.pbx);
  rig.fromPbx(pbx.take(upstream, rig.clock.nowMs));
  return { upstream, reply: rig.one(flow) };
}

function expiriesAsked(wire: string): number[] {
  return headers(wire, "Contact").map((value) => Number(/;expires=(\d+)$/.exec(value)?.[1]));
}

describe("R-04 what the PBX sees of two devices of one AoR", () => {
  const uri = {
    aor: /^<sip:alice@10\.0\.0\.5:5060;lf=([a-z0-9]{18})>;expires=3600$/,
    contact: /^<sip:alice@10\.0\.0\.5:5060;lf=([a-z0-9]{18})>;expires=3600$/,
    mirror: /^<sip:alice@10\.0\.0\.5:5060;lf=([a-z0-9]{18})>;expires=1800$/,
  };
  for (const mode of MODES) {
    test(`R-04 ${mode}: ${mode === "aor" ? "one Contact" : "one Contact per device"}, what is not a plain refresh forwarded`, () => {
      const rig = new Rig({ pbx: { mode } });
      const pbx = new PbxModel();
      // As long as the PBX's binding: nothing here can be absorbed.
      const expires = mode === "mirror" ? 1800 : 3600;
      const first = through(rig, pbx, rig.phone("192.0.2.7"), { expires });
      const second = through(rig, pbx, rig.phone("192.0.2.8"), { expires });
      const again = through(rig, pbx, rig.phone("192.0.2.7"), { expires, cseq: 2 });
      const ids = [first, second, again].map(({ upstream }) => uri[mode].exec(headers(upstream, "Contact")[0]!)![1]);
      expect(ids[2]).toBe(ids[0]!);
      expect(ids[1] === ids[0]).toBe(mode === "aor");
      expect(pbx.live(AOR, rig.clock.nowMs)).toHaveLength(mode === "aor" ? 1 : 2);
      expect(contactsOf(rig)).toHaveLength(2);
      const id = ids[0]!;
      expect(mode === "aor" ? rig.core.usrloc.findById(id)?.key : rig.core.usrloc.contact(id)?.uri)
        .toBe(mode === "aor" ? AOR : "sip:alice@192.0.2.7:5060");
    });
  }

  test("R-04 aor: a device that asks for more than pbx.expires gets it from the PBX", () => {
    const rig = new Rig();
    const { upstream, reply } = through(rig, new PbxModel(), rig.phone("192.0.2.7"), { expires: 7200 });
    expect(expiriesAsked(upstream)).toEqual([7200]);
    expect(headers(reply, "Contact")[0]).toEndWith(";expires=7200");
  });

  test("R-04 aor: a device with a short expiry does not take from another what it was granted", () => {
    const rig = new Rig({ pbx: { expires: 60_000 } });
    const pbx = new PbxModel();
    through(rig, pbx, rig.phone("192.0.2.7"), { expires: 600 });
    rig.pass(100_000);
    const { upstream } = through(rig, pbx, rig.phone("192.0.2.8"), { expires: 120 });
    expect(expiriesAsked(upstream)).toEqual([500]);
    // The long one refreshing with less says so itself.
    expect(expiriesAsked(through(rig, pbx, rig.phone("192.0.2.7"), { expires: 200, callId: "again" }).upstream))
      .toEqual([
        200,
      ]);
  });

  test("R-04 contact: several contacts in one REGISTER are several at the PBX, each once", () => {
    const rig = new Rig({ pbx: { mode: "contact" } });
    const phone = rig.phone("192.0.2.7");
    const { upstream } = registered(rig, phone, {
      contacts: ["<sip:a@192.0.2.7>", "<sip:b@192.0.2.7>;expires=9000", "<sip:a@192.0.2.7>;q=1"],
    });
    expect(expiriesAsked(upstream)).toEqual([3600, 9000]);
  });

  test("R-07 placements of the id", () => {
    for (const mode of MODES) {
      const of = (contact_id: "param" | "user" | "aor") => {
        const rig = new Rig({ pbx: { mode, contact_id } });
        return headers(registered(rig, rig.phone("192.0.2.7"), { expires: 3600 }).upstream, "Contact")[0]!;
      };
      expect(of("param")).toMatch(/^<sip:alice@10\.0\.0\.5:5060;lf=[a-z0-9]{18}>;expires=3600$/);
      expect(of("user")).toMatch(/^<sip:[a-z0-9]{18}@10\.0\.0\.5:5060>;expires=3600$/);
      expect(of("aor")).toBe("<sip:alice@10.0.0.5:5060>;expires=3600");
    }
  });

  test("R-07 with the AoR as id all devices are one Contact in every mode: one of them leaving does not end it", () => {
    const rig = new Rig({ pbx: { mode: "mirror", contact_id: "aor" } });
    const pbx = new PbxModel();
    through(rig, pbx, rig.phone("192.0.2.7"));
    through(rig, pbx, rig.phone("192.0.2.8"));
    through(rig, pbx, rig.phone("192.0.2.8"), { expires: 0, cseq: 2 });
    expect(pbx.live(AOR, rig.clock.nowMs)).toHaveLength(1);
    expect(contactsOf(rig)).toEqual(["sip:alice@192.0.2.7:5060"]);
  });

  test("R-07 a call comes back to the device (contact, mirror) or to all of them (aor), also in capitals or without the parameter", () => {
    for (const mode of MODES) {
      for (const contact_id of ["param", "user", "aor"] as const) {
        for (const spelling of ["as sent", "in capitals", "parameter dropped"]) {
          const rig = new Rig({ pbx: { mode, contact_id } });
          const pbx = new PbxModel();
          const phones = [rig.phone("192.0.2.7"), rig.phone("192.0.2.8")];
          for (const phone of phones) through(rig, pbx, phone);
          let uri = pbx.live(AOR, rig.clock.nowMs)[0]![0];
          if (spelling === "in capitals") uri = uri.replace(/lf=.*|[0-9a-f]{18}/, (text) => text.toUpperCase());
          if (spelling === "parameter dropped") uri = uri.replace(/;lf=.*/, "");
          rig.fromPbx(
            `INVITE ${uri} SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKi\r\nMax-Forwards: 70\r\n` +
              "From: <sip:bob@example.org>;tag=1\r\nTo: <sip:alice@example.org>\r\nCall-ID: i\r\nCSeq: 1 INVITE\r\n" +
              "Contact: <sip:10.0.0.2:5060>\r\nContent-Length: 0\r\n\r\n",
          );
          const rings = phones.map((phone) => rig.take(phone).length);
          const isAll = mode === "aor" || contact_id === "aor" ||
            (contact_id === "param" && spelling === "parameter dropped");
          expect({ mode, contact_id, spelling, rings }).toEqual({
            mode,
            contact_id,
            spelling,
            rings: [1, isAll ? 1 : 0],
          });
        }
      }
    }
  });
});

describe("R-08 devices that leave by themselves", () => {
  for (const mode of MODES) {
    test(`R-08 ${mode}: expires=0 of one of two, then of the last`, () => {
      const rig = new Rig({ pbx: { mode } });
      const pbx = new PbxModel();
      through(rig, pbx, rig.phone("192.0.2.7"), { expires: 600 });
      through(rig, pbx, rig.phone("192.0.2.8"), { expires: 600 });
      const one = through(rig, pbx, rig.phone("192.0.2.7"), { cseq: 2, expires: 0 });
      // aor: the PBX judges it, and goes on holding our Contact for the other one.
      expect(expiriesAsked(one.upstream)).toEqual([mode === "aor" ? 3600 : 0]);
      expect(headers(one.upstream, "Expires")).toEqual([mode === "aor" ? "3600" : "0"]);
      expect(headers(one.reply, "Contact")).toEqual([]);
      expect(headers(one.reply, "Expires")).toEqual([]);
      expect(contactsOf(rig)).toEqual(["sip:alice@192.0.2.8:5060"]);
      expect(pbx.live(AOR, rig.clock.nowMs)).toHaveLength(1);
      expect(rig.core.usrloc.find(AOR)!.upstream.state).toBe("registered");
      const last = through(rig, pbx, rig.phone("192.0.2.8"), { cseq: 2, expires: 0 });
      expect(expiriesAsked(last.upstream)).toEqual([0]);
      expect(headers(last.upstream, "Expires")).toEqual(["0"]);
      expect(pbx.live(AOR, rig.clock.nowMs)).toEqual([]);
      expect(rig.core.usrloc.aorCount).toBe(0);
      expect(rig.sent).toEqual([]);
    });

    test(`R-08 ${mode}: Contact: * removes the AoR's contacts and is forwarded`, () => {
      const rig = new Rig({ pbx: { mode } });
      const pbx = new PbxModel();
      through(rig, pbx, rig.phone("192.0.2.7"));
      through(rig, pbx, rig.phone("192.0.2.8"));
      const { upstream, reply } = through(rig, pbx, rig.phone("192.0.2.7"), { cseq: 2, contacts: ["*"], expires: 0 });
      expect(headers(upstream, "Contact")).toEqual(["*"]);
      expect(headers(upstream, "Expires")).toEqual(["0"]);
      expect(headers(reply, "Contact")).toEqual([]);
      expect(rig.core.usrloc.aorCount).toBe(0);
      expect(pbx.live(AOR, rig.clock.nowMs)).toEqual([]);
      expect(rig.sent).toEqual([]);
    });
  }

  test("R-06 a removal that the PBX refuses removes nothing", () => {
    const rig = new Rig();
    const pbx = new PbxModel();
    through(rig, pbx, rig.phone("192.0.2.7"));
    through(rig, pbx, rig.phone("192.0.2.8"));
    pbx.policy.refused.add(AOR);
    const thief = rig.phone("203.0.113.66");
    for (const contacts of [["<sip:alice@192.0.2.7:5060>;expires=0"], ["*"]]) {
      through(rig, pbx, thief, { contacts, expires: 0 });
      expect(contactsOf(rig)).toEqual(["sip:alice@192.0.2.7:5060", "sip:alice@192.0.2.8:5060"]);
    }
  });

  test("R-08 expires=0 of a device nobody knows leaves the others alone", () => {
    const rig = new Rig();
    const pbx = new PbxModel();
    through(rig, pbx, rig.phone("192.0.2.7"));
    through(rig, pbx, rig.phone("192.0.2.99"), { contacts: ["<sip:alice@192.0.2.99>;expires=0"] });
    expect(contactsOf(rig)).toEqual(["sip:alice@192.0.2.7:5060"]);
    expect(pbx.live(AOR, rig.clock.nowMs)).toHaveLength(1);
  });

  test("R-08 a removal that keeps the AoR asks for what the longest of the others still has", () => {
    const rig = new Rig({ pbx: { expires: 60_000 } });
    const pbx = new PbxModel();
    through(rig, pbx, rig.phone("192.0.2.7"), { expires: 600 });
    through(rig, pbx, rig.phone("192.0.2.8"), { expires: 100 });
    rig.pass(50_000);
    const { upstream } = through(rig, pbx, rig.phone("192.0.2.8"), {
      contacts: ["<sip:alice@192.0.2.8:5060>;expires=0"],
      cseq: 2,
      expires: 100,
    });
    expect(expiriesAsked(upstream)).toEqual([550]);
    expect(headers(upstream, "Expires")).toEqual(["550"]);
    expect((rig.core.usrloc.find(AOR)!.upstream.expiresAtMs - rig.clock.nowMs) / 1000).toBe(550);
  });

  test("R-08 a lost flow ends nothing", () => {
    const rig = new Rig();
    const phone = rig.phone("192.0.2.7", 40000, "tcp");
    registered(rig, phone, { expires: 3600 });
    rig.close(phone);
    rig.pass(3_000_000);
    expect(rig.take(rig.pbx)).toEqual([]);
    expect(contactsOf(rig)).toHaveLength(1);
  });

  test("R-08 FB-05 unregister, register again at once: both forwarded, and the PBX ends registered", () => {
    for (const mode of MODES) {
      const rig = new Rig({ pbx: { mode } });
      const pbx = new PbxModel();
      const phone = rig.phone("192.0.2.7");
      through(rig, pbx, phone);
      through(rig, pbx, phone, { cseq: 2, expires: 0 });
      through(rig, pbx, phone, { cseq: 3 });
      expect(pbx.seen).toHaveLength(3);
      expect(pbx.live(AOR, rig.clock.nowMs)).toHaveLength(1);
      expect(contactsOf(rig)).toHaveLength(1);
    }
  });

  test("R-08 the PBX ends its binding in the answer to a refresh: that is what we know then", () => {
    const rig = new Rig();
    registered(rig, rig.phone("192.0.2.7"));
    registered(rig, rig.phone("192.0.2.8"));
    const phone = rig.phone("192.0.2.8");
    rig.receive(phone, register(phone, { cseq: 2 }));
    const upstream = rig.one(rig.pbx);
    rig.fromPbx(accepted(upstream, [headers(upstream, "Contact")[0]!.replace("3600", "0")]));
    expect(headers(rig.one(phone), "Contact")).toEqual([]);
    expect(contactsOf(rig)).toEqual(["sip:alice@192.0.2.7:5060"]);
    expect(rig.core.usrloc.find(AOR)!.upstream.state).toBe("removed");
    expect(rig.logText).toContain("The PBX ended its binding though devices are registered");
  });
});
