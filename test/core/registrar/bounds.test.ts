import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { contactsOf, headers, parsed, register, registered, type RegisterText, Rig, statusLine } from "./rig.ts";

const AOR = "alice@example.org";

/** Status of a REGISTER that must not reach the PBX. */
function refusal(text: RegisterText, rig = new Rig()): string {
  const phone = rig.phone("192.0.2.7");
  rig.receive(phone, register(phone, text));
  expect(rig.take(rig.pbx)).toEqual([]);
  expect(rig.changeCount).toBe(0);
  return rig.one(phone);
}

describe("R-10 bounds", () => {
  test("R-10 below min_expires: 423 with Min-Expires, before the PBX", () => {
    const cases: RegisterText[] = [
      { expires: 59 },
      { contacts: ["<sip:alice@192.0.2.7>;expires=59"], expires: 600 },
      { contacts: ["<sip:a@192.0.2.7>;expires=600", "<sip:b@192.0.2.7>;expires=1"] },
      { contacts: ["<sip:a@192.0.2.7>;expires=0", "<sip:b@192.0.2.7>;expires=1"] },
    ];
    for (const text of cases) {
      const reply = refusal(text);
      expect(statusLine(reply)).toBe("SIP/2.0 423 Interval Too Brief");
      expect(headers(reply, "Min-Expires")).toEqual(["60"]);
    }
  });

  const kept: [string, RegisterText, number][] = [
    ["at min_expires", { expires: 60 }, 60],
    ["nothing asked: default_expires", {}, 3600],
    ["no number", { expires: "soon" }, 3600],
    ["negative", { expires: "-1" }, 3600],
    ["empty parameter", { contacts: ["<sip:alice@192.0.2.7>;expires="] }, 3600],
    ["beyond 2^31: max_expires", { expires: "2147483648" }, 2_592_000],
    ["beyond 2^32: default_expires (RFC 3261 §20.19)", { expires: "99999999999999999999" }, 3600],
  ];
  for (const [name, text, seconds] of kept) {
    test(`R-10 ${name}: ${seconds}`, () => {
      const rig = new Rig();
      const { reply, upstream } = registered(rig, rig.phone("192.0.2.7"), text);
      expect(headers(reply, "Contact")[0]).toEndWith(`;expires=${seconds}`);
      expect(headers(upstream, "Contact")[0]).toEndWith(`;expires=${Math.max(3600, seconds)}`);
    });
  }

  test("R-10 a refresh moves the expiry both ways, to the millisecond", () => {
    const rig = new Rig();
    const phone = rig.phone("192.0.2.7");
    let cseq = 1;
    // A new Call-ID: the PBX is asked each time.
    const refresh = (expires: number) => registered(rig, phone, { cseq, callId: `c${cseq++}`, expires });
    refresh(600);
    rig.pass(599_999);
    refresh(600);
    rig.pass(599_999);
    expect(contactsOf(rig)).toHaveLength(1);
    refresh(60);
    rig.pass(59_999);
    expect(contactsOf(rig)).toHaveLength(1);
    rig.pass(1);
    expect(contactsOf(rig)).toEqual([]);
  });

  test("R-10 a thousand devices expire each in its own millisecond", () => {
    const rig = new Rig({ registration: { max_contacts: 1000 } });
    for (let n = 0; n < 1000; n++) {
      registered(rig, rig.phone("192.0.2.7"), {
        callId: `c${n}`,
        contacts: [`<sip:u${n}@192.0.2.7>`],
        expires: 60 + (n * 7) % 600,
      });
      rig.pass(1);
    }
    const due = rig.core.usrloc.find(AOR)!.contacts.map((contact) => contact.expiresAtMs).toSorted((a, b) => a - b);
    while (due.length > 0) {
      rig.pass(due[0]! - 1 - rig.clock.nowMs);
      expect(contactsOf(rig)).toHaveLength(due.length);
      rig.pass(1);
      while (due[0]! <= rig.clock.nowMs) due.shift();
      expect(contactsOf(rig)).toHaveLength(due.length);
    }
  });
});

