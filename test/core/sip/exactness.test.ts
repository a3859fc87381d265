/**
 * F-02 by comparison with a second, much simpler proxy: messages are made of pieces that know what becomes of them on
 * the way, so what must come out is known without reading a message.
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { forwardEdit } from "../../../src/core/sip/forward.ts";
import { receivedVia, withoutTopVia } from "../../../src/core/sip/response.ts";
import { ALL_BYTES, flowOf, invite, parsed, response } from "./sample.ts";

/** Text as it comes in, and as it goes out. */
interface Piece {
  came: string;
  goes: string;
}

const kept = (text: string): Piece => ({ came: text, goes: text });
const join = (pieces: Piece[]): Piece => ({
  came: pieces.map(({ came }) => came).join(""),
  goes: pieces.map(({ goes }) => goes).join(""),
});
const FLOW = flowOf();
const RECEIVED = ";received=" + FLOW.remoteAddress;

const byte = fc.nat(255).map((code) => String.fromCharCode(code)).filter((char) => char !== "\n" && char !== "\r");
const bytes = fc.string({ unit: byte, maxLength: 20 });
const colon = fc.constantFrom(":", ": ", " : ", "\t:\t", ":\r\n ", " :\r\n\t\t ");
const comma = fc.constantFrom(",", ", ", " ,", " ,\r\n ", "\t,\t");
const fold = fc.constantFrom("", "", " ", "\r\n ", "\r\n\t ");
const spelled = (...names: string[]) =>
  fc.tuple(fc.constantFrom(...names), fc.nat(2)).map(([name, how]) =>
    how === 0 ? name : how === 1 ? name.toUpperCase() : name.toLowerCase()
  );
const token = fc.string({ unit: fc.constantFrom(..."abcXYZ019-.!%*_+`'~"), minLength: 1, maxLength: 12 });

/** A header line of one of these names. */
const line = (names: string[], value: fc.Arbitrary<Piece>): fc.Arbitrary<Piece> =>
  fc.tuple(spelled(...names), colon, value, fold).map(([name, sep, piece, end]) =>
    join([kept(name + sep), piece, kept((end.includes("\n") ? "" : end) + "\r\n")])
  );
const plain = (names: string[], value: fc.Arbitrary<string>) => line(names, value.map(kept));

const quoted = bytes.map((inner) => `"${inner.replace(/[\\"]/g, "\\$&")}"`);
const viaParam = fc.tuple(token, fc.option(fc.oneof(token, quoted))).map(([name, value]) =>
  `;x-${name}${value === null ? "" : "=" + value}`
);
const viaHead = fc.tuple(
  fc.constantFrom("SIP/2.0/", "SIP / 2.0 / ", "sip/2.0/"),
  fc.constantFrom("UDP", "tcp", "X-New"),
  fc.constantFrom("192.0.2.1", "[2001:db8::1]:5060", "Phone.Example : 5070", "192.0.2.1 "),
).map(([protocol, transport, host]) => protocol + transport + " " + host);
const otherVia = fc.tuple(viaHead, fc.array(viaParam, { maxLength: 3 })).map(([head, params]) =>
  kept(head + params.join("") + ";branch=z9hG4bKb;received=10.9.9.9;rport")
);
/** The one we look at: what it claims to have been received from is replaced. */
const topVia = fc.tuple(
  viaHead,
  fc.array(viaParam.map(kept), { maxLength: 3 }),
  fc.constantFrom<Piece>(kept(""), { came: ";rport", goes: ";rport=40000" }, {
    came: ";RPort=5",
    goes: ";RPort=40000",
  }),
  fc.constantFrom<Piece>(kept(""), { came: ";received=203.0.113.8", goes: "" }, { came: ";Received", goes: "" }),
).map(([head, params, rport, received]) =>
  join([kept(head), ...params, rport, kept(";branch=z9hG4bKa"), received, { came: "", goes: RECEIVED }])
);

