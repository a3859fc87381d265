import { expect, test } from "bun:test";
import { reasonPhrase } from "../../../src/core/sip/reason.ts";

test("F-01 every status has a phrase, its class's where it has none of its own", () => {
  const cases: [status: number, phrase: string][] = [
    [100, "Trying"],
    [199, "Trying"],
    [200, "OK"],
    [299, "OK"],
    [302, "Moved Temporarily"],
    [380, "Multiple Choices"],
    [404, "Not Found"],
    [499, "Bad Request"],
    [504, "Server Time-out"],
    [599, "Server Internal Error"],
    [600, "Busy Everywhere"],
    [699, "Busy Everywhere"],
    [0, "Unknown"],
  ];
  for (const [status, phrase] of cases) expect(reasonPhrase(status)).toBe(phrase);
  for (let status = 100; status < 700; status++) expect(reasonPhrase(status)).toMatch(/^[A-Z][A-Za-z\- /]+$/);
});