describe("F-08 REGISTERs nobody should send", () => {
  const bad: [string, RegisterText, string][] = [
    ["wildcard without Expires", { contacts: ["*"] }, "400"],
    ["wildcard with Expires: 60", { contacts: ["*"], expires: 60 }, "400"],
    ["wildcard with a Contact beside it", { contacts: ["*", "<sip:alice@192.0.2.7>"], expires: 0 }, "400"],
    ["wildcard behind a Contact", { contacts: ["<sip:alice@192.0.2.7>, *"], expires: 0 }, "400"],
    ["regbadct: a URI with headers and no brackets", {
      contacts: ["sip:user@example.com?Route=%3Csip:sip.example.com%3E"],
    }, "400"],
    ["no URI", { contacts: ["alice"] }, "400"],
    ["tel URI", { contacts: ["<tel:+15551234>"] }, "400"],
    ["http URI", { contacts: ["<http://192.0.2.7/>"] }, "400"],
    ["open bracket", { contacts: ["<sip:alice@192.0.2.7"] }, "400"],
    ["open quote", { contacts: ['"Alice <sip:alice@192.0.2.7>'] }, "400"],
    ["quote in the URI", { contacts: ['<sip:al"ice@192.0.2.7>'] }, "400"],
    ["NUL in the URI", { contacts: ["<sip:alice\0@192.0.2.7>"] }, "400"],
    ["bare CR in a parameter", { contacts: ["<sip:alice@192.0.2.7>;x=\rInjected: yes"] }, "400"],
    ["NUL in a parameter", { contacts: ["<sip:alice@192.0.2.7>;x=\0"] }, "400"],
    ["port 0", { contacts: ["<sip:alice@192.0.2.7:0>"] }, "400"],
    ["port 65536", { contacts: ["<sip:alice@192.0.2.7:65536>"] }, "400"],
    ["a URI of 5000 characters", { contacts: [`<sip:${"a".repeat(5000)}@192.0.2.7>`] }, "400"],
    ["parameters of 5000 characters", { contacts: [`<sip:alice@192.0.2.7>;x="${"a".repeat(5000)}"`] }, "400"],
    ["a Path of 5000 characters", { lines: [`Path: <sip:${"a".repeat(5000)}@edge>`] }, "400"],
    ["17 contacts", { contacts: Array.from({ length: 17 }, (_, n) => `<sip:a${n}@192.0.2.7>`) }, "403"],
    ["To without user", { lines: [], user: "" }, "400"],
  ];
  for (const [name, text, status] of bad) {
    test(`F-08 ${name}: ${status}`, () => expect(statusLine(refusal(text))).toStartWith(`SIP/2.0 ${status} `));
  }

  test("F-08 To with another scheme", () => {
    const rig = new Rig();
    const phone = rig.phone("192.0.2.7");
    rig.receive(phone, register(phone).replace(/To: <sip:[^>]*>/, "To: <tel:+15551234>"));
    expect(statusLine(rig.one(phone))).toStartWith("SIP/2.0 400 ");
  });

  const odd: [string, string, string][] = [
    ["16 contacts", Array.from({ length: 16 }, (_, n) => `<sip:a${n}@192.0.2.7>`).join(", "), "sip:a15@192.0.2.7"],
    ["display name full of delimiters", '"a\\"<sip:x@y>;expires=1,b" <sip:alice@192.0.2.7>', "sip:alice@192.0.2.7"],
    ["no brackets", "sip:alice@192.0.2.7;expires=100;q=1", "sip:alice@192.0.2.7"],
    ["IPv6", "<sip:alice@[2001:db8::9:1]:5070;ob>", "sip:alice@[2001:db8::9:1]:5070;ob"],
    ["user with every allowed character", "<sip:a;b=1&c+d$e,f?g/h@192.0.2.7>", "sip:a;b=1&c+d$e,f?g/h@192.0.2.7"],
    ["UTF-8", '<sip:caf%C3%A9@192.0.2.7>;x="\xc3\xa9"', "sip:caf%C3%A9@192.0.2.7"],
    ["no user", "<sip:192.0.2.7:5060>", "sip:192.0.2.7:5060"],
    ["tab between parameters", "<sip:alice@192.0.2.7>\t;\tx", "sip:alice@192.0.2.7"],
  ];
  for (const [name, contact, uri] of odd) {
    test(`F-08 ${name}: taken as it is`, () => {
      const rig = new Rig({ registration: { max_contacts: 16 } });
      registered(rig, rig.phone("192.0.2.7"), { contacts: [contact] });
      expect(contactsOf(rig).at(-1)).toBe(uri);
    });
  }

  test("F-08 whatever stands in a Contact: answered, or forwarded as one that can be read", () => {
    const piece = fc.oneof(
      fc.constantFrom(
        "<",
        ">",
        '"',
        ";",
        ",",
        "*",
        "sip:",
        "@",
        "alice",
        "192.0.2.7",
        "=",
        "expires",
        "0",
        "60",
        "\\",
        "%4",
        "[",
        "]",
      ),
      fc.string({ unit: "binary", maxLength: 3 }),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 20 }), (pieces) => {
        const rig = new Rig();
        const phone = rig.phone("192.0.2.7");
        const value = pieces.join("").replace(/[\u0100-\uffff]/g, "?").replace(/\r?\n/g, " ");
        rig.receive(phone, register(phone, { contacts: [value] }));
        const upstream = rig.take(rig.pbx);
        const replies = rig.take(phone);
        expect(upstream.length + replies.length).toBe(1);
        for (const wire of upstream) parsed(wire);
      }),
      { numRuns: 500 },
    );
  });

  test("F-08 what is kept of a User-Agent is bounded", () => {
    const rig = new Rig();
    registered(rig, rig.phone("192.0.2.7"), { lines: [`User-Agent: ${"x".repeat(5000)}`] });
    expect(rig.core.usrloc.find(AOR)!.contacts[0]!.userAgent).toHaveLength(255);
  });
});

