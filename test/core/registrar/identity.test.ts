import { describe, expect, test } from "bun:test";
import { accepted, contactsOf, headers, register, registered, type RegisterText, Rig, statusLine } from "./rig.ts";

const AOR = "alice@example.org";
const INSTANCE = ';+sip.instance="<urn:uuid:00000000-0000-1000-8000-000a95a0e128>"';

/** Two REGISTERs from two addresses; true if the second one replaced the first. */
function isSameDevice(first: string, second: string, mode: "aor" | "contact" = "contact"): boolean {
  const rig = new Rig({ pbx: { mode } });
  const one = registered(rig, rig.phone("192.0.2.7", 40000), { contacts: [first], callId: "one" });
  const id = rig.core.usrloc.find(AOR)!.contacts[0]!.id;
  const two = registered(rig, rig.phone("198.51.100.9", 50000), { contacts: [second], callId: "two" });
  const contacts = rig.core.usrloc.find(AOR)!.contacts;
  const isOne = contacts.length === 1;
  if (isOne) {
    expect(contacts[0]!.id).toBe(id);
    expect(contacts[0]!.flow).toBe(rig.phone("198.51.100.9", 50000));
    expect(contacts[0]!.callId).toBe("two");
    // The PBX never sees two Contacts for one device.
    expect(headers(two.upstream, "Contact")).toEqual(headers(one.upstream, "Contact"));
  } else if (mode === "contact") {
    expect(headers(two.upstream, "Contact")).not.toEqual(headers(one.upstream, "Contact"));
  }
  expect(rig.pinned.size).toBe(contacts.length);
  return isOne;
}

