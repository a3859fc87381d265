/** F-03: how long a flow token opens a way, and to whom. A call may last for days; a deleted user may come back for years. */
import { describe, expect, test } from "bun:test";
import { cidr, Rig, type TestFlow } from "./rig.ts";
import { answer, calleeSide, callerSide, type DialogSide, inDialog, methodOf, request, statusOf } from "./sip_text.ts";

const HOUR_MS = 3_600_000;
const DOMAIN = "10.0.0.5";
const STRANGE = "198.51.100.66";

interface Dialog {
  rig: Rig;
  mallory: TestFlow;
  alice: TestFlow;
  mallorySide: DialogSide;
  aliceSide: DialogSide;
}

/** Registrar mode: mallory, registered or only trusted, calls alice. */
function phoneToPhone(isRegistered = true): Dialog {
  const rig = new Rig({ pbx: null, config: (config) => config.security.trust = [cidr("192.168.1.0/24")] });
  const [alice, mallory] = [rig.flow("192.168.1.8", 2), rig.flow("192.168.1.9", 1)];
  rig.register("alice", alice, "sip:alice@192.168.1.8:2");
  if (isRegistered) rig.register("mallory", mallory, "sip:mallory@192.168.1.9:1");
  const from = `<sip:mallory@${DOMAIN}>;tag=m`;
  const invite = request("INVITE", `sip:alice@${DOMAIN}`, { from, contact: "<sip:mallory@192.168.1.9:1>" });
  rig.receive(mallory, invite);
  const atAlice = alice.one();
  const ok = answer(atAlice, 200, { contact: "<sip:alice@192.168.1.8:2>" });
  rig.receive(alice, ok);
  const atMallory = mallory.all().at(-1)!;
  return { rig, mallory, alice, mallorySide: callerSide(invite, atMallory), aliceSide: calleeSide(atAlice, ok) };
}

/** The contact of a user goes, as after `latefork user rm`, an expiry or by hand. */
function remove(rig: Rig, user: string): void {
  for (const aor of [...rig.core.usrloc.all()]) {
    if (aor.user === user) { for (const contact of [...aor.contacts]) rig.core.usrloc.remove(contact, "control"); }
  }
  for (const flow of rig.flows) flow.all();
}

/** What a request inside the dialog comes to. */
function told({ rig, alice, mallorySide }: Dialog, from: TestFlow, method = "INFO"): number | string {
  rig.receive(from, inDialog(method, mallorySide));
  const [atAlice] = alice.all();
  return atAlice === undefined ? from.all().map(statusOf).at(-1) ?? "nothing" : methodOf(atAlice);
}

describe("F-03 who may use the route of an old dialog", () => {
  test("F-03 a removed user from a strange address reaches nobody, neither soon nor late", () => {
    for (const hours of [0, 1, 23, 25, 24 * 365]) {
      const dialog = phoneToPhone();
      remove(dialog.rig, "mallory");
      dialog.rig.clock.nowMs += hours * HOUR_MS;
      for (const method of ["INFO", "INVITE", "MESSAGE", "BYE"]) {
        expect([hours, told(dialog, dialog.rig.flow(STRANGE, 5060), method)]).toEqual([hours, 403]);
      }
      dialog.rig.receive(dialog.rig.flow(STRANGE, 5060), inDialog("ACK", dialog.mallorySide));
      expect(dialog.rig.untaken).toEqual([]);
    }
  });

  test("F-03 nor does he with the other's token alone, or with the two turned round", () => {
    for (const turn of [(route: string[]) => route.slice(-1), (route: string[]) => [...route].reverse()]) {
      const dialog = phoneToPhone();
      remove(dialog.rig, "mallory");
      const { rig, alice, mallorySide } = dialog;
      const stranger = rig.flow(STRANGE, 5060);
      rig.receive(stranger, inDialog("INFO", { ...mallorySide, route: turn(mallorySide.route) }));
      expect(alice.sent).toEqual([]);
    }
  });

  test("F-03 a removed phone stays in its call from where it was, whatever port its NAT gives it", () => {
    const dialog = phoneToPhone();
    remove(dialog.rig, "mallory");
    expect(told(dialog, dialog.mallory)).toBe("INFO");
    expect(told(dialog, dialog.rig.flow("192.168.1.9", 45555), "BYE")).toBe("BYE");
  });

  test("F-03 a registered phone that moved is in its call from anywhere for a day, and as long as it is heard of in it", () => {
    const at = (dialog: Dialog, hours: number) => {
      dialog.rig.clock.nowMs += hours * HOUR_MS;
      return told(dialog, dialog.rig.flow(STRANGE, 5060));
    };
    expect(at(registeredFor(23), 23)).toBe("INFO");
    expect(at(registeredFor(25), 25)).toBe(403);
    const refreshed = registeredFor(72);
    for (let n = 0; n < 3; n++) expect(at(refreshed, 20)).toBe("INFO");
    expect(at(refreshed, 25)).toBe(403);
  });

  test("F-03 a phone on its own flow, and the other side of the call, are in it for as long as it lasts", () => {
    const dialog = registeredFor(24 * 30);
    dialog.rig.clock.nowMs += 24 * 14 * HOUR_MS;
    expect(told(dialog, dialog.mallory)).toBe("INFO");
    dialog.rig.receive(dialog.alice, inDialog("BYE", dialog.aliceSide));
    expect(methodOf(dialog.mallory.all().at(-1)!)).toBe("BYE");
  });

  test("F-03 a trusted caller without registration is in his call from his address, not from elsewhere", () => {
    const dialog = phoneToPhone(false);
    expect(told(dialog, dialog.mallory)).toBe("INFO");
    expect(told(dialog, dialog.rig.flow(STRANGE, 5060))).toBe(403);
  });

  /** Registered for so many hours. */
  function registeredFor(hours: number): Dialog {
    const dialog = phoneToPhone();
    for (const aor of dialog.rig.core.usrloc.all()) {
      for (const contact of aor.contacts) contact.expiresAtMs = dialog.rig.clock.nowMs + (hours + 100) * HOUR_MS;
    }
    return dialog;
  }
});

