/** RFC 4475 and RFC 5118 at the level of the parser: who is refused with what, and that the rest passes to the byte. */
import { describe, expect, test } from "bun:test";
import type { Flow } from "../../src/core/sip/flow.ts";
import { forwardedRequest } from "../../src/core/sip/forward.ts";
import { CONTACT, MAX_FORWARDS, ROUTE, VIA } from "../../src/core/sip/header.ts";
import { type Message, parseMessage } from "../../src/core/sip/message.ts";
import { parseNameAddr } from "../../src/core/sip/name_addr.ts";
import { receivedVia, responseTo } from "../../src/core/sip/response.ts";
import { aorOf, parseUri, uriParam, urisEqual, withoutHeaders } from "../../src/core/sip/uri.ts";
import { outcomeOf, type TortureCase, tortureCases, tortureFolder } from "./messages.ts";

const OUR_VIA = "SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKours";

const flow: Flow = {
  id: 1,
  transport: "udp",
  isReliable: false,
  listener: { transport: "udp", address: "127.0.0.1", port: 5060, advertised: "127.0.0.1" },
  remoteAddress: "127.0.0.66",
  remotePort: 40000,
  state: "open",
  lastHeardMs: 0,
  key: "udp|127.0.0.1:5060|127.0.0.66:40000",
};

const folder = tortureFolder();

if (folder === null) {
  const reason = "the messages of RFC 4475 are not here: name their folder in LATEFORK_TORTURE";
  console.log(`skipped: ${reason}`);
  test.skip(reason, () => {});
} else {
  const cases = tortureCases(folder);

  test("all messages are there, to the byte", () => {
    expect(cases.length).toBeGreaterThanOrEqual(61);
    expect(cases.filter(({ isIntact }) => !isIntact).map(({ file }) => file)).toEqual([]);
  });

  for (const torture of cases) {
    test(`F-08 ${torture.file} (RFC ${torture.section}): ${torture.class}`, () => {
      const { status, message } = outcomeOf(torture);
      expectVerdict(torture, status, message);
      if (message?.via) {
        expect(message.via.transport).toBe(torture.viaTransport);
        expect(message.via.sentBy).toBe(torture.viaSentBy);
      }
    });
  }

  describe("F-02 passes to the byte", () => {
    for (const torture of cases.filter((each) => each.class === "PROCESS")) {
      test(torture.file, () => expectKept(torture, messageOf(torture)));
    }
  });

  describe("is read as the RFC says", () => {
    for (const [file, claim] of Object.entries(CLAIMS())) {
      test(file, () => {
        const torture = cases.find((each) => each.file === `${file}.dat`);
        if (torture === undefined) throw new Error(`${file}.dat is not in expected.tsv`);
        claim(messageOf(torture));
      });
    }
  });

  test("F-08 cut off at any byte, no message is misread or throws", () => {
    for (const { text, isDatagram, file } of cases) {
      for (let length = 1; length < text.length; length++) {
        const message = parseMessage(text.slice(0, length), isDatagram);
        if (message.problem !== null || !message.isRequest) continue;
        // What still parses ends inside a body that nothing announced, or beyond the announced one.
        expect({ file, length, isHeaderWhole: message.bodyStart <= length }).toEqual({
          file,
          length,
          isHeaderWhole: true,
        });
        parseMessage(forwarded(message));
      }
    }
  });
}

function expectVerdict(torture: TortureCase, status: number, message: Message | null): void {
  switch (torture.class) {
    case "PROCESS":
      expect({ status, problem: message?.problem }).toEqual({ status: 0, problem: null });
      break;
    case "REJECT":
      expect(torture.statuses).toContain(status);
      if (!torture.mayDrop) expectAnswer(message, status);
      break;
    case "DROP":
      // A response is never answered. What is malformed is dropped for that, the others match no transaction.
      expect(message?.isRequest).toBe(false);
      expect(message?.problem !== null).toBe(torture.file === "bigcode.dat" || torture.file === "scalarlg.dat");
      break;
    case "LENIENT":
      expect([0, 400]).toContain(status);
      // Nothing is repaired here, so what may not pass as it is must be refused; of a Contact that is the registrar's part.
      if (torture.mustBeRepaired && status === 0) expect(contactUris(message!)).toEqual(["malformed"]);
      break;
    case "EITHER":
      if (status !== 0) expect(torture.statuses).toContain(status);
  }
}

