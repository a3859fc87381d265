import { describe, expect, test } from "bun:test";
import {
  accepted,
  answer,
  headers,
  register,
  registered,
  type RegisterText,
  type Rig,
  Rig as TheRig,
  START_MS,
  statusLine,
  type TestFlow,
  UDP,
} from "./rig.ts";
import { storedContact } from "../usrloc/stored.ts";

/** A REGISTER for 600 s (3600 s upstream); the 2xx is made of our Contact by `reply`. */
function granted(
  rig: Rig,
  reply: (ours: { uri: string; lf: string }) => string[],
  asked = 600,
): { seconds: number; upstream: number; text: string; warned: boolean } {
  const phone = rig.phone("192.0.2.7");
  rig.receive(phone, register(phone, { expires: asked }));
  const upstream = rig.one(rig.pbx);
  const uri = /<([^>]*)>/.exec(headers(upstream, "Contact")[0]!)![1]!;
  const lf = /lf=([a-z0-9]+)/.exec(uri)?.[1] ?? "";
  rig.fromPbx(answer(upstream, "200 OK", reply({ uri, lf })));
  const text = rig.one(phone);
  const aor = rig.core.usrloc.find("alice@example.org");
  const contact = aor?.contacts[0];
  return {
    seconds: contact === undefined ? 0 : (contact.expiresAtMs - rig.clock.nowMs) / 1000,
    upstream: aor?.upstream.state === "registered" ? (aor.upstream.expiresAtMs - rig.clock.nowMs) / 1000 : 0,
    text,
    warned: rig.logText.includes("does not list our Contact"),
  };
}

interface Form {
  name: string;
  reply: (ours: { uri: string; lf: string }) => string[];
  seconds: number;
  upstream: number;
  warned?: boolean;
}

const forms: Form[] = [
  { name: "as Contact parameter", reply: ({ uri }) => [`Contact: <${uri}>;expires=120`], seconds: 120, upstream: 120 },
  {
    name: "as asked: the phone gets what it asked for, not what we did",
    reply: ({ uri }) => [`Contact: <${uri}>;expires=3600`],
    seconds: 600,
    upstream: 3600,
  },
  {
    name: "in the Expires header alone",
    reply: ({ uri }) => [`Contact: <${uri}>`, "Expires: 300"],
    seconds: 300,
    upstream: 300,
  },
  {
    name: "in both: the parameter counts",
    reply: ({ uri }) => ["Expires: 60", `Contact: <${uri}>;expires=200`],
    seconds: 200,
    upstream: 200,
  },
  { name: "nowhere: what was asked", reply: ({ uri }) => [`Contact: <${uri}>`], seconds: 600, upstream: 3600 },
  { name: "nowhere, and no Contact", reply: () => [], seconds: 600, upstream: 3600, warned: true },
  { name: "in the header, our Contact missing", reply: () => ["Expires: 90"], seconds: 90, upstream: 90, warned: true },
  {
    name: "foreign contacts only, with other expiries",
    reply: () => ["Contact: <sip:alice@198.51.100.1:5060>;expires=10", "Expires: 400"],
    seconds: 400,
    upstream: 400,
    warned: true,
  },
  {
    name: "foreign contacts before and behind, in one line",
    reply: ({ uri }) => [
      `Contact: "A, B" <sip:alice@198.51.100.1>;expires=11, <${uri}>;expires=150, <sip:alice@10.0.0.5:5070>;expires=12`,
    ],
    seconds: 150,
    upstream: 150,
  },
  {
    name: "several lines, ours folded",
    reply: (
      { uri },
    ) => ["Contact: <sip:x@198.51.100.1>;expires=11", `m: "alice"\r\n\t<${uri}>\r\n ;q=1;\r\n  expires=151`],
    seconds: 151,
    upstream: 151,
  },
  {
    name: "a foreign line nobody can read beside ours",
    reply: ({ uri }) => ['Contact: "open <sip:x@198.51.100.1>;expires=11', `Contact: <${uri}>;expires=152`],
    seconds: 152,
    upstream: 152,
  },
  {
    name: "the id of another device is not ours",
    reply: ({ uri, lf }) => [`Contact: <${uri.replace(lf, "0".repeat(18))}>;expires=13`, "Expires: 500"],
    seconds: 500,
    upstream: 500,
    warned: true,
  },
  {
    name: "parameter dropped",
    reply: () => ["Contact: <sip:alice@10.0.0.5:5060>;expires=153"],
    seconds: 153,
    upstream: 153,
  },
  {
    name: "parameter and default port dropped, user in capitals",
    reply: () => ["Contact: <sip:ALICE@10.0.0.5>;expires=154"],
    seconds: 154,
    upstream: 154,
  },
  {
    name: "everything in capitals",
    reply: ({ uri }) => [`CONTACT: <${uri.replace("sip:", "").toUpperCase().replace(/^/, "SIP:")}>;EXPIRES=155`],
    seconds: 155,
    upstream: 155,
  },
  {
    name: "host written otherwise, parameter kept",
    reply: ({ lf }) => [`Contact: <sip:alice@sip.example.org;transport=udp;lf=${lf}>;expires=156`],
    seconds: 156,
    upstream: 156,
  },
  {
    name: "no angle brackets",
    reply: ({ lf }) => [`Contact: sip:alice@10.0.0.5:5060;lf=${lf};expires=157`],
    seconds: 157,
    upstream: 157,
  },
  {
    name: "quoted display name with everything in it",
    reply: ({ uri }) => [`Contact: "<sip:alice@10.0.0.5;lf=1>;expires=1, \\"" <${uri}>;expires=158`],
    seconds: 158,
    upstream: 158,
  },
  {
    name: "expiry in quotes",
    reply: ({ uri }) => [`Contact: <${uri}>;expires="159"`],
    seconds: 159,
    upstream: 159,
  },
  {
    name: "beyond 2^31",
    reply: ({ uri }) => [`Contact: <${uri}>;expires=4294967295`],
    seconds: 600,
    upstream: 4294967295,
  },
  {
    name: "beyond 2^32, which is no number: the header",
    reply: ({ uri }) => [`Contact: <${uri}>;expires=99999999999`, "Expires: 160"],
    seconds: 160,
    upstream: 160,
  },
  {
    name: "zero: a 2xx that registers nothing",
    reply: ({ uri }) => [`Contact: <${uri}>;expires=0`],
    seconds: 0,
    upstream: 0,
  },
];