describe("F-03 in front of a PBX", () => {
  function call(): { rig: Rig; phone: TestFlow; phoneSide: DialogSide; pbxSide: DialogSide } {
    const rig = new Rig();
    const phone = rig.flow("192.0.2.9", 40000);
    rig.register("alice", phone, "sip:alice@192.168.9.9:5060");
    const invite = request("INVITE", rig.upstreamUri("alice"), { contact: "<sip:bob@10.0.0.10>" });
    rig.receive(rig.pbx, invite);
    const atPhone = phone.one();
    const ok = answer(atPhone, 200, { contact: "<sip:alice@192.168.9.9:5060>" });
    rig.receive(phone, ok);
    const side = callerSide(invite, rig.pbx.all().at(-1)!);
    return { rig, phone, phoneSide: calleeSide(atPhone, ok), pbxSide: side };
  }

  test("F-03 a removed phone's old route leads a stranger no more to the PBX", () => {
    const { rig, phoneSide } = call();
    remove(rig, "alice");
    const stranger = rig.flow(STRANGE, 5060);
    rig.receive(stranger, inDialog("BYE", phoneSide));
    expect(stranger.kinds()).toEqual([403]);
    expect(rig.pbx.sent).toEqual([]);
  });

  for (const isHeard of [true, false]) {
    const who = isHeard ? "the PBX keeps its call known" : "and does not keep its own way open";
    test(`F-03 a phone that is gone stays in its call from its address: ${who}`, () => {
      const { rig, phone, phoneSide, pbxSide } = call();
      remove(rig, "alice");
      for (let n = 0; n < 3; n++) {
        rig.clock.nowMs += 12 * HOUR_MS;
        if (isHeard) rig.receive(rig.pbx, inDialog("UPDATE", pbxSide));
        phone.all();
        rig.receive(phone, inDialog("INFO", phoneSide));
        const told = rig.pbx.all().some((text) => methodOf(text) === "INFO") ? "INFO" : phone.kinds().at(-1);
        expect([n, told]).toEqual([n, isHeard || n === 0 ? "INFO" : 403]);
      }
    });
  }

  test("F-03 the PBX finds the phone of a call of two weeks, also after a restart", () => {
    const { rig, phone, pbxSide } = call();
    rig.clock.nowMs += 24 * 14 * HOUR_MS;
    rig.receive(rig.pbx, inDialog("BYE", pbxSide));
    expect(methodOf(phone.one())).toBe("BYE");
  });

  test("F-03 tokens of the version before, which had no time, lead the PBX and a phone on its flow, and no stranger", async () => {
    const { createHmac } = await import("node:crypto");
    const { rig, phone, phoneSide, pbxSide } = call();
    const { id } = rig.contactOf("alice", "sip:alice@192.168.9.9:5060");
    const text = `route\nd${id}\n${phoneSide.callId}`;
    const mac = createHmac("sha256", "a secret of this installation").update(text, "latin1").digest("hex").slice(0, 16);
    const route = [`<sip:d${id}.${mac}@10.0.0.5:5060;lr>`];
    const stranger = rig.flow(STRANGE, 5060);
    rig.receive(stranger, inDialog("BYE", { ...phoneSide, route }));
    expect(stranger.kinds()).toEqual([403]);
    rig.receive(rig.pbx, inDialog("INFO", { ...pbxSide, route }));
    expect(methodOf(phone.one())).toBe("INFO");
    rig.receive(phone, inDialog("INFO", { ...phoneSide, route }));
    expect(methodOf(rig.pbx.one())).toBe("INFO");
  });
});
