/** RFC 8599 where phones, proxies and names are not as one expects, and the exact bytes of both modes. */
import { describe, expect, test } from "bun:test";
import type { DeviceRule } from "../../../src/config/schema.ts";
import type { PushServices } from "../../../src/core/registrar/push_support.ts";
import { coreSettings } from "../../../src/appliance/settings.ts";
import {
  accepted,
  caps,
  headers,
  register,
  type RegisterText,
  Rig,
  type RigOptions,
  statusLine,
  TestFlow,
} from "./rig.ts";
import { requestUri } from "../../../src/core/registrar/request_uri.ts";

const AOR = "alice@example.org";
const REGISTRAR: RigOptions = { pbx: false, trust: ["192.0.2.0/24"] };

/** A webhook for any provider besides two services with a name. */
const ANY: PushServices = { serves: () => true, services: () => ["acme", "webpush"], vapidKey: "BKey-_" };
const SOME: PushServices = { ...ANY, serves: (provider) => provider === "acme" || provider === "webpush" };

function rigWith(services: PushServices, options: RigOptions = {}, unsupported: "forward" | "555" = "forward"): Rig {
  const rig = new Rig(options);
  rig.config.push.unsupported = unsupported;
  rig.core.reconfigure(coreSettings(rig.config, rig.secrets));
  rig.core.setPushServices(services);
  return rig;
}

function contact(params: string, more = ""): string {
  return `<sip:alice@192.0.2.7:40000${params}>${more}`;
}

const TOKEN = ";pn-provider=acme;pn-param=app;pn-prid=tok-1";

/** @returns what the PBX got (empty: nothing) and what the phone got */
function through(rig: Rig, text: RegisterText, grant = 0): { upstream: string; reply: string } {
  const phone = rig.phone("192.0.2.7", 40_000);
  rig.receive(phone, register(phone, text));
  const [upstream = ""] = rig.take(rig.pbx);
  if (upstream !== "") {
    const reply = accepted(upstream);
    rig.fromPbx(grant === 0 ? reply : reply.replace(/;expires=[1-9]\d*/, `;expires=${grant}`));
  }
  return { upstream, reply: rig.one(phone) };
}

function invite(rig: Rig, phone: TestFlow, user = "alice"): string {
  rig.fromPbx(
    `INVITE sip:${user}@10.0.0.5:5060;lf=${rig.core.writer.aorId(AOR)} SIP/2.0\r\n` +
      "Via: SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKi1\r\nMax-Forwards: 70\r\n" +
      "From: <sip:bob@example.org>;tag=1\r\nTo: <sip:alice@example.org>\r\nCall-ID: i1\r\nCSeq: 1 INVITE\r\n" +
      "Contact: <sip:bob@10.0.0.2>\r\nContent-Length: 0\r\n\r\n",
  );
  return rig.one(phone);
}