describe("X-06 devices: rules on hostile headers", () => {
  /** On each a backtracking engine takes 2^n or n³ steps of the length n. The first 255 characters are what is looked at. */
  const hostile: [string, string][] = [
    ["^(a+)+$", "a".repeat(200) + "!" + "a".repeat(30_000)],
    ["(x+x+)+y", "x".repeat(30_000)],
    ["^(\\w+\\s?)*$", "ab ".repeat(70) + "!" + "ab ".repeat(10_000)],
    ["Linphone.*Android.*Pixel", "Linphone Android ".repeat(1800)],
  ];

  test.each(hostile)("a User-Agent of 30 kB cannot keep %s busy", (pattern, value) => {
    const rig = new Rig({ devices: [{ user_agent: pattern, header: null, kind: "desk", push: null }] });
    const contacts = ["<sip:a@192.0.2.7;pn-provider=fcm;pn-prid=t>"];
    registered(rig, rig.phone("192.0.2.7"), { contacts, lines: [`User-Agent: ${value}`] });
    expect(rig.core.usrloc.find(AOR)!.contacts[0]!.kind).toBe("mobile");
  });

  test.each(hostile)("a header of 30 kB cannot keep %s busy", (pattern, value) => {
    const header = { name: "X-Model", pattern };
    const rig = new Rig({ devices: [{ user_agent: "", header, kind: "desk", push: null }] });
    const contacts = ["<sip:a@192.0.2.7;pn-provider=fcm;pn-prid=t>"];
    registered(rig, rig.phone("192.0.2.7"), { contacts, lines: [`X-Model: ${value}`] });
    expect(rig.core.usrloc.find(AOR)!.contacts[0]!.kind).toBe("mobile");
  });
});

describe("R-20 devices: rules", () => {
  const acme = {
    kind: "mobile" as const,
    push: { provider: "acme", token_from: { source: "contact" as const, name: "pn-tok" } },
  };
  const rules = [
    { user_agent: "^Acrobits", header: null, ...acme },
    { user_agent: "", header: { name: "X-Model", pattern: "T4\\d" }, kind: "desk" as const, push: null },
    {
      user_agent: "^Odd",
      header: null,
      kind: "" as const,
      push: { provider: "odd", token_from: { source: "header" as const, name: "x-token" } },
    },
    { user_agent: "^Acrobits", header: null, kind: "desk" as const, push: null },
  ];
  const cases: [string, RegisterText, string, string | null][] = [
    [
      "by User-Agent, token from the Contact URI",
      {
        contacts: ["<sip:a@192.0.2.7;pn-tok=t1>"],
        lines: ["User-Agent: Acrobits/1"],
      },
      "mobile",
      "acme:t1",
    ],
    [
      "by User-Agent, token from a quoted Contact parameter",
      {
        contacts: ['<sip:a@192.0.2.7>;pn-tok="t 2"'],
        lines: ["User-Agent: Acrobits/1"],
      },
      "mobile",
      "acme:t 2",
    ],
    ["by User-Agent, no token there", { lines: ["User-Agent: Acrobits/1"] }, "mobile", null],
    [
      "by header: a desk phone, though it has a token",
      {
        contacts: ["<sip:a@192.0.2.7;pn-provider=fcm;pn-prid=t>"],
        lines: ["x-model: SIP-T46"],
      },
      "desk",
      "fcm:t",
    ],
    ["token from a header; kind as the token says", { lines: ["User-Agent: Odd", "X-Token: t3"] }, "mobile", "odd:t3"],
    ["a token too long to be one", { lines: ["User-Agent: Odd", `X-Token: ${"t".repeat(4097)}`] }, "desk", null],
    [
      "RFC 8599 wins over a rule",
      {
        contacts: ["<sip:a@192.0.2.7;pn-provider=apns;pn-param=p;pn-prid=t4;pn-tok=t5>"],
        lines: ["User-Agent: Acrobits/1"],
      },
      "mobile",
      "apns:t4",
    ],
    ["no rule fits", { lines: ["User-Agent: Other Acrobits"] }, "desk", null],
  ];
  for (const [name, text, kind, token] of cases) {
    test(`R-20 ${name}`, () => {
      const rig = new Rig({ devices: rules });
      registered(rig, rig.phone("192.0.2.7"), text);
      const contact = rig.core.usrloc.find(AOR)!.contacts[0]!;
      expect(contact.kind).toBe(kind as never);
      expect(contact.push === null ? null : `${contact.push.provider}:${contact.push.prid}`).toBe(token);
    });
  }
});