describe("R-11 one device, one binding", () => {
  const push = ";pn-provider=fcm;pn-param=p;pn-prid=tok";
  const cases: [string, string, string, boolean][] = [
    [
      "same instance, new address",
      `<sip:alice@192.0.2.7:40000>${INSTANCE}`,
      `<sip:alice@198.51.100.9:50000>${INSTANCE}`,
      true,
    ],
    [
      "same instance, new token",
      `<sip:alice@192.0.2.7:40000${push}>${INSTANCE}`,
      `<sip:alice@198.51.100.9:50000${push}2>${INSTANCE}`,
      true,
    ],
    ["same instance, token gone", `<sip:alice@192.0.2.7${push}>${INSTANCE}`, `<sip:alice@192.0.2.9>${INSTANCE}`, true],
    [
      "same instance and reg-id",
      `<sip:alice@192.0.2.7:40000>;reg-id=1${INSTANCE}`,
      `<sip:alice@198.51.100.9:50000>${INSTANCE};reg-id=1`,
      true,
    ],
    [
      "same instance, other reg-id",
      `<sip:a@192.0.2.7>;reg-id=1${INSTANCE}`,
      `<sip:a@192.0.2.8>;reg-id=2${INSTANCE}`,
      false,
    ],
    [
      "two flows of one instance share the token",
      `<sip:a@192.0.2.7${push}>;reg-id=1${INSTANCE}`,
      `<sip:a@192.0.2.8${push}>;reg-id=2${INSTANCE}`,
      false,
    ],
    [
      "same token without instance",
      `<sip:alice@192.0.2.7:40000${push}>`,
      `<sip:alice@198.51.100.9:50000${push}>`,
      true,
    ],
    [
      "same token, other provider",
      `<sip:a@192.0.2.7${push}>`,
      `<sip:a@192.0.2.8${push.replace("fcm", "apns")}>`,
      false,
    ],
    [
      "same token, other app",
      `<sip:a@192.0.2.7${push}>`,
      `<sip:a@192.0.2.8${push.replace("param=p", "param=q")}>`,
      false,
    ],
    [
      "same token in the older form",
      `<sip:a@192.0.2.7${push}>`,
      "<sip:a@192.0.2.8;pn-type=firebase;app-id=p;pn-tok=tok>",
      true,
    ],
    [
      "the app was installed anew and kept its token",
      `<sip:a@192.0.2.7${push}>${INSTANCE}`,
      `<sip:a@192.0.2.8${push}>`,
      true,
    ],
    ["nothing in common", "<sip:alice@192.0.2.7:40000>", "<sip:alice@198.51.100.9:50000>", false],
    [
      "two instances behind one URI",
      `<sip:a@192.0.2.7>${INSTANCE}`,
      `<sip:a@192.0.2.7>${INSTANCE.replace("e128", "e129")}`,
      false,
    ],
  ];
  for (const [name, first, second, isSame] of cases) {
    test(`R-11 ${name}: ${isSame ? "replaced" : "two bindings"}`, () =>
      expect(isSameDevice(first, second)).toBe(isSame));
  }

  const uris: [string, string, boolean][] = [
    ["sip:alice@192.0.2.7:5060", "sip:alice@192.0.2.7:5060", true],
    ["sip:%61lice@192.0.2.7", "sip:alice@192.0.2.7", true],
    ["sip:alice@Phone.Example.ORG;Transport=TCP", "SIP:alice@phone.example.org;transport=tcp", true],
    ["sip:alice@192.0.2.7;ob", "sip:alice@192.0.2.7", true],
    ["sip:alice@192.0.2.7;x=1;y=2", "sip:alice@192.0.2.7;y=2;x=1", true],
    ["sip:alice@192.0.2.7;x=1", "sip:alice@192.0.2.7;x=2", false],
    ["sip:alice@192.0.2.7", "sip:Alice@192.0.2.7", false],
    ["sip:alice@192.0.2.7", "sips:alice@192.0.2.7", false],
    ["sip:alice@192.0.2.7", "sip:alice@192.0.2.7:5060", false],
    ["sip:alice@192.0.2.70", "sip:alice@192.0.2.7", false],
    ["sip:alice@192.0.2.7;transport=tcp", "sip:alice@192.0.2.7", false],
  ];
  for (const [first, second, isSame] of uris) {
    test(`R-12 ${first} and ${second} are ${isSame ? "the same" : "two"}`, () => {
      expect(isSameDevice(`<${first}>`, `<${second}>`)).toBe(isSame);
    });
  }

  test("R-11 a retry, a challenge and a restart give the same id, another installation another one", () => {
    const idOf = (installation: string, text: RegisterText = {}) => {
      const rig = new Rig({ pbx: { mode: "contact" }, secrets: { installation } });
      return headers(registered(rig, rig.phone("192.0.2.7"), text).upstream, "Contact")[0]!;
    };
    expect(idOf("a")).toBe(idOf("a", { cseq: 3, callId: "other" }));
    expect(idOf("a")).not.toBe(idOf("b"));
    expect(idOf("a")).not.toBe(
      idOf("a", { user: "bob", contacts: ["<sip:alice@192.0.2.7:5060>"] }).replace("bob", "alice"),
    );
  });

  test("R-11 a device keeps its id with a new instance; who comes with the old instance gets another id", () => {
    const rig = new Rig({ pbx: { mode: "contact" } });
    const push = ";pn-provider=acme;pn-prid=t";
    const first = registered(rig, rig.phone("192.0.2.7"), {
      contacts: [`<sip:a@192.0.2.7${push}1>;+sip.instance="<A>"`],
    });
    const again = registered(rig, rig.phone("192.0.2.7"), {
      contacts: [`<sip:a@192.0.2.7${push}1>;+sip.instance="<B>"`],
      callId: "reinstalled",
    });
    expect(headers(again.upstream, "Contact")).toEqual(headers(first.upstream, "Contact"));
    const other = registered(rig, rig.phone("192.0.2.8"), {
      contacts: [`<sip:a@192.0.2.8${push}2>;+sip.instance="<A>"`],
    });
    expect(headers(other.upstream, "Contact")).not.toEqual(headers(first.upstream, "Contact"));
    const contacts = rig.core.usrloc.find(AOR)!.contacts;
    expect(contacts).toHaveLength(2);
    for (const contact of contacts) expect(rig.core.usrloc.contact(contact.id)).toBe(contact as never);
  });

  test("R-11 an instance that moves to the URI of a device without one: both are told apart", () => {
    const rig = new Rig({ pbx: { mode: "mirror" } });
    const phone = rig.phone("192.0.2.7");
    registered(rig, phone, { contacts: [`<sip:alice@192.0.2.9>${INSTANCE}`] });
    registered(rig, phone, { contacts: ["<sip:alice@192.0.2.7>"], cseq: 2 });
    registered(rig, phone, { contacts: [`<sip:alice@192.0.2.7>${INSTANCE}`], cseq: 3 });
    registered(rig, phone, { contacts: ["<sip:alice@192.0.2.7>;q=0.5"], cseq: 4 });
    expect(rig.core.usrloc.find(AOR)!.contacts.map(({ params }) => params)).toEqual([INSTANCE, ";q=0.5"]);
  });

  test("R-11 a lower CSeq with the same Call-ID changes nothing, also for instances; and brings no call", () => {
    for (const params of ["", INSTANCE]) {
      const rig = new Rig();
      const phone = rig.phone("192.0.2.7");
      registered(rig, phone, { cseq: 5, expires: 600, contacts: [`<sip:alice@192.0.2.7>${params}`] });
      const { callId, expiresAtMs, flowKey } = rig.core.usrloc.find(AOR)!.contacts[0]!;
      rig.events.length = 0;
      rig.pass(1000);
      for (const expires of [300, 0]) {
        const { reply } = registered(rig, rig.phone("192.0.2.8"), {
          cseq: 4,
          callId,
          expires,
          contacts: [`<sip:alice@192.0.2.7>${params}`],
        });
        expect(headers(reply, "Contact")).toEqual(expires === 0 ? [] : [`<sip:alice@192.0.2.7>${params};expires=599`]);
      }
      registered(rig, rig.phone("192.0.2.8"), { cseq: 4, callId, expires: 0, contacts: ["*"] });
      const after = rig.core.usrloc.find(AOR)!.contacts[0]!;
      expect([after.cseq, after.expiresAtMs, after.flowKey]).toEqual([5, expiresAtMs, flowKey]);
      expect(rig.events).toEqual([]);
    }
  });

  test("R-11 Wi-Fi to 4G: old Contact out and new one in with one REGISTER, in either order", () => {
    const old = (params: string) => `<sip:alice@192.0.2.7:5060${params}>;expires=0`;
    const fresh = (params: string) => `<sip:alice@203.0.113.5:6000${params}>;expires=600`;
    for (const mode of ["aor", "contact"] as const) {
      for (const instance of ["", INSTANCE]) {
        for (const params of ["", ";pn-provider=acme;pn-prid=t"]) {
          for (const isOldFirst of [true, false]) {
            const rig = new Rig({ pbx: { mode } });
            registered(rig, rig.phone("192.0.2.7"), { contacts: [`<sip:alice@192.0.2.7:5060${params}>${instance}`] });
            const before = rig.core.usrloc.find(AOR)!.contacts[0]!;
            rig.events.length = 0;
            const pair = [old(params) + instance, fresh(params) + instance];
            const phone = rig.phone("203.0.113.5", 6000);
            const { upstream, reply } = registered(rig, phone, { contacts: isOldFirst ? pair : pair.toReversed() });
            expect(contactsOf(rig)).toEqual([`sip:alice@203.0.113.5:6000${params}`]);
            expect(headers(reply, "Contact")).toEqual([`<sip:alice@203.0.113.5:6000${params}>${instance};expires=600`]);
            const after = rig.core.usrloc.find(AOR)!.contacts[0]!;
            expect(after.flow).toBe(phone);
            // One device moved: nobody hears of a removal, and the PBX keeps the one Contact.
            const isOne = instance !== "" || params !== "";
            expect(after.id === before.id).toBe(isOne);
            expect(rig.events.map((event) => event.state)).toEqual(isOne ? ["registered"] : ["removed", "registered"]);
            expect(headers(upstream, "Contact")).toHaveLength(mode === "aor" || isOne ? 1 : 2);
            expect(rig.take(rig.pbx)).toEqual([]);
          }
        }
      }
    }
  });

  test("R-11 the same device twice in one REGISTER is one, with what was said last", () => {
    const rig = new Rig();
    const { reply } = registered(rig, rig.phone("192.0.2.7"), {
      contacts: ["<sip:alice@192.0.2.7>;expires=100", "<sip:alice@192.0.2.7>;expires=200"],
    });
    expect(headers(reply, "Contact")).toEqual(["<sip:alice@192.0.2.7>;expires=200"]);
    expect(rig.events.filter((event) => event.type === "registration")).toHaveLength(1);
  });

  test("R-11 a token that died lives again when the phone registers it again", () => {
    const rig = new Rig();
    const phone = rig.phone("192.0.2.7");
    const contacts = ["<sip:alice@192.0.2.7;pn-provider=acme;pn-prid=tok>"];
    registered(rig, phone, { contacts });
    const contact = rig.core.usrloc.find(AOR)!.contacts[0]!;
    rig.pass(10);
    rig.core.pushResult(
      { uuid: "u", outcome: "dead", status: 410, reason: "", ms: 1 },
      contact.id,
      "tok",
      rig.clock.nowMs,
    );
    expect(contact.push!.tokenState).toBe("dead");
    registered(rig, phone, { contacts, cseq: 2 });
    expect(contact.push!.tokenState).toBe("unknown");
    // P-04: a verdict about a push sent before that says nothing.
    rig.core.pushResult(
      { uuid: "v", outcome: "dead", status: 410, reason: "", ms: 1 },
      contact.id,
      "tok",
      rig.clock.nowMs - 1,
    );
    expect(contact.push!.tokenState).toBe("unknown");
  });
});