describe("P-02 to the byte", () => {
  test("P-02 what the PBX gets, and what the phone gets from it", () => {
    const rig = rigWith(SOME);
    const contacts = [contact(TOKEN, ";+sip.pnsreg")];
    const { upstream, reply } = through(rig, { branch: "z9hG4bKgold", callId: "gold", contacts, expires: 600 });
    expect(upstream.replace(/branch=z9hG4bK(?!gold)[a-z0-9]+/, "branch=OURS").replace(/lf=[a-z0-9]+/, "lf=ID")).toBe(
      "REGISTER sip:example.org SIP/2.0\r\n" +
        "Via: SIP/2.0/UDP 10.0.0.5:5060;branch=OURS;rport\r\n" +
        "Via: SIP/2.0/UDP 192.0.2.7:40000;branch=z9hG4bKgold;rport=40000;received=192.0.2.7\r\n" +
        "Max-Forwards: 69\r\n" +
        "From: <sip:alice@example.org>;tag=f1\r\n" +
        "To: <sip:alice@example.org>\r\n" +
        "Call-ID: gold\r\n" +
        "CSeq: 1 REGISTER\r\n" +
        "Contact: <sip:alice@10.0.0.5:5060;lf=ID>;expires=3600\r\n" +
        "Expires: 600\r\n" +
        "Content-Length: 0\r\n" +
        'Feature-Caps: *;+sip.pns="acme";+sip.pnsreg="130"\r\n' +
        "\r\n",
    );
    expect(reply.replace(/(?<=pnspurr=")[a-z0-9]{72}(?=")/, "PURR")).toBe(
      "SIP/2.0 200 OK\r\n" +
        "Via: SIP/2.0/UDP 192.0.2.7:40000;branch=z9hG4bKgold;rport=40000;received=192.0.2.7\r\n" +
        "From: <sip:alice@example.org>;tag=f1\r\n" +
        "To: <sip:alice@example.org>;tag=pbx\r\n" +
        "Call-ID: gold\r\n" +
        "CSeq: 1 REGISTER\r\n" +
        `Contact: ${contacts[0]};expires=600\r\n` +
        'Feature-Caps: *;+sip.pns="acme";+sip.pnsreg="130";+sip.pnspurr="PURR"\r\n' +
        "Content-Length: 0\r\n" +
        "\r\n",
    );
  });

  test("P-02 the 200 of registrar mode, for Web Push", () => {
    const rig = rigWith(SOME, REGISTRAR);
    const contacts = [contact(";pn-provider=webpush;pn-prid=https%3a//push.example/x%3fy")];
    const { reply } = through(rig, { branch: "z9hG4bKgold", callId: "gold", contacts, expires: 600 });
    expect(reply.replace(/(?<=^To: .*;tag=)\w+/m, "OURS").replace(/(?<=pnspurr=")[a-z0-9]{72}(?=")/, "PURR")).toBe(
      "SIP/2.0 200 OK\r\n" +
        "Via: SIP/2.0/UDP 192.0.2.7:40000;branch=z9hG4bKgold;rport=40000;received=192.0.2.7\r\n" +
        "From: <sip:alice@example.org>;tag=f1\r\n" +
        "To: <sip:alice@example.org>;tag=OURS\r\n" +
        "Call-ID: gold\r\n" +
        "CSeq: 1 REGISTER\r\n" +
        `Contact: ${contacts[0]};expires=600\r\n` +
        'Feature-Caps: *;+sip.pns="webpush";+sip.pnspurr="PURR";+sip.vapid="BKey-_"\r\n' +
        "Content-Length: 0\r\n" +
        "\r\n",
    );
  });
});

describe("P-02 names from the network", () => {
  const hostile = [
    "a%22;pn-prid=t",
    "a%22%3b+sip.vapid=%22evil",
    "a,b",
    "a%2cb",
    "a%5c",
    "a%3bb",
    "%0d%0aX-Evil:%201",
    "a%20b",
    "%22",
    "x".repeat(65),
    "x".repeat(3000),
    "%e4",
    "<",
  ];
  for (const name of hostile) {
    for (const query of [true, false]) {
      test(`P-02 ${query ? "asked for" : "registered"}, announces nothing: ${name.slice(0, 30)}`, () => {
        for (const options of [{}, REGISTRAR]) {
          const rig = rigWith(ANY, options);
          const params = `;pn-provider=${name}${query ? "" : ";pn-prid=t"}`;
          const phone = rig.phone("192.0.2.7", 40_000);
          rig.receive(phone, register(phone, { contacts: [contact(params)], expires: 600 }));
          const [upstream = ""] = rig.take(rig.pbx);
          if (upstream !== "") rig.fromPbx(accepted(upstream));
          const [reply = ""] = rig.take(phone);
          for (const wire of [upstream, reply]) {
            expect(headers(wire, "Feature-Caps")).toEqual([]);
            expect(headers(wire, "X-Evil")).toEqual([]);
          }
        }
      });
    }
  }

  test("P-02 a name that only a webhook for any provider serves is announced as it is", () => {
    const { reply } = through(rigWith(ANY), { contacts: [contact(";pn-provider=Huawei.hms;pn-prid=t")], expires: 600 });
    expect(caps(reply)).toEqual(['*;+sip.pns="huawei.hms";+sip.pnspurr="PURR"']);
  });
});

