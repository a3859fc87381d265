import { expect, test } from "bun:test";
import fc from "fast-check";
import { readFileSync } from "node:fs";
import { PRESETS } from "../../../src/config/sender/presets.ts";
import { isLiteral, parseTemplate, PLACEHOLDERS } from "../../../src/config/sender/template.ts";

test.each<[string, unknown]>([
  ["", []],
  ["plain", ["plain"]],
  ["{prid}", [{ names: ["prid"], isOptional: false }]],
  ["a {prid} b", ["a ", { names: ["prid"], isOptional: false }, " b"]],
  ["{wake_url?}", [{ names: ["wake_url"], isOptional: true }]],
  ["{from_name | from_user}", [{ names: ["from_name", "from_user"], isOptional: false }]],
  ["{prid.2}{prid.1}", [{ names: ["prid.2"], isOptional: false }, { names: ["prid.1"], isOptional: false }]],
  ["{{prid}}", ["{prid}"]],
  ["{{{prid}}}", ["{", { names: ["prid"], isOptional: false }, "}"]],
])("P-10 %j is read as its parts", (text, parts) => {
  expect(parseTemplate(text)).toEqual({ template: parts as never });
});

test.each<[string, string, string, number]>([
  ["{name}", "unknown placeholder {name}", "write {{ for a brace", 0],
  ["a {form_name}", "unknown placeholder {form_name}", "did you mean {from_name}?", 2],
  ["{call-id}", "unknown placeholder {call-id}", "did you mean {call_id}?", 0],
  ["{}", "unknown placeholder {}", "write {{ for a brace", 0],
  ["{prid|tocken}", "unknown placeholder {tocken}", "did you mean {token}?", 0],
  ["{__proto__}", "unknown placeholder {__proto__}", "write {{ for a brace", 0],
  ["{constructor}", "unknown placeholder {constructor}", "write {{ for a brace", 0],
  ["a{", 'a "{" that is not closed', "write {{ for a brace", 1],
  ["a} b", 'a "}" without a "{"', "write }} for a brace", 1],
])("P-10 %j is refused with what to do", (text, message, hint, at) => {
  expect(parseTemplate(text)).toMatchObject({ message, hint, at });
});

test("P-10 text with its braces doubled is itself, and reading never throws", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => {
    parseTemplate(text);
    const parsed = parseTemplate(text.replaceAll("{", "{{").replaceAll("}", "}}"));
    expect(parsed).toEqual({ template: text === "" ? [] : [text] });
    expect("template" in parsed && isLiteral(parsed.template)).toBe(true);
  }));
});

test("P-10 every placeholder is described, but for the next parts of one that is", () => {
  for (const [name, words] of Object.entries(PLACEHOLDERS)) expect(words !== "" || /\.[23]$/.test(name)).toBe(true);
});

test("P-10 P-11 the page of senders tells every placeholder in these words, and every preset", () => {
  const page = readFileSync("src/io/push/http_sender/README.md", "utf8");
  for (const [name, words] of Object.entries(PLACEHOLDERS)) {
    if (words !== "") expect(page).toContain(`| \`{${name}}\` | ${words} |`);
  }
  for (const name of Object.keys(PRESETS)) expect(page).toContain(`\n### ${name}`);
  expect(page).toContain("None was tried against the real service");
});
