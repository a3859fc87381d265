/**
 * A problem of a config file and how people see it: `file:line:column`, the words, the line, carets (O-02). Must not
 * know what can be wrong.
 */

/** Where something stands in the file. Lines and columns count from 1, columns and lengths in UTF-16 units; length 0 = the whole file. */
export interface Place {
  readonly line: number;
  readonly column: number;
  readonly length: number;
}

export interface Problem extends Place {
  /** Warnings do not keep the config from being used. */
  readonly severity: "error" | "warning";
  /** `listen[2]`; "" when it is about the whole file. */
  readonly path: string;
  readonly message: string;
  /** What to do, "" if there is nothing to say. */
  readonly hint: string;
}

/** The problem as `/v1/config/check` and `--json` give it. */
export function problemJson(problem: Problem): Record<string, string | number> {
  const { severity, line, column, path, message, hint } = problem;
  return { severity, line, column, path, message, hint };
}

/** The problem in one line, with its place. Any part may be missing, as the control port of another version answers. */
export function problemLine({ line, column, path, message, hint }: Partial<Problem>): string {
  return `${line}:${column}: ${path ? `${path}: ` : ""}${message}${hint ? ` (${hint})` : ""}`;
}

/** True if the config cannot be used. */
export function hasErrors(problems: readonly Problem[]): boolean {
  return problems.some((problem) => problem.severity === "error");
}

/**
 * All problems as text, one block each, then a summary line; "" if there are none.
 * @param file name to show, as the user gave it
 * @param text the file's text, for the lines shown
 */
export function renderProblems(file: string, text: string, problems: readonly Problem[]): string {
  if (problems.length === 0) return "";
  const lines = text.split("\n");
  const blocks = problems.map((problem) => renderProblem(file, lines[problem.line - 1] ?? "", problem));
  return `${blocks.join("\n")}\n${summary(file, problems)}\n`;
}

function renderProblem(file: string, line: string, problem: Problem): string {
  const kind = problem.severity === "warning" ? "warning: " : "";
  const path = problem.path === "" ? "" : `${problem.path}: `;
  const hint = problem.hint === "" ? "" : ` (${problem.hint})`;
  const head = `${file}:${problem.line}:${problem.column}: ${kind}${path}${problem.message}${hint}`;
  if (problem.length === 0 || line.trim() === "") return head;
  const shown = excerpt(line, problem.column - 1);
  const pad = shown.text.slice(0, shown.at).replace(/[^\t]/g, " ");
  const carets = "^".repeat(Math.max(1, Math.min(problem.length, shown.text.length - shown.at)));
  return `${head}\n${String(problem.line).padStart(5)} | ${shown.text}\n      | ${pad}${carets}`;
}

const SHOWN_LENGTH = 160;

/** The part of the line around the place, without control characters that a terminal would obey. */
function excerpt(line: string, at: number): { text: string; at: number } {
  // deno-lint-ignore no-control-regex
  const plain = line.replace(/\r$/, "").replace(/[\u0000-\u0008\u000a-\u001f\u007f-\u009f]/g, "·");
  const start = plain.length <= SHOWN_LENGTH ? 0 : Math.max(0, at - SHOWN_LENGTH / 2);
  return { text: plain.slice(start, start + SHOWN_LENGTH), at: Math.max(0, at - start) };
}

function summary(file: string, problems: readonly Problem[]): string {
  const errors = problems.filter((problem) => problem.severity === "error").length;
  const warnings = problems.length - errors;
  const parts = [];
  if (errors > 0) parts.push(errors === 1 ? "1 error" : `${errors} errors`);
  if (warnings > 0) parts.push(warnings === 1 ? "1 warning" : `${warnings} warnings`);
  return `${file}: ${parts.join(", ")}`;
}