describe("P-02 who is refused", () => {
  const cases: [name: string, text: RegisterText, status: number][] = [
    ["its service is not served", { contacts: [contact(";pn-provider=other;pn-prid=t")] }, 555],
    ["a token without its service", { contacts: [contact(";pn-prid=t")] }, 555],
    ["asks for a service that is not served", { contacts: [contact(";pn-provider=other")] }, 555],
    ["one contact of two", { contacts: [contact(TOKEN), "<sip:a@192.0.2.8;pn-provider=other;pn-prid=t>"] }, 555],
    ["a name that cannot be announced", { contacts: [contact(";pn-provider=a%22b;pn-prid=t")] }, 555],
    ["no push", { contacts: [contact("")] }, 200],
    ["a fetch", { contacts: [] }, 200],
    ["the older parameters, which know no 555", { contacts: [contact(";pn-type=other;app-id=x;pn-tok=t")] }, 200],
    ["a removal", { contacts: [contact(";pn-provider=other;pn-prid=t")], expires: 0 }, 200],
    ["another proxy pushes", {
      contacts: [contact(";pn-provider=other;pn-prid=t")],
      lines: ['Feature-Caps: *;+sip.pns="other"'],
    }, 200],
  ];
  for (const [name, text, status] of cases) {
    test(`P-02 push.unsupported: 555, ${name}: ${status}; forwarded otherwise`, () => {
      for (const options of [{}, REGISTRAR]) {
        const { reply } = through(rigWith(SOME, options, "555"), { expires: 600, ...text });
        expect(Number(statusLine(reply).split(" ")[1])).toBe(status);
        expect(statusLine(through(rigWith(SOME, options), { expires: 600, ...text }).reply)).toBe("SIP/2.0 200 OK");
      }
    });
  }

  test("P-02 nobody is served: a phone that asks for all hears so", () => {
    const none: PushServices = { serves: () => false, services: () => [], vapidKey: "" };
    const { reply } = through(rigWith(none, {}, "555"), { contacts: [contact(";pn-provider")], expires: 600 });
    expect(statusLine(reply)).toBe("SIP/2.0 555 Push Notification Service Not Supported");
  });

  const expiries: [name: string, text: RegisterText, status: string][] = [
    ["below two minutes", { contacts: [contact(TOKEN)], expires: 119 }, "423"],
    ["in its Contact", { contacts: [contact(TOKEN, ";expires=100")], expires: 3600 }, "423"],
    ["two minutes", { contacts: [contact(TOKEN)], expires: 120 }, "200"],
    ["nothing said", { contacts: [contact(TOKEN)] }, "200"],
    ["it only asks", { contacts: [contact(";pn-provider=acme")], expires: 100 }, "200"],
    ["a removal", { contacts: [contact(TOKEN)], expires: 0 }, "200"],
    ["no push", { contacts: [contact("")], expires: 100 }, "200"],
  ];
  for (const [name, text, status] of expiries) {
    test(`P-02 423 for too short an expiry, ${name}: ${status}`, () => {
      for (const options of [{}, REGISTRAR]) {
        const { reply } = through(rigWith(SOME, options), text);
        expect(statusLine(reply)).toStartWith(`SIP/2.0 ${status} `);
        expect(headers(reply, "Min-Expires")).toEqual(status === "423" ? ["190"] : []);
      }
    });
  }

  test("P-02 where the admin wants short registrations they are taken, and nothing is announced", () => {
    for (const options of [{}, REGISTRAR]) {
      const rig = rigWith(SOME, { ...options, registration: { min_expires: 5_000 } });
      const { reply } = through(rig, { contacts: [contact(TOKEN)], expires: 30 });
      expect(statusLine(reply)).toBe("SIP/2.0 200 OK");
      expect(headers(reply, "Feature-Caps")).toEqual([]);
    }
  });

  test("P-02 where nobody may have more it is no use to ask for it: registered, and not announced", () => {
    for (const options of [{}, REGISTRAR]) {
      const rig = rigWith(SOME, { ...options, registration: { max_expires: 120_000 } });
      const { upstream, reply } = through(rig, { contacts: [contact(TOKEN)], expires: 100 });
      expect(statusLine(reply)).toBe("SIP/2.0 200 OK");
      expect(headers(upstream, "Feature-Caps")).toEqual([]);
      expect(headers(reply, "Feature-Caps")).toEqual([]);
    }
  });
});