test("R-20 keys set by hand stay with their subscription, however its phone registers, and go with it", () => {
  const rig = new Rig();
  const keys = { p256dh: "BPoint", auth: "secret" };
  const phone = (prid: string, host = "192.0.2.7") => ({
    contacts: [`<sip:alice@${host};pn-provider=webpush;pn-prid=${prid}>;+sip.instance="<urn:uuid:1>"`],
  });
  registered(rig, rig.phone("192.0.2.7"), phone("https://p/1"));
  const contact = rig.core.usrloc.find(AOR)!.contacts[0]!;
  contact.push!.keys = keys;
  registered(rig, rig.phone("192.0.2.7"), { ...phone("https://p/1"), cseq: 2 });
  expect(contact.push!.keys).toEqual(keys);
  registered(rig, rig.phone("192.0.2.8"), { ...phone("https://p/1", "192.0.2.8"), cseq: 3 });
  expect([contactsOf(rig).length, contact.uri.includes("192.0.2.8")]).toEqual([1, true]);
  expect(contact.push!.keys).toEqual(keys);
  // One that was called dead lives again with them.
  contact.push!.tokenState = "dead";
  rig.core.usrloc.touched(contact);
  registered(rig, rig.phone("192.0.2.8"), { ...phone("https://p/1", "192.0.2.8"), cseq: 4 });
  expect(contact.push).toMatchObject({ tokenState: "unknown", keys });
  registered(rig, rig.phone("192.0.2.8"), { ...phone("https://p/2", "192.0.2.8"), cseq: 5 });
  expect(contact.push).toMatchObject({ prid: "https://p/2" });
  expect(contact.push!.keys).toBeUndefined();
});