/** A refusal is worth something only if it can be sent: it needs the Via, and what it echoes must be there. */
function expectAnswer(message: Message | null, status: number): void {
  if (message === null) return; // The framer refused it; the connection is closed.
  expect(message.via).not.toBeNull();
  const answer = parseMessage(responseTo(message, status, "No", receivedVia(message, flow), "tag"));
  expect(answer.status).toBe(status);
  expect(answer.values(VIA).length).toBe(message.values(VIA).length);
  expect(answer.callId).toBe(message.callId);
}

function messageOf(torture: TortureCase): Message {
  const { message } = outcomeOf(torture);
  if (message === null) throw new Error(`${torture.file} did not make it through framing`);
  return message;
}

function forwarded(message: Message): string {
  const received = receivedVia(message, flow);
  return forwardedRequest(message, {
    uri: null,
    via: OUR_VIA,
    receivedVia: received,
    recordRoute: [],
    routesToDrop: 0,
    route: "",
  });
}

/** All header lines as they stand, in order, without the kinds given. */
function linesWithout(message: Message, from: number, ...ids: number[]): string[] {
  const lines: string[] = [];
  for (let n = from; n < message.count; n++) {
    if (!ids.includes(message.idAt(n))) lines.push(message.raw.slice(message.lineStart(n), message.lineEnd(n)));
  }
  return lines;
}

function expectKept(torture: TortureCase, message: Message): void {
  // Only a datagram with more than one message in it loses bytes (RFC 3261 §18.3).
  expect(torture.text.startsWith(message.raw)).toBe(true);
  if (torture.file !== "dblreq.dat") expect(message.raw.length).toBe(torture.text.length);
  const start = message.raw.slice(0, message.headersStart);
  expect(start + linesWithout(message, 0).join("") + "\r\n" + message.body).toBe(message.raw);

  const copy = parseMessage(forwarded(message));
  expect(copy.problem).toBeNull();
  expect(copy.raw.slice(0, copy.headersStart)).toBe(start);
  expect(copy.body).toBe(message.body);
  expect(linesWithout(copy, 0, VIA, MAX_FORWARDS)).toEqual(linesWithout(message, 0, VIA, MAX_FORWARDS));
  const [ours, received, ...below] = copy.list(VIA) ?? [];
  expect(ours).toBe(OUR_VIA);
  expect(received).toContain("received=127.0.0.66");
  expect(below).toEqual((message.list(VIA) ?? []).slice(1));
  const hops = message.value(MAX_FORWARDS);
  expect(copy.value(MAX_FORWARDS)).toBe(hops === undefined ? "70" : String(Number(hops) - 1));
}

function contactUris(message: Message): string[] {
  return (message.list(CONTACT) ?? []).map((value) => parseNameAddr(value)?.uriText ?? "malformed");
}

