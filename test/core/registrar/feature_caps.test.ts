import { describe, expect, test } from "bun:test";
import type { PushServices } from "../../../src/core/registrar/push_support.ts";
import { coreSettings } from "../../../src/appliance/settings.ts";
import {
  accepted,
  answer,
  caps as capsOf,
  contactsOf,
  headers,
  register,
  type RegisterText,
  Rig,
  type RigOptions,
  statusLine,
} from "./rig.ts";

const SERVICES: PushServices = {
  serves: (provider) => ["acme", "apns", "webpush"].includes(provider),
  services: () => ["acme", "apns", "webpush"],
  vapidKey: "BKey-_",
};

function pushable(provider: string, more = ""): string {
  return `<sip:alice@192.0.2.7;pn-provider=${provider};pn-param=p;pn-prid=tok>${more}`;
}

function rigWith(options: RigOptions = {}, unsupported: "forward" | "555" = "forward"): Rig {
  const rig = new Rig(options);
  rig.config.push.unsupported = unsupported;
  rig.core.reconfigure(coreSettings(rig.config, rig.secrets));
  rig.core.setPushServices(SERVICES);
  return rig;
}

/** What the PBX and the phone get; the PBX gets nothing where the REGISTER is refused. */
function through(rig: Rig, text: RegisterText, grant = 3600): { upstream: string; reply: string } {
  const phone = rig.phone("192.0.2.7", 40_000);
  rig.receive(phone, register(phone, { expires: 3600, ...text }));
  const [upstream = ""] = rig.take(rig.pbx);
  if (upstream !== "") rig.fromPbx(accepted(upstream).replace(/;expires=[1-9]\d*/, `;expires=${grant}`));
  return { upstream, reply: rig.one(phone) };
}

/** A 2xx names the device as well, behind what it is told of refreshing. */
function withPurr(announced: string): string {
  return announced.replace(/(;\+sip\.vapid=.*)?$/, ';+sip.pnspurr="PURR"$1');
}