test("R-20 a token set by hand stays with a phone that brings none, and gives way to one it brings", () => {
  const rig = new Rig();
  const push = { provider: "webpush", param: "", prid: "https://p/1", tokenState: "valid", isByHand: true } as const;
  const plain = (host: string) => ({ contacts: [`<sip:alice@${host}>;+sip.instance="<urn:uuid:1>"`] });
  registered(rig, rig.phone("192.0.2.7"), plain("192.0.2.7"));
  const contact = rig.core.usrloc.find(AOR)!.contacts[0]!;
  contact.push = { ...push, registeredAtMs: 1 };
  contact.kind = "mobile";
  rig.core.usrloc.touched(contact);
  registered(rig, rig.phone("192.0.2.7"), { ...plain("192.0.2.7"), cseq: 2 });
  registered(rig, rig.phone("192.0.2.8"), { ...plain("192.0.2.8"), cseq: 3 });
  expect(contact).toMatchObject({ push, kind: "mobile" });
  const own = [`<sip:alice@192.0.2.8;pn-provider=fcm;pn-prid=t>;+sip.instance="<urn:uuid:1>"`];
  registered(rig, rig.phone("192.0.2.8"), { contacts: own, cseq: 4 });
  expect(contact.push).toMatchObject({ provider: "fcm", prid: "t" });
  registered(rig, rig.phone("192.0.2.8"), { ...plain("192.0.2.8"), cseq: 5 });
  expect(contact).toMatchObject({ push: null, kind: "desk" });
});

