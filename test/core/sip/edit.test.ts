import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { addLength, Edit, removeListHeads } from "../../../src/core/sip/edit.ts";
import { ROUTE } from "../../../src/core/sip/header.ts";
import { invite, parsed } from "./sample.ts";

describe("F-02 an edit", () => {
  test("without replacements is the text", () => expect(new Edit("abc").build()).toBe("abc"));

  test("takes its replacements in any order", () => {
    const edit = new Edit("0123456789").replace(8, 9, "B").replace(2, 4, "").replace(0, 1, "A").insert(10, "!");
    expect(edit.build()).toBe("A145" + "67B9!");
  });

  test("keeps the order of insertions at one place", () => {
    expect(new Edit("ab").insert(1, "1").insert(1, "2").insert(0, "0").insert(1, "3").build()).toBe("0a123b");
  });

  test("puts an insertion before a replacement that starts at its place, whichever was asked for first", () => {
    expect(new Edit("abc").insert(1, "-").replace(1, 2, "B").build()).toBe("a-Bc");
    expect(new Edit("abc").replace(1, 2, "B").insert(1, "-").insert(1, "+").build()).toBe("a-+Bc");
  });

  test("puts an insertion behind a replacement that ends at its place", () => {
    expect(new Edit("abc").insert(2, "-").replace(1, 2, "B").build()).toBe("aB-c");
    expect(new Edit("abc").replace(1, 2, "B").insert(2, "-").build()).toBe("aB-c");
  });

  test("says what a list of pieces says", () => {
    const piece = fc.record({
      text: fc.string({ maxLength: 4 }),
      insert: fc.option(fc.string({ maxLength: 3 })),
      put: fc.option(fc.string({ maxLength: 4 })),
    });
    fc.assert(
      fc.property(fc.array(piece), fc.infiniteStream(fc.nat()), (pieces, order) => {
        const edit = new Edit(pieces.map(({ text }) => text).join(""));
        const steps: { rank: number; run: () => void }[] = [];
        let at = 0;
        for (const { text, insert, put } of pieces) {
          const [from, to] = [at, at += text.length];
          if (text === "") continue;
          if (insert !== null) steps.push({ rank: order.next().value, run: () => edit.insert(from, insert) });
          if (put !== null) steps.push({ rank: order.next().value, run: () => edit.replace(from, to, put) });
        }
        for (const step of steps.sort((a, b) => a.rank - b.rank)) step.run();
        const expected = pieces.map(({ text, insert, put }) => text === "" ? "" : (insert ?? "") + (put ?? text));
        expect(edit.build()).toBe(expected.join(""));
      }),
    );
  });
});

describe("F-02 elements at the head of a list", () => {
  const cases: [name: string, lines: string[], count: number, left: string[]][] = [
    ["none", ["Route: <sip:a>"], 0, ["Route: <sip:a>"]],
    ["the only one: its line goes", ["Route: <sip:a>"], 1, []],
    ["one of one line", ["Route:  <sip:a> ,\r\n <sip:b>"], 1, ["Route:  <sip:b>"]],
    ["one of two lines", ["Route: <sip:a>", "route: <sip:b>"], 1, ["route: <sip:b>"]],
    ["all of a line and one of the next", ["Route: <sip:a>, <sip:b>", "Route: <sip:c>,<sip:d>"], 3, ["Route: <sip:d>"]],
    ["more than there are", ["Route: <sip:a>", "Route: <sip:b>"], 5, []],
    ["empty ones are none", ["Route: , <sip:a>,, <sip:b>"], 1, ["Route: <sip:b>"]],
    ["a comma behind the last", ["Route: <sip:a> , "], 1, []],
    ["nothing behind an open quote", ['Route: <sip:a>, "b', "Route: <sip:c>"], 2, [
      'Route: <sip:a>, "b',
      "Route: <sip:c>",
    ]],
    ["commas in brackets and quotes", ['Route: "a,b" <sip:a,b>, <sip:c>'], 1, ["Route: <sip:c>"]],
  ];
  for (const [name, lines, count, left] of cases) {
    test(name, () => {
      const message = parsed(invite(["X: y", ...lines, "Z: z"]));
      const edit = new Edit(message.raw);
      removeListHeads(edit, message, ROUTE, count);
      expect(edit.build()).toBe(invite(["X: y", ...left, "Z: z"]));
    });
  }
});

describe("T-02 what goes over a stream says how long it is", () => {
  const withLength = (raw: string) => {
    const message = parsed(raw);
    const edit = new Edit(message.raw);
    addLength(edit, message);
    return edit.build();
  };

  test("also if it came in a datagram that did not", () => {
    expect(withLength(invite(["X: y"], "\xe4\0\r\n"))).toBe(invite(["X: y", "Content-Length: 4"], "\xe4\0\r\n"));
    expect(withLength(invite())).toBe(invite(["Content-Length: 0"]));
  });

  test("and nothing is said twice", () => {
    for (const line of ["Content-Length: 1", "l:1"]) expect(withLength(invite([line], "x"))).toBe(invite([line], "x"));
  });
});