/** What the RFCs say about single messages, beyond the verdict. */
function CLAIMS(): Record<string, (message: Message) => void> {
  return {
    wsinv(message) {
      expect(message.cseq).toBe(9);
      expect(message.value(MAX_FORWARDS)).toBe("0068");
      expect(message.from.tag).toBe("98asjd8");
      expect(message.to.tag).toBe("1918181833n");
      expect(message.list(VIA)).toHaveLength(3);
      expect(message.via?.branch).toBe("390skdjuw");
      expect(message.valueOf("unknownheaderwithunusualvalue")).toBe(";;,,;;,;");
    },
    intmeth(message) {
      expect(message.method).toBe("!interesting-Method0123456789_*+`.%indeed'~");
      expect(message.cseqMethod).toBe(message.method);
      expect(message.uri?.host).toBe("example.com");
      expect(message.uri?.params).toBe("");
      expect(message.raw).toContain("\0");
    },
    esc01(message) {
      expect(message.uri?.user).toBe("sips%3Auser%40example.com");
      expect(message.uri?.host).toBe("example.net");
      expect(urisEqual(message.to.uri!, parseUri("sip:user@example.com")!)).toBe(true);
      expect(contactUris(message)[0]).toContain("n%61me=v%61lue%25%34%31");
    },
    escnull(message) {
      expect(message.method).toBe("REGISTER");
      expect(message.to.uri?.user).toBe("null-%00-null");
      const [first, second] = contactUris(message).map((uri) => parseUri(uri)!);
      expect(urisEqual(first!, second!)).toBe(false);
      expect(aorOf(message.to.uri!)).not.toBe(aorOf(parseUri("sip:null-@example.com")!));
    },
    esc02(message) {
      expect(message.method).toBe("RE%47IST%45R");
      expect(message.valueOf("c%6fntact")).toBeDefined();
      expect(contactUris(message)).toEqual(["sip:alias1@host1.example.com", "sip:alias3@host3.example.com"]);
    },
    lwsdisp(message) {
      expect(message.from.display).toBe("caller");
      expect(message.from.uriText).toBe("sip:caller@example.com");
    },
    longreq(message) {
      expect(message.list(VIA)).toHaveLength(34);
      expect(message.via?.branch).toBe("");
    },
    dblreq(message) {
      expect(message.method).toBe("REGISTER");
      expect(message.body).toBe("");
      expect(message.raw).not.toContain("INVITE");
    },
    semiuri(message) {
      expect(message.uri).toMatchObject({ user: "user;par=u%40example.net", host: "example.com", params: "" });
    },
    transports(message) {
      expect((message.list(VIA) ?? []).map((via) => via.split(/[ /]/)[2])).toEqual([
        "UDP",
        "SCTP",
        "TLS",
        "UNKNOWN",
        "TCP",
      ]);
    },
    mpart01(message) {
      expect(message.body).toHaveLength(553);
      expect(message.via?.rport).toBe(0);
      expect(message.value(ROUTE)).not.toContain(";lr");
    },
    inv2543(message) {
      expect(message.body).toHaveLength(105);
      expect(message.via?.branch).toBe("");
      expect(message.from.tag).toBe("");
    },
    regaut01: (message) => expect(message.problem).toBeNull(),
    cparam01(message) {
      const contact = parseNameAddr(message.value(CONTACT)!)!;
      expect(contact.params).toContain("unknownparam");
      expect(uriParam(contact.uri!, "unknownparam")).toBeUndefined();
    },
    cparam02(message) {
      const contact = parseNameAddr(message.value(CONTACT)!)!;
      expect(contact.params).toBe("");
      expect(uriParam(contact.uri!, "unknownparam")).toBe("");
    },
    regescrt(message) {
      const contact = parseNameAddr(message.value(CONTACT)!)!;
      expect(contact.uri?.headers).toStartWith("Route=");
      expect(withoutHeaders(contact.uri!)).toBe("sip:user@example.com");
    },
    noreason: (message) => expect(message.status).toBe(100),
    unreason: (message) => expect(message.status).toBe(200),
    "5118-port-ambiguous": (message) => expect(message.uri).toMatchObject({ host: "[2001:db8::10:5070]", port: 0 }),
    "5118-port-unambiguous": (message) => expect(message.uri).toMatchObject({ host: "[2001:db8::10]", port: 5070 }),
    "5118-via-received-param-no-delim": (message) => expect(message.via?.received).toBe("2001:db8::9:255"),
    "5118-via-received-param-with-delim": (message) => expect(message.via?.received).toBe("[2001:db8::9:255]"),
    "5118-ipv6-bug-abnf-3-colons": (message) => expect(message.uri?.host).toBe("[2001:db8:::192.0.2.1]"),
    "5118-mult-ip-in-header": (message) => expect(message.list(VIA)).toHaveLength(3),
    "5118-ipv4-mapped-ipv6": (message) => expect(message.via?.port).toBe(19823),
  };
}