describe("R-02 the expiry comes from the PBX's 2xx, in whatever form", () => {
  for (const form of forms) {
    test(`R-02 granted ${form.name}`, () => {
      const { seconds, upstream, warned, text } = granted(new TheRig(), form.reply);
      expect({ seconds, upstream, warned }).toEqual({
        seconds: form.seconds,
        upstream: form.upstream,
        warned: form.warned ?? false,
      });
      // FB-09, FB-30: one Contact, ours to the phone, with its own expiry, and nothing that could disagree.
      expect(headers(text, "Contact")).toEqual(
        form.seconds === 0 ? [] : [`<sip:alice@192.0.2.7:5060>;expires=${form.seconds}`],
      );
      expect(headers(text, "Expires")).toEqual([]);
      expect(headers(text, "m")).toEqual([]);
    });
  }

  test("R-02 a user with @ in it, decoded by the PBX on its way back", () => {
    for (const placement of ["param", "aor"] as const) {
      const rig = new TheRig({ pbx: { contact_id: placement } });
      const phone = rig.phone("192.0.2.7");
      rig.receive(phone, register(phone, { user: "alice%40work", expires: 600 }));
      const upstream = rig.one(rig.pbx);
      expect(headers(upstream, "Contact")[0]).toStartWith("<sip:alice%40work@10.0.0.5:5060");
      rig.fromPbx(accepted(upstream, [headers(upstream, "Contact")[0]!.replace("%40", "@").replace("3600", "130")]));
      expect(headers(rig.one(phone), "Contact")).toEqual(["<sip:alice%40work@192.0.2.7:5060>;expires=130"]);
      expect(rig.logText).not.toContain("does not list");
    }
  });

  test("R-02 an IPv6 reference as our address", () => {
    const listener = { ...UDP, address: "2001:db8::5", advertised: "[2001:db8::5]:5060" };
    for (
      const [placement, contact] of [["param", "<sip:alice@[2001:DB8::5]:5060>"], [
        "aor",
        "<sip:alice@[2001:db8::5]>",
      ]] as const
    ) {
      const rig = new TheRig({ pbx: { contact_id: placement }, listener });
      const { seconds, warned } = granted(rig, () => [`Contact: ${contact};expires=77`]);
      expect({ seconds, warned }).toEqual({ seconds: 77, warned: false });
    }
  });

  test("R-02 placement user: the id is the user, whatever happens to the case", () => {
    const rig = new TheRig({ pbx: { contact_id: "user" } });
    const { seconds, warned } = granted(rig, ({ uri }) => [
      "Contact: <sip:alice@10.0.0.5:5060>;expires=10",
      `Contact: <sip:${uri.slice(4, 22).toUpperCase()}@10.0.0.5:5060>;expires=88`,
    ]);
    expect({ seconds, warned }).toEqual({ seconds: 88, warned: false });
  });

  test("R-02 mode mirror: the phone gets what the PBX gives, longer or shorter", () => {
    for (const seconds of [60, 600, 5000]) {
      const rig = new TheRig({ pbx: { mode: "mirror" } });
      expect(granted(rig, ({ uri }) => [`Contact: <${uri}>;expires=${seconds}`]).seconds).toBe(seconds);
    }
  });

  test("R-02 what is stored comes from the phone's request", () => {
    const rig = new TheRig();
    const phone = rig.phone("192.0.2.7", 40123);
    registered(rig, phone, {
      callId: "c@1",
      cseq: 17,
      contacts: [
        '"A" <sip:alice@192.0.2.7:40123;ob;pn-provider=FCM;pn-param=proj%3A1;pn-prid=tok%20en>;expires=700;q=0.35;reg-id=2;+sip.instance="<urn:uuid:F>";x',
      ],
      lines: ["User-Agent: Phone/1.0 (x)"],
    });
    const contact = rig.core.usrloc.find("alice@example.org")!.contacts[0]!;
    expect(contact.flow).toBe(phone);
    expect(contact.aor.user).toBe("alice");
    expect(storedContact(contact)).toMatchObject({
      uri: "sip:alice@192.0.2.7:40123;ob;pn-provider=FCM;pn-param=proj%3A1;pn-prid=tok%20en",
      params: ';q=0.35;reg-id=2;+sip.instance="<urn:uuid:F>";x',
      instance: "urn:uuid:F",
      regId: 2,
      q: 350,
      callId: "c@1",
      cseq: 17,
      userAgent: "Phone/1.0 (x)",
      kind: "mobile",
      flowKey: phone.key,
      registeredAtMs: START_MS,
      expiresAtMs: START_MS + 700_000,
      push: { provider: "fcm", param: "proj:1", prid: "tok en", tokenState: "unknown", registeredAtMs: START_MS },
    });
  });
});

