/**
 * What an answer of a sender's service means (P-10): by the rules of the config first, then as with a webhook. Pure. Must
 * not know how the answer came.
 */
import type { AnswerKind, AnswerRule, SenderConfig } from "../../../config/sender/sender.ts";
import type { AttemptAnswer } from "../backend.ts";

/** A dead token is told first: a service may answer 200 and say so in the body. */
const ORDER: readonly AnswerKind[] = ["dead", "retry", "refused", "accepted"];

/** An answer, as far as it is judged. */
export interface Heard {
  readonly status: number;
  /** The start of it; null: it could not be read, or not in time. */
  readonly body: string | null;
  /** What was put into the request, in whatever place: a service may echo it. */
  readonly sent: readonly string[];
}

/** True if the body may change what an answer with this status means. */
export function needsBody(answers: SenderConfig["answers"], status: number): boolean {
  if (!isSuccess(status)) return true;
  return ORDER.some((kind) => answers[kind].some((rule) => rule.kind === "field" || isSought(rule, kind, status)));
}

/** Kind, and what to do about it in words. */
export function judge(
  answers: SenderConfig["answers"],
  heard: Heard,
  name: string,
): Pick<AttemptAnswer, "kind" | "isOurFault"> & { advice: string } {
  const json = heard.body === null ? undefined : parsed(heard.body);
  for (const kind of ORDER) {
    if (answers[kind].some((rule) => fits(rule, kind, heard, json))) return worded(kind, heard.status, name, true);
  }
  const { status, body } = heard;
  if (isSuccess(status)) {
    // Where the config says what acceptance is, nothing else is; but what could not be read is no refusal.
    const isUnread = body === null && answers.accepted.some(({ kind }) => kind !== "status");
    const isOther = answers.accepted.length > 0 && !isUnread;
    return isOther
      ? { kind: "refused", isOurFault: false, advice: `answers.accepted of push.${name} knows no such answer` }
      : worded("accepted", status, name, false);
  }
  if (status === 404 || status === 410) return worded("dead", status, name, false);
  if (status === 429 || status >= 500) return worded("retry", status, name, false);
  return worded("refused", status, name, false);
}

function worded(
  kind: AnswerKind,
  status: number,
  name: string,
  isRule: boolean,
): Pick<AttemptAnswer, "kind" | "isOurFault"> & { advice: string } {
  switch (kind) {
    case "accepted":
    case "retry":
      return { kind, isOurFault: false, advice: "" };
    case "dead": {
      // Any web server says 404 of a path it does not have.
      const isPath = status === 404 && !isRule;
      const doubt = isPath ? `; if every phone's is, push.${name}.url is wrong` : "";
      return { kind, isOurFault: false, advice: `the token is dead${doubt}` };
    }
    case "refused":
      if (status >= 300 && status < 400) {
        const advice = `redirects are not followed, put the final address into push.${name}.url`;
        return { kind, isOurFault: true, advice };
      }
      if (status === 401 || status === 403) {
        return { kind, isOurFault: true, advice: `check what push.${name} says who it is (token_file, headers)` };
      }
      if (status === 404 || status === 405) return { kind, isOurFault: true, advice: `check push.${name}.url` };
      return { kind, isOurFault: false, advice: "" };
  }
}

function fits(rule: AnswerRule, kind: AnswerKind, heard: Heard, json: unknown): boolean {
  switch (rule.kind) {
    case "status":
      return heard.status >= rule.from && heard.status <= rule.to;
    case "field":
      return json !== undefined && fieldOf(json, rule.path) === rule.value;
    case "text": {
      if (heard.body === null || !isSought(rule, kind, heard.status)) return false;
      const text = rule.text.toLowerCase();
      // A caller who is called as the rule is must not make a token dead where a service says again what it was sent.
      const isEcho = heard.sent.some((value) => value.toLowerCase().includes(text));
      return !isEcho && heard.body.toLowerCase().includes(text);
    }
  }
}

/** A text is a reason: it is looked for where a push failed, one of acceptance where it did not. */
function isSought(rule: AnswerRule, kind: AnswerKind, status: number): boolean {
  return rule.kind === "text" && isSuccess(status) === (kind === "accepted");
}

function isSuccess(status: number): boolean {
  return status >= 200 && status < 300;
}

function parsed(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

function fieldOf(json: unknown, path: readonly string[]): string | undefined {
  let value = json;
  for (const name of path) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, name)) return undefined;
    value = (value as Record<string, unknown>)[name];
  }
  const isPlain = typeof value === "string" || typeof value === "number" || typeof value === "boolean";
  return isPlain ? String(value) : undefined;
}
