import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

const testFolder = join(import.meta.dir, "..");
const ITEMS = [
  ...[1, 2, 3, 4, 5, 6].map((n) => `§16.3 ${n}`),
  "§16.4",
  "§16.5",
  ...Array.from({ length: 11 }, (_, n) => `§16.6 ${n + 1}`),
  ...Array.from({ length: 10 }, (_, n) => `§16.7 ${n + 1}`),
  "§16.8",
  "§16.9",
  "§16.10",
];

interface Row {
  item: string;
  file: string;
  words: string;
}

/** The rows of a table whose first column is a section of an RFC. */
function rowsOf(text: string): Row[] {
  const rows = text.split("\n").filter((line) => line.startsWith("| §"));
  return rows.map((line) => {
    const [, item = "", , file = "", words = ""] = line.split("|").map((cell) => cell.trim());
    return { item, file: file.replaceAll("`", ""), words };
  });
}

/** What is wrong with the rows: a file or a test that is not there, an item nobody shows. */
function problemsOf(rows: readonly Row[], read: (file: string) => string | null): string[] {
  const problems = ITEMS.filter((item) => !rows.some((row) => row.item === item)).map((item) => `${item}: no test`);
  for (const { item, file, words } of rows) {
    const text = read(file);
    if (text === null) problems.push(`${item}: there is no ${file}`);
    else if (words === "" || !text.includes(words)) problems.push(`${item}: no test of ${file} says "${words}"`);
  }
  return problems;
}

test("every item of RFC 3261 §16.3 to §16.10 has a test, and each test that is named is there", () => {
  const rows = rowsOf(readFileSync(join(testFolder, "README.md"), "utf8"));
  const read = (file: string) => {
    const path = join(testFolder, file);
    return existsSync(path) ? readFileSync(path, "utf8") : null;
  };
  expect(problemsOf(rows, read)).toEqual([]);
});

describe("the check of the table", () => {
  test("tells of an item without a test, of a file and of a test that are gone", () => {
    const text = ITEMS.slice(1).map((item) => `| ${item} | what | \`a.test.ts\` | the claim |`).join("\n") +
      "\n| §16.4 | what | `b.test.ts` | the claim |\n| §16.5 | what | `a.test.ts` | another claim |";
    expect(problemsOf(rowsOf(text), (file) => file === "a.test.ts" ? 'test("the claim")' : null)).toEqual([
      "§16.3 1: no test",
      "§16.4: there is no b.test.ts",
      '§16.5: no test of a.test.ts says "another claim"',
    ]);
  });
});