describe("R-03 the 2xx to the phone", () => {
  const uri = "sip:alice@192.0.2.7:5060;ob;pn-provider=acme;pn-prid=t1;x=y";
  const params = ';q=0.5;+sip.instance="<urn:uuid:1>";reg-id=1';

  test("R-03 lists the phone's own Contact with all its parameters and the granted expiry", () => {
    const rig = new TheRig();
    const phone = rig.phone("192.0.2.7");
    const { reply } = registered(rig, phone, { contacts: [`"Alice" <${uri}>;expires=100${params}`], expires: 7200 });
    expect(headers(reply, "Contact")).toEqual([`<${uri}>${params};expires=100`]);
    expect(headers(reply, "Expires")).toEqual([]);
  });

  test("R-03 other devices' contacts only with reply_contacts: all", () => {
    for (const reply_contacts of ["own", "all"] as const) {
      const rig = new TheRig({ registration: { reply_contacts } });
      registered(rig, rig.phone("192.0.2.8"), { expires: 900 });
      rig.pass(100_500);
      const { reply } = registered(rig, rig.phone("192.0.2.7"), { expires: 600 });
      const own = "<sip:alice@192.0.2.7:5060>;expires=600";
      expect(headers(reply, "Contact")).toEqual(
        reply_contacts === "own" ? [own] : ["<sip:alice@192.0.2.8:5060>;expires=800", own],
      );
    }
  });

  const others: [name: string, contact: string, shown: string][] = [
    ["RFC 8599", `<${uri}>${params}`, `<sip:alice@192.0.2.7:5060;ob;x=y>${params}`],
    [
      "Linphone",
      "<sip:alice@192.0.2.7;app-id=app;pn-type=apple;pn-tok=t1;transport=tcp>;x=1",
      "<sip:alice@192.0.2.7;transport=tcp>;x=1",
    ],
    ["header parameters", '<sip:alice@192.0.2.7>;pn-provider=acme;pn-prid="t1";x=1', "<sip:alice@192.0.2.7>;x=1"],
    [
      "a rule's own parameter",
      "<sip:al;ice@192.0.2.7:5060;token=secret-token-1;transport=TCP;ob>;x=1",
      "<sip:al;ice@192.0.2.7:5060;transport=TCP>",
    ],
    ["a rule's header parameter", "<sip:alice@192.0.2.7>;token=secret-token-1", "<sip:alice@192.0.2.7>"],
  ];
  for (const [name, contact, shown] of others) {
    for (const pbx of [true, false]) {
      test(`P-02 R-03 R-14 no other phone sees what wakes this one: ${name}, ${pbx ? "PBX" : "registrar mode"}`, () => {
        const rule = { kind: "" as const, user_agent: "^Rule", header: null };
        const rig = new TheRig({
          pbx,
          trust: ["192.0.2.0/24"],
          registration: { reply_contacts: "all" },
          devices: [{ ...rule, push: { provider: "acme", token_from: { source: "contact", name: "token" } } }],
        });
        const lines = name.startsWith("a rule") ? ["User-Agent: Rule/1"] : [];
        const phone = rig.phone("192.0.2.7");
        const exchange = (flow: TestFlow, text: RegisterText): string[] => {
          rig.receive(flow, register(flow, text));
          if (pbx) rig.fromPbx(accepted(rig.one(rig.pbx)));
          return headers(rig.one(flow), "Contact");
        };
        expect(exchange(phone, { contacts: [contact], lines, expires: 600 })).toEqual([`${contact};expires=600`]);
        expect(rig.core.usrloc.find("alice@example.org")!.contacts[0]!.push).not.toBeNull();
        const other = rig.phone("192.0.2.8");
        expect(exchange(other, { expires: 600 })).toEqual([
          `${shown};expires=600`,
          "<sip:alice@192.0.2.8:5060>;expires=600",
        ]);
        expect(exchange(other, { contacts: [], cseq: 2 })[0]).toBe(`${shown};expires=600`);
        // Its own it hears whole, also together with the other's.
        expect(exchange(phone, { contacts: [contact], lines, expires: 7200, cseq: 2 })[0]).toStartWith(contact);
      });
    }
  }

  test("R-03 several contacts in one REGISTER, each with its own expiry, in the phone's order", () => {
    const rig = new TheRig();
    const phone = rig.phone("192.0.2.7");
    const { reply } = registered(rig, phone, {
      contacts: ["<sip:a@192.0.2.7>;expires=100", "<sip:b@192.0.2.7>, <sip:c@192.0.2.7>;expires=200"],
      expires: 300,
    });
    expect(headers(reply, "Contact")).toEqual([
      "<sip:a@192.0.2.7>;expires=100",
      "<sip:b@192.0.2.7>;expires=300",
      "<sip:c@192.0.2.7>;expires=200",
    ]);
  });

  test("R-14 a REGISTER without Contact is forwarded as it came, and answered with the bindings here", () => {
    const rig = new TheRig();
    registered(rig, rig.phone("192.0.2.8"), { expires: 900 });
    registered(rig, rig.phone("192.0.2.7"), { expires: 600 });
    rig.pass(1);
    const phone = rig.phone("192.0.2.9");
    const changes = rig.changeCount;
    const upstream = rig.core.usrloc.find("alice@example.org")!.upstream;
    rig.receive(phone, register(phone, { contacts: [] }));
    const wire = rig.one(rig.pbx);
    expect(headers(wire, "Contact")).toEqual([]);
    rig.fromPbx(accepted(wire, ["<sip:alice@10.0.0.5:5060;lf=1>;expires=5", "<sip:x@198.51.100.1>;expires=6"]));
    expect(headers(rig.one(phone), "Contact")).toEqual([
      "<sip:alice@192.0.2.8:5060>;expires=900",
      "<sip:alice@192.0.2.7:5060>;expires=600",
    ]);
    expect(rig.changeCount).toBe(changes);
    expect(rig.core.usrloc.find("alice@example.org")!.upstream).toBe(upstream);
    rig.receive(phone, register(phone, { user: "nobody", contacts: [] }));
    rig.fromPbx(accepted(rig.one(rig.pbx)));
    expect(statusLine(rig.one(phone))).toBe("SIP/2.0 200 OK");
    expect(rig.core.usrloc.aorCount).toBe(1);
  });
});
