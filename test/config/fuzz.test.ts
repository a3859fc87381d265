/** O-02: no text makes loading throw, and every problem lies inside the text. Runs print their seed when they fail. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { exampleConfig } from "../../src/config/example.ts";
import { loadConfig } from "../../src/config/load.ts";
import { renderProblems } from "../../src/config/problem.ts";
import { KEYS } from "../../src/config/tree.ts";

function holds(text: string): void {
  const { config, problems } = loadConfig(text);
  const lines = text.split("\n");
  expect(config === null).toBe(problems.some(({ severity }) => severity === "error"));
  for (const { line, column, length } of problems) {
    expect(line).toBeGreaterThanOrEqual(1);
    expect(line).toBeLessThanOrEqual(lines.length);
    expect(column).toBeGreaterThanOrEqual(1);
    expect(length).toBeGreaterThanOrEqual(0);
  }
  renderProblems("latefork.yaml", text, problems);
}

const OPTIONS = { numRuns: 400 };

test("O-02 arbitrary text never throws", () => {
  fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 200 }), holds), OPTIONS);
});

test("O-02 text made of YAML's own characters never throws", () => {
  const piece = fc.constantFrom(
    ..."[]{}:,-?&*!|>'\"%@`#~<=\t\r\n \u0000\ufeff\\".split(""),
    ...["a", "pbx", "listen", ": ", "- ", "\n  ", "---", "...", "<<", "null", "__proto__", "constructor", "0"],
  );
  fc.assert(fc.property(fc.array(piece, { maxLength: 60 }).map((pieces) => pieces.join("")), holds), OPTIONS);
});

test("O-02 the keys of the schema with arbitrary values never throw", () => {
  const tops = [...new Set(KEYS.flatMap(({ path }) => path.split(".")))];
  const name = fc.constantFrom(...tops, "acme", "__proto__", "toString", "*", "");
  const word = fc.oneof(
    fc.string({ maxLength: 30 }),
    fc.constantFrom("5s", "udp://[::1]:1", "sip:a", "1/s", "-> =", "::", "("),
  );
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      word,
      fc.array(tie("value"), { maxLength: 3 }),
      fc.dictionary(name, tie("value"), { maxKeys: 4 }),
    ),
  }));
  const root = fc.dictionary(name, value!, { maxKeys: 5 });
  fc.assert(fc.property(root, (tree) => holds(JSON.stringify(tree))), OPTIONS);
});

test("O-02 the full config with one character changed never throws", () => {
  const whole = exampleConfig().replace(/^# /gm, "").split("\n").filter((line) => !line.startsWith("##")).join("\n");
  const change = fc.record({
    at: fc.nat({ max: whole.length }),
    drop: fc.nat({ max: 3 }),
    put: fc.string({ maxLength: 2 }),
  });
  fc.assert(
    fc.property(change, ({ at, drop, put }) => holds(whole.slice(0, at) + put + whole.slice(at + drop))),
    OPTIONS,
  );
});