/** A list header over several lines, joined or apart. */
const listLines = (names: string[], elements: fc.Arbitrary<Piece>[]): fc.Arbitrary<Piece[]> =>
  fc.tuple(fc.tuple(...elements), fc.array(fc.boolean(), { minLength: 9, maxLength: 9 }), comma).chain(
    ([pieces, breaks, sep]) => {
      const groups: Piece[][] = [];
      pieces.forEach((piece, i) => {
        if (i === 0 || breaks[i % 9]) groups.push([]);
        groups.at(-1)!.push(piece);
      });
      return fc.tuple(
        ...groups.map((group) =>
          line(names, fc.constant(join(group.flatMap((piece, i) => i === 0 ? [piece] : [kept(sep), piece]))))
        ),
      );
    },
  );

const address = fc.tuple(
  fc.oneof(fc.constant(""), token.map((display) => display + " "), quoted),
  token,
  fc.array(viaParam, { maxLength: 2 }),
).map(([display, user, params]) => `${display}<sip:${user.replaceAll("%", "")}a@example.org>${params.join("")}`);

const unknown = plain(
  ["X-Odd", "Q", "Subject", "P-Asserted-Identity"],
  fc.tuple(bytes, fold, bytes).map((a) => a.join("")),
);
const ordinary = fc.oneof(
  unknown,
  plain(["Contact", "m"], fc.oneof(address, fc.constant("*"))),
  plain(["Record-Route"], fc.constant("<sip:p;lr> ,<sip:q;lr>")),
  plain(["Supported", "k"], fc.constantFrom("", "path", " a , b")),
  plain(["Date"], bytes),
);

interface Parts {
  vias: Piece[];
  rest: Piece[];
}

const numbered = Array.from({ length: 33 }, () => otherVia);
const parts: fc.Arbitrary<Parts> = fc.record({
  vias: fc.constantFrom(0, 1, 2, 33).chain((more) => listLines(["Via", "v"], [topVia, ...numbered.slice(0, more)])),
  rest: fc.tuple(
    plain(["From", "f"], address.map((text) => text + ";tag=f1")),
    plain(["To", "t"], address),
    plain(["Call-ID", "i"], token),
    plain(["CSeq"], fc.constantFrom("7 INVITE", "0007\t  INVITE", "7\r\n INVITE")),
    line(["Max-Forwards"], fc.constantFrom({ came: "70", goes: "69" }, { came: "0068", goes: "67" })),
  ).chain(([...needed]) =>
    fc.array(ordinary, { maxLength: 6 }).chain((more) =>
      fc.shuffledSubarray([...needed, ...more], { minLength: needed.length + more.length })
    )
  ),
});

/** Both lists in their own order, mixed at random. */
const mixed = (a: Piece[], b: Piece[]): fc.Arbitrary<Piece[]> =>
  fc.array(fc.boolean(), { minLength: a.length + b.length, maxLength: a.length + b.length }).map((coins) => {
    const [left, right] = [[...a], [...b]];
    return coins.map((coin) => (coin ? left.shift() ?? right.shift() : right.shift() ?? left.shift())!);
  });

const body = fc.string({ unit: fc.nat(255).map((code) => String.fromCharCode(code)), maxLength: 60 });