describe("R-13 max_contacts", () => {
  const fill = (rig: Rig, count: number) => {
    for (let n = 1; n <= count; n++) {
      registered(rig, rig.phone(`192.0.2.${n}`), { contacts: [`<sip:alice@192.0.2.${n}>`] });
      rig.pass(1000);
    }
  };

  test("R-13 reject: 403 before the PBX hears of it; known devices refresh, one that leaves makes room", () => {
    const rig = new Rig({ registration: { max_contacts: 2, overflow: "reject" } });
    fill(rig, 2);
    const third = rig.phone("192.0.2.3");
    rig.receive(third, register(third));
    expect(statusLine(rig.one(third))).toBe("SIP/2.0 403 Too many devices");
    expect(rig.take(rig.pbx)).toEqual([]);
    registered(rig, rig.phone("192.0.2.1"), { cseq: 2, contacts: ["<sip:alice@192.0.2.1>"] });
    registered(rig, third, { contacts: ["<sip:alice@192.0.2.2>;expires=0", "<sip:alice@192.0.2.3>"] });
    expect(contactsOf(rig)).toEqual(["sip:alice@192.0.2.1", "sip:alice@192.0.2.3"]);
  });

  test("R-13 reject: two that come together for the last place: the later one gets 403, and is taken off the PBX", () => {
    for (const mode of ["aor", "contact"] as const) {
      const rig = new Rig({ pbx: { mode }, registration: { max_contacts: 2, overflow: "reject" } });
      fill(rig, 1);
      const phones = [rig.phone("192.0.2.2"), rig.phone("192.0.2.3")];
      for (const phone of phones) rig.receive(phone, register(phone));
      const upstream = rig.take(rig.pbx);
      for (const wire of upstream) rig.fromPbx(accepted(wire));
      expect(phones.map((phone) => statusLine(rig.one(phone)))).toEqual([
        "SIP/2.0 200 OK",
        "SIP/2.0 403 Too many devices",
      ]);
      expect(contactsOf(rig)).toHaveLength(2);
      const removals = rig.take(rig.pbx).map((wire) => headers(wire, "Contact")[0]!);
      expect(removals).toEqual(
        mode === "aor" ? [] : [headers(upstream[1]!, "Contact")[0]!.replace("expires=3600", "expires=0")],
      );
    }
  });

  test("R-13 evict: the oldest lost one first, then the oldest, and only with the 2xx", () => {
    const rig = new Rig({ pbx: { mode: "contact" }, registration: { max_contacts: 3 } });
    const connections = [1, 2, 3].map((n) => rig.phone(`192.0.2.${n}`, 40000, "tcp"));
    connections.forEach((flow, n) => {
      registered(rig, flow, { contacts: [`<sip:alice@192.0.2.${n + 1}>`] });
      rig.pass(1000);
    });
    rig.close(connections[1]!);
    const come = (n: number) => {
      const flow = rig.phone(`192.0.2.${n}`, 40000, "tcp");
      rig.receive(flow, register(flow, { contacts: [`<sip:alice@192.0.2.${n}>`] }));
      const before = contactsOf(rig);
      const upstream = rig.one(rig.pbx);
      expect(contactsOf(rig)).toEqual(before);
      rig.fromPbx(accepted(upstream));
      rig.pass(400);
    };
    come(4);
    expect(contactsOf(rig)).toEqual(["sip:alice@192.0.2.1", "sip:alice@192.0.2.3", "sip:alice@192.0.2.4"]);
    expect(headers(rig.take(rig.pbx)[0]!, "Contact")[0]).toEndWith(";expires=0");
    come(5);
    expect(contactsOf(rig)).toEqual(["sip:alice@192.0.2.3", "sip:alice@192.0.2.4", "sip:alice@192.0.2.5"]);
  });

  test("R-13 max_contacts 1: the AoR lives on with its new device, and the PBX's binding too", () => {
    const rig = new Rig({ registration: { max_contacts: 1 } });
    fill(rig, 2);
    expect(contactsOf(rig)).toEqual(["sip:alice@192.0.2.2"]);
    expect(rig.core.usrloc.find(AOR)!.upstream.state).toBe("registered");
    expect(rig.take(rig.pbx)).toEqual([]);
    expect(rig.core.usrloc.contactCount).toBe(1);
  });

  test("R-13 more contacts in one REGISTER than an AoR may have: the last ones stay, and those are what the phone is told", () => {
    const rig = new Rig({ registration: { max_contacts: 2 } });
    const { reply } = registered(rig, rig.phone("192.0.2.7"), {
      contacts: ["<sip:a@192.0.2.7>", "<sip:b@192.0.2.7>", "<sip:c@192.0.2.7>"],
    });
    expect(contactsOf(rig)).toEqual(["sip:b@192.0.2.7", "sip:c@192.0.2.7"]);
    expect(headers(reply, "Contact").map((value) => value.split(";")[0]!)).toEqual([
      "<sip:b@192.0.2.7>",
      "<sip:c@192.0.2.7>",
    ]);
  });

  test("X-01 limits.bindings: beyond it no new device registers, known ones refresh", () => {
    const rig = new Rig({ maxBindings: 2 });
    fill(rig, 2);
    const third = rig.phone("192.0.2.3");
    rig.receive(third, register(third, { user: "bob" }));
    expect(statusLine(rig.one(third))).toStartWith("SIP/2.0 403 ");
    registered(rig, rig.phone("192.0.2.1"), { cseq: 2, contacts: ["<sip:alice@192.0.2.1>"] });
  });
});
