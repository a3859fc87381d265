/** `answers` of a sender as written → rules, or what is wrong with them. */
import { isMap, type Notes } from "./notes.ts";
import { ANSWER_KINDS, type AnswerKind, type AnswerRule, type Written } from "./sender.ts";

export function answersOf(value: Written | undefined, notes: Notes): Record<AnswerKind, AnswerRule[]> {
  const answers: Record<AnswerKind, AnswerRule[]> = { accepted: [], dead: [], retry: [], refused: [] };
  if (value === undefined || value === null) return answers;
  if (!isMap(value)) {
    notes.problem(["answers"], "expected a mapping", `of ${ANSWER_KINDS.join(", ")}`);
    return answers;
  }
  notes.checkKeys(value, ANSWER_KINDS, ["answers"]);
  for (const kind of ANSWER_KINDS) {
    const rules = value[kind];
    if (rules === undefined || rules === null) continue;
    const list = Array.isArray(rules) ? rules : [rules];
    list.forEach((rule, index) => {
      const path = Array.isArray(rules) ? ["answers", kind, String(index)] : ["answers", kind];
      const read = ruleOf(rule, path, notes);
      if (read !== undefined) answers[kind].push(read);
    });
  }
  return answers;
}

function ruleOf(rule: Written, path: readonly string[], notes: Notes): AnswerRule | undefined {
  if (typeof rule === "number") {
    if (Number.isInteger(rule) && rule >= 100 && rule <= 599) return { kind: "status", from: rule, to: rule };
    return notes.problem(path, `${rule} is no status`, "write a number from 100 to 599, or a text in quotes");
  }
  if (typeof rule === "string") {
    const [, digit] = /^([1-5])xx$/i.exec(rule) ?? [];
    if (digit !== undefined) return { kind: "status", from: Number(digit) * 100, to: Number(digit) * 100 + 99 };
    if (rule.trim().length >= 4 && rule.length <= 200) return { kind: "text", text: rule };
    return notes.problem(path, "is too short to tell an answer by", "write at least four characters of the answer");
  }
  if (isMap(rule)) {
    notes.checkKeys(rule, ["field", "is"], path);
    const field = notes.text(rule.field, [...path, "field"]);
    const value = rule.is;
    const isValue = typeof value === "string" || typeof value === "number" || typeof value === "boolean";
    if (field !== "" && isValue) return { kind: "field", path: field.split("."), value: String(value) };
  }
  return notes.problem(path, "is not understood", "write a status, a text, or { field: code, is: 404 }");
}