describe("F-02 to the byte", () => {
  test("a forwarded request differs where a proxy must touch it and nowhere else", () => {
    const ours = fc.nat(3).map((count) => ({
      count,
      elements: [
        ...Array.from({ length: count }, () => ({ came: "<sip:us;lr>", goes: "" })),
        kept('"R, 1" <sip:next;lr>;x'),
        kept("<sip:last>"),
      ],
    }));
    const request = fc.tuple(parts, ours, comma).chain(([{ vias, rest }, { count, elements }, sep]) => {
      // Ours leave with their commas; what is left of the line is its name and the rest.
      const route = join([
        kept("Route: "),
        ...elements.map(({ came, goes }, i): Piece => {
          const isLast = i === elements.length - 1;
          return { came: came + (isLast ? "" : sep), goes: goes === "" ? "" : goes + (isLast ? "" : sep) };
        }),
        kept("\r\n"),
      ]);
      return fc.tuple(mixed(vias, [...rest, route]), body, fc.constant(count));
    });
    fc.assert(
      fc.property(request, ([lines, content, count]) => {
        const { came } = join(lines);
        const message = parsed("INVITE sip:alice@Example.org;X=y SIP/2.0\r\n" + came + "\r\n" + content);
        const edit = forwardEdit(message, {
          uri: "sip:alice@10.0.0.1",
          via: "SIP/2.0/UDP us;branch=z9hG4bKus",
          receivedVia: receivedVia(message, FLOW),
          recordRoute: ["<sip:us;lr>"],
          routesToDrop: count,
          route: "<sip:path;lr>",
        });
        // Each of ours above the first of its kind, and none below the Vias.
        const first = (name: RegExp) => lines.findIndex((piece) => name.test(piece.came));
        const via = first(/^(via|v)[\s:]/i);
        const above = (name: RegExp) => first(name) >= 0 && first(name) < via ? first(name) : via;
        const added = lines.map(() => "");
        added[above(/^record-route[\s:]/i)] += "Record-Route: <sip:us;lr>\r\n";
        added[above(/^route[\s:]/i)] += "Route: <sip:path;lr>\r\n";
        added[via] += "Via: SIP/2.0/UDP us;branch=z9hG4bKus\r\n";
        const expected = lines.map(({ goes }, i) => added[i] + goes).join("");
        expect(edit.build()).toBe("INVITE sip:alice@10.0.0.1 SIP/2.0\r\n" + expected + "\r\n" + content);
      }),
      { numRuns: 500 },
    );
  });

  test("a response loses our Via and nothing else", () => {
    const us = fc.constant<Piece>({ came: "SIP/2.0/UDP us;branch=z9hG4bKus;rport=5;received=192.0.2.9", goes: "" });
    const apart = fc.tuple(line(["Via", "v"], us), listLines(["Via", "v"], [otherVia, otherVia]))
      .map(([own, others]): Piece[] => [{ came: own.came, goes: "" }, ...others]);
    const joined = fc.tuple(spelled("Via", "v"), colon, us, comma, otherVia, listLines(["Via"], [otherVia]))
      .map(([name, sep, own, between, next, others]): Piece[] => [
        join([kept(name + sep), { came: own.came + between, goes: "" }, next, kept("\r\n")]),
        ...others,
      ]);
    const answer = fc.tuple(parts, fc.oneof(apart, joined)).chain(([{ rest }, vias]) =>
      fc.tuple(mixed(vias, rest.map(({ came }) => kept(came))), body, bytes)
    );
    fc.assert(
      fc.property(answer, ([lines, content, reason]) => {
        const { came, goes } = join(lines);
        const start = `SIP/2.0 183 ${reason}\r\n`;
        expect(withoutTopVia(parsed(start + came + "\r\n" + content))!.build()).toBe(start + goes + "\r\n" + content);
      }),
      { numRuns: 500 },
    );
  });

  test("every byte but CR and LF passes in header values and reason phrases, and these too in bodies", () => {
    const value = ALL_BYTES.replace(/[\r\n]/g, "");
    const lines = [`X-All: ${value}`, `Contact: "${value.replace(/[\\"]/g, "\\$&")}" <sip:a@b>`];
    const request = parsed(invite([...lines, "Content-Length: 512"], ALL_BYTES + ALL_BYTES));
    const how = { uri: null, via: "v", receivedVia: "w", recordRoute: [], routesToDrop: 0, route: "" };
    const wire = forwardEdit(request, how).build();
    for (const line of lines) expect(wire).toInclude(line + "\r\n");
    expect(wire).toEndWith("\r\n\r\n" + ALL_BYTES + ALL_BYTES);
    const answer = response("299 " + value, ["Via: SIP/2.0/UDP us", "Via: SIP/2.0/UDP a", ...lines], ALL_BYTES);
    const goes = withoutTopVia(parsed(answer))!.build();
    expect(goes).toBe(response("299 " + value, ["Via: SIP/2.0/UDP a", ...lines], ALL_BYTES));
  });
});