describe("P-02 Feature-Caps", () => {
  const cases: [name: string, text: RegisterText, caps: string[]][] = [
    ["a service of ours", { contacts: [pushable("acme")] }, ['*;+sip.pns="acme"']],
    ["whatever its case", { contacts: [pushable("APNS")] }, ['*;+sip.pns="apns"']],
    ["Web Push, with our key", { contacts: [pushable("webpush")] }, ['*;+sip.pns="webpush";+sip.vapid="BKey-_"']],
    ["a phone that wakes itself", { contacts: [pushable("acme", ";+sip.pnsreg")] }, [
      '*;+sip.pns="acme";+sip.pnsreg="130"',
    ]],
    ["the legacy parameters", {
      contacts: ["<sip:alice@192.0.2.7;pn-type=apple;app-id=org.example;pn-tok=abc>"],
    }, ['*;+sip.pns="apns"']],
    ["two devices in one REGISTER", { contacts: [`${pushable("acme")}, ${pushable("apns").replace("tok", "2")}`] }, [
      '*;+sip.pns="acme"',
      '*;+sip.pns="apns"',
    ]],
    ["one service twice", { contacts: [`${pushable("acme")}, ${pushable("acme").replace("tok", "2")}`] }, [
      '*;+sip.pns="acme"',
    ]],
    ["a query for one service", { contacts: ["<sip:alice@192.0.2.7;pn-provider=acme>"] }, ['*;+sip.pns="acme"']],
    ["a query for all of them", { contacts: ["<sip:alice@192.0.2.7;pn-provider>"] }, [
      '*;+sip.pns="acme"',
      '*;+sip.pns="apns"',
      '*;+sip.pns="webpush";+sip.vapid="BKey-_"',
    ]],
    ["no push", { contacts: ["<sip:alice@192.0.2.7>"] }, []],
    ["a service that is not served", { contacts: [pushable("other")] }, []],
    ["a query for one that is not", { contacts: ["<sip:alice@192.0.2.7;pn-provider=other>"] }, []],
    ["a removal", { contacts: [pushable("acme")], expires: 0 }, []],
  ];
  for (const [name, text, caps] of cases) {
    test(`P-02 ${name}: towards the PBX and in the 2xx, one value each`, () => {
      const { upstream, reply } = through(rigWith(), text);
      expect(headers(upstream, "Feature-Caps")).toEqual(caps);
      expect(capsOf(reply)).toEqual(name.startsWith("a query") ? caps : caps.map(withPurr));
      expect(statusLine(reply)).toBe("SIP/2.0 200 OK");
      expect(upstream).not.toContain("pn-");
      expect(upstream).not.toContain("tok");
    });

    test(`P-02 ${name}: registrar mode`, () => {
      const rig = rigWith({ pbx: false, trust: ["192.0.2.0/24"] });
      const { reply } = through(rig, text);
      expect(capsOf(reply)).toEqual(name.startsWith("a query") ? caps : caps.map(withPurr));
    });
  }

  test("P-02 an absorbed refresh hears of it, too; one with an error does not", () => {
    const rig = rigWith();
    through(rig, { contacts: [pushable("acme")], expires: 600 });
    const { upstream, reply } = through(rig, { contacts: [pushable("acme")], expires: 600, cseq: 2 });
    expect(upstream).toBe("");
    expect(capsOf(reply)).toEqual(['*;+sip.pns="acme";+sip.pnspurr="PURR"']);
    const phone = rig.phone("192.0.2.8");
    rig.receive(phone, register(phone, { contacts: [pushable("acme")] }));
    rig.fromPbx(answer(rig.one(rig.pbx), "403 Forbidden"));
    expect(headers(rig.one(phone), "Feature-Caps")).toEqual([]);
  });

  test("P-02 granted no more than push.refresh_before: not announced to the phone, for no push could keep it", () => {
    for (const [grant, caps] of [[130, 0], [131, 1]] as const) {
      const { upstream, reply } = through(rigWith(), { contacts: [pushable("acme")] }, grant);
      expect(headers(upstream, "Feature-Caps")).toHaveLength(1);
      expect(headers(reply, "Feature-Caps")).toHaveLength(caps);
    }
  });

  test("P-02 asked for too little: 423, and nothing changes; where we do not push that is none of our business", () => {
    for (const options of [{}, { pbx: false as const, trust: ["192.0.2.0/24"] }]) {
      const rig = rigWith(options);
      const { upstream, reply } = through(rig, { contacts: [pushable("acme")], expires: 119 });
      expect([upstream, statusLine(reply)]).toEqual(["", "SIP/2.0 423 Interval Too Brief"]);
      expect(headers(reply, "Min-Expires")).toEqual(["190"]);
      expect(contactsOf(rig)).toEqual([]);
      expect(statusLine(through(rig, { contacts: [pushable("other")], expires: 119, cseq: 2 }).reply)).toContain("200");
      expect(statusLine(through(rig, { contacts: [pushable("acme")], expires: 120, cseq: 3 }).reply)).toContain("200");
    }
  });

  const unserved: RegisterText[] = [
    { contacts: [pushable("other")] },
    { contacts: ["<sip:alice@192.0.2.7;pn-provider=other>"] },
  ];
  for (const text of unserved) {
    test(`P-02 push.unsupported: 555 for ${text.contacts![0]}`, () => {
      for (const options of [{}, { pbx: false as const, trust: ["192.0.2.0/24"] }]) {
        const rig = rigWith(options, "555");
        const { upstream, reply } = through(rig, text);
        expect([upstream, statusLine(reply)]).toEqual(["", "SIP/2.0 555 Push Notification Service Not Supported"]);
        expect(contactsOf(rig)).toEqual([]);
        expect(statusLine(through(rig, { contacts: [pushable("acme")], cseq: 2 }).reply)).toContain("200");
        expect(statusLine(through(rig, { ...text, expires: 0, cseq: 3 }).reply)).toContain("200");
      }
    });
  }

  test("P-02 a proxy before us pushes already: nothing is announced, kept or refused, and its caps go on", () => {
    const rig = rigWith({}, "555");
    const lines = ['Feature-Caps: *;+sip.pns="acme"'];
    for (const provider of ["acme", "other"]) {
      const { upstream, reply } = through(rig, { contacts: [pushable(provider)], lines, expires: 90 });
      expect(headers(upstream, "Feature-Caps")).toEqual(['*;+sip.pns="acme"']);
      expect(headers(reply, "Feature-Caps")).toEqual([]);
    }
    expect(rig.core.usrloc.find("alice@example.org")!.contacts[0]!.push).toBeNull();
  });

  test("P-02 and once it does so no more, the token is ours: the same Contact is read anew both ways", () => {
    const rig = rigWith();
    const text = { contacts: [pushable("acme")], expires: 600 };
    const push = () => rig.core.usrloc.find("alice@example.org")!.contacts.map((contact) => contact.push?.prid);
    through(rig, { ...text, lines: ['Feature-Caps: *;+sip.pns="acme"'] });
    expect(push()).toEqual([undefined]);
    through(rig, { ...text, cseq: 2 });
    expect(push()).toEqual(["tok"]);
    through(rig, { ...text, cseq: 3, lines: ['Feature-Caps: *;+sip.pns="acme"'] });
    expect(push()).toEqual([undefined]);
  });

  test("P-02 other Feature-Caps say nothing about push", () => {
    const { upstream } = through(rigWith(), { contacts: [pushable("acme")], lines: ["Feature-Caps: *;+g.3gpp.x"] });
    expect(headers(upstream, "Feature-Caps")).toEqual(["*;+g.3gpp.x", '*;+sip.pns="acme"']);
  });
});
