import { expect, test } from "bun:test";
import { clip, displayWidth, jsonText, padEnd, padStart, readable } from "../../src/observe/display.ts";
import { renderTable } from "../../src/observe/table.ts";

test("a text is measured in columns, not in characters", () => {
  expect(displayWidth("alice/1")).toBe(7);
  expect(displayWidth("José")).toBe(4);
  expect(displayWidth("田中/1")).toBe(6);
});

test("a text is cut between what a reader sees as characters", () => {
  expect(clip("alice", 5)).toBe("alice");
  expect(clip("alice/10", 5)).toBe("alic…");
  expect(clip("田中さん", 5)).toBe("田中…");
  expect(clip("田中さん", 4)).toBe("田…");
  expect(clip("abc", 0)).toBe("");
});

test("filling counts columns", () => {
  expect(padEnd("田", 4) + "|").toBe("田  |");
  expect("|" + padStart("田", 4)).toBe("|  田");
});

test("a name in UTF-8 that came as latin1 is restored", () => {
  expect(readable(Buffer.from("Jürgen 田中", "utf8").toString("latin1"))).toBe("Jürgen 田中");
  expect(readable("Jürgen")).toBe("Jürgen");
  expect(readable("Jürgen 田")).toBe("Jürgen 田");
});

test("a caller's name cannot move the cursor or turn the line around", () => {
  expect(readable("Bob\u001b[2J\r\n")).toBe("Bob\ufffd[2J\ufffd\ufffd");
  expect(readable("Bob\u202e田")).toBe("Bob\ufffd田");
});

/** DEL, C1 as bytes and as characters, the line ends of Unicode, and an override of the writing direction. */
const HARMFUL = "a\u007f\u009b31m\u0085\u2028\u2029\u202e\u2066z";

test("X-04 JSON says DEL, C1 and bidi controls by their numbers, and is the same value", () => {
  // deno-lint-ignore no-control-regex
  const raw = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/;
  for (const value of [HARMFUL, { [HARMFUL]: [HARMFUL] }, "\u001b[2J", "Jürgen 田中 🙂"]) {
    for (const indent of [0, 2]) {
      expect(jsonText(value, indent)).not.toMatch(raw);
      expect(JSON.parse(jsonText(value, indent))).toEqual(value);
    }
  }
  expect(jsonText("a\u009b")).toBe('"a\\u009b"');
  expect(jsonText("Jürgen")).toBe('"Jürgen"');
});

test("a table aligns its columns and shows what is missing", () => {
  const rows = [{ aor: "alice@example.org", n: 3, ua: "" }, { aor: "田中@example.org", n: 12, ua: "Linphone" }];
  const text = renderTable(rows, [
    { title: "aor", value: (row) => row.aor },
    { title: "devices", value: (row) => row.n, align: "right" },
    { title: "agent", value: (row) => row.ua, maxWidth: 5 },
  ]);
  expect(text).toBe(
    "AOR                DEVICES  AGENT\n" +
      "alice@example.org        3  -\n" +
      "田中@example.org        12  Linp…\n",
  );
});

test("a table without rows says so", () => {
  expect(renderTable([], [{ title: "aor", value: () => "" }], "no calls")).toBe("no calls\n");
});