describe("P-02 what a 2xx announces", () => {
  test("P-02 nothing for what is granted no longer than a refresh push needs", () => {
    for (const [grant, count] of [[130, 0], [131, 1]] as const) {
      const { upstream, reply } = through(rigWith(SOME), { contacts: [contact(TOKEN)], expires: 600 }, grant);
      expect(headers(upstream, "Feature-Caps")).toHaveLength(1);
      expect(headers(reply, "Feature-Caps")).toHaveLength(count);
    }
  });

  test("P-02 each service by its own contact's grant", () => {
    const rig = rigWith(SOME, { pbx: { mode: "mirror" } });
    const contacts = [contact(TOKEN), "<sip:a@192.0.2.8;pn-provider=webpush;pn-prid=t>"];
    const { reply } = through(rig, { contacts, expires: 600 }, 100);
    expect(caps(reply)).toEqual(['*;+sip.pns="webpush";+sip.pnspurr="PURR";+sip.vapid="BKey-_"']);
  });

  test("P-02 one service by the grant of the contact that has its token, not of another", () => {
    const rig = rigWith(SOME, { pbx: { mode: "mirror" } });
    const selfWaking = "<sip:alice@192.0.2.9;pn-provider=acme;pn-prid=tok-2>;+sip.pnsreg";
    const { reply } = through(rig, { contacts: [selfWaking, contact(TOKEN)], expires: 600 }, 100);
    expect(caps(reply)).toEqual(['*;+sip.pns="acme";+sip.pnspurr="PURR"']);
  });

  test("P-02 two devices of one service, one of which wakes itself: told once, with what that one needs", () => {
    for (const selfWakingFirst of [true, false]) {
      const self = contact(TOKEN, ";+sip.pnsreg");
      const other = "<sip:alice@192.0.2.9;pn-provider=acme;pn-prid=tok-2>";
      const contacts = selfWakingFirst ? [self, other] : [other, self];
      const { reply } = through(rigWith(SOME), { contacts, expires: 600 });
      expect(caps(reply)).toEqual(['*;+sip.pns="acme";+sip.pnsreg="130";+sip.pnspurr="PURR"']);
    }
  });

  test("P-02 nothing to a phone that a rule says is on a desk: it is not pushed", () => {
    const devices: DeviceRule[] = [{ user_agent: "^Desk", header: null, kind: "desk", push: null }];
    const rig = rigWith(SOME, { devices });
    const lines = ["User-Agent: Desk 1"];
    const { upstream, reply } = through(rig, { contacts: [contact(TOKEN)], expires: 600, lines });
    expect([headers(upstream, "Feature-Caps"), headers(reply, "Feature-Caps")]).toEqual([[], []]);
    expect(statusLine(through(rig, { contacts: [contact(TOKEN)], expires: 100, lines, cseq: 2 }).reply)).toContain(
      "200",
    );
  });

  test("P-02 an answer to a question depends on no grant", () => {
    const { reply } = through(rigWith(SOME), { contacts: [contact(";pn-provider=ACME")], expires: 600 }, 60);
    expect(caps(reply)).toEqual(['*;+sip.pns="acme"']);
  });
});

describe("P-02 push parameters go nowhere else", () => {
  for (const mode of ["aor", "contact", "mirror"] as const) {
    test(`P-02 mode ${mode}: neither to the PBX nor into calls, whatever their form`, () => {
      for (
        const params of [
          TOKEN + ";pn-purr=x",
          ";PN-Provider=acme;Pn-Prid=tok-1",
          ";pn-type=acme;app-id=app;pn-tok=tok-1",
          ";pn-prid=tok-1",
          ";pn-provider=acme;pn%2dprid=tok-1",
        ]
      ) {
        const rig = rigWith(SOME, { pbx: { mode } });
        const { upstream } = through(rig, { contacts: [contact(params)], expires: 600 });
        expect(upstream).not.toMatch(/pn(-|%2d)|tok-1|app-id/i);
        const [device] = rig.core.usrloc.find(AOR)!.contacts;
        expect(requestUri(device!)).not.toMatch(/pn(-|%2d)(?!purr)|tok-1|app-id/i);
      }
    });
  }

  test("P-02 but to the proxy that pushes in our place, for how else should it know whom to wake", () => {
    const rig = rigWith(SOME);
    const edge = ["Path: <sip:edge.example.net;lr>", 'Feature-Caps: *;+sip.pns="acme"'];
    const { upstream } = through(rig, { contacts: [contact(TOKEN)], expires: 600, lines: edge });
    expect(upstream).not.toMatch(/pn-|tok-1/);
    const wire = invite(rig, rig.phone("192.0.2.7", 40_000));
    expect(wire).toStartWith(`INVITE sip:alice@192.0.2.7:40000${TOKEN} SIP/2.0\r\n`);
    expect(headers(wire, "Route")).toEqual(["<sip:edge.example.net;lr>"]);
    expect(rig.pushes).toEqual([]);
    expect(rig.core.usrloc.find(AOR)!.contacts[0]!.kind).toBe("desk");
  });

  test("P-02 and no longer once the phone comes by itself, with the same Contact", () => {
    const rig = rigWith(SOME);
    const text = { contacts: [contact(TOKEN)], expires: 600 };
    const edge = ["Path: <sip:edge.example.net;lr>", 'Feature-Caps: *;+sip.pns="acme"'];
    const uri = () => requestUri(rig.core.usrloc.find(AOR)!.contacts[0]!);
    for (let cseq = 1; cseq <= 4; cseq += 2) {
      through(rig, { ...text, cseq, lines: edge });
      expect(uri()).toBe(`sip:alice@192.0.2.7:40000${TOKEN}`);
      through(rig, { ...text, cseq: cseq + 1 });
      expect(uri()).toBe("sip:alice@192.0.2.7:40000");
    }
  });

  test("P-02 its announcement is not taken from a quoted string", () => {
    const lines = ['Feature-Caps: *;+x=" +sip.pns "'];
    const { reply } = through(rigWith(SOME), { contacts: [contact(TOKEN)], expires: 600, lines });
    expect(caps(reply)).toEqual(['*;+sip.pns="acme";+sip.pnspurr="PURR"']);
  });
});

describe("P-02 never a push for a binding that is gone", () => {
  for (
    const [name, end] of [
      ["but for one that is not", () => {}],
      ["expired", (rig: Rig) => rig.pass(600_000)],
      ["removed", (rig: Rig) => void through(rig, { contacts: [contact("")], expires: 0, cseq: 2 })],
      ["removed with its token", (rig: Rig) => void through(rig, { contacts: [contact(TOKEN)], expires: 0, cseq: 2 })],
      ["removed by the wildcard", (rig: Rig) => void through(rig, { contacts: ["*"], expires: 0, cseq: 2 })],
    ] as const
  ) {
    test(`P-02 ${name}`, () => {
      const rig = rigWith(SOME);
      through(rig, { contacts: [contact(TOKEN)], expires: 600 });
      end(rig);
      rig.pushes.length = 0;
      rig.sent.length = 0;
      rig.fromPbx(
        "INVITE sip:alice@10.0.0.5:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKi2\r\n" +
          "Max-Forwards: 70\r\nFrom: <sip:bob@example.org>;tag=1\r\nTo: <sip:alice@example.org>\r\nCall-ID: i2\r\n" +
          "CSeq: 1 INVITE\r\nContact: <sip:bob@10.0.0.2>\r\nContent-Length: 0\r\n\r\n",
      );
      rig.pass(3_600_000);
      if (name === "but for one that is not") expect(rig.pushes).not.toEqual([]);
      else expect(rig.pushes).toEqual([]);
    });
  }
});

describe("P-02 PURR", () => {
  function purrOf(rig: Rig, cseq: number): string {
    const { reply } = through(rig, { contacts: [contact(TOKEN)], expires: 600, cseq });
    return /\+sip\.pnspurr="([^"]*)"/.exec(headers(reply, "Feature-Caps")[0]!)![1]!;
  }

  test("P-02 every 2xx has another one, absorbed or not; each leads to the device as long as there is one", () => {
    for (const options of [{}, REGISTRAR]) {
      const rig = rigWith(SOME, options);
      const purrs = [1, 2, 3].map((cseq) => purrOf(rig, cseq));
      const [device] = rig.core.usrloc.find(AOR)!.contacts;
      expect(new Set(purrs.map((purr) => purr.slice(16))).size).toBe(3);
      expect(purrs.map((purr) => rig.core.purrs.read(purr))).toEqual([device!.id, device!.id, device!.id]);
      expect(purrs.some((purr) => purr.includes(device!.id))).toBe(false);
    }
  });

  test("P-02 none that was not made here: whatever character is changed, or the installation", () => {
    const rig = rigWith(SOME);
    const purr = purrOf(rig, 1);
    for (let n = 0; n < purr.length; n++) {
      const other = purr[n] === "1" ? "2" : "1";
      expect(rig.core.purrs.read(purr.slice(0, n) + other + purr.slice(n + 1))).toBe("");
    }
    for (const text of ["", "x", purr.slice(1), purr + "00", purr.slice(0, 36), "%00".repeat(24), "0".repeat(9999)]) {
      expect(rig.core.purrs.read(text)).toBe("");
    }
    const elsewhere = new Rig({ secrets: { installation: "another one" } });
    expect(elsewhere.core.purrs.read(purr)).toBe("");
    expect(new Rig().core.purrs.read(purr)).not.toBe("");
  });
});
