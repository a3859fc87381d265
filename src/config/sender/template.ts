/**
 * Text with `{placeholders}` → parts (P-10). Owns which placeholders there are and how they are written. Must not know what
 * a template is for, nor with which values it is filled: a value is never read as a template again.
 *
 *   {prid}            the value
 *   {from_name|aor}   the first of them that is not empty
 *   {wake_url?}       nothing is empty: the whole field is left out
 *   {{ }}             a brace
 */
import { nearest } from "../nearest.ts";

/** What stands for what. The keys are the placeholders, the words are for people. */
export const PLACEHOLDERS = {
  prid: "the phone's token (`pn-prid`)",
  "prid.1": "the first part of a token that has several, separated by commas; `{prid.2}`, `{prid.3}`: the next",
  "prid.2": "",
  "prid.3": "",
  param: "`pn-param`",
  "param.1": "as `{prid.1}`",
  "param.2": "",
  provider: "`pn-provider`, in lower case",
  call_prid: "of an Apple token for each kind of push (`TOKEN:remote&TOKEN:voip`) that for calls; else `{prid}`",
  call_param: "`pn-param` for it",
  other_prid: "the same for everything but calls",
  other_param: "`pn-param` for it",
  event: "`call`, `cancel`, `missed`, `message`, `refresh`, `test`",
  reason: "why the call is over, of a `cancel`: `answered_elsewhere`, `caller_gave_up`, `declined`, `timeout`",
  call_id: "the exact Call-ID of the INVITE; empty where no call is behind the push",
  plain_call_id: "the Call-ID if it has nothing but letters, digits and `- _ ~ @ .`; else empty",
  call_key: "22 letters, digits, `-` and `_` made of the Call-ID: the same for every push about a call",
  uuid: "of the push; a repeated push has the same",
  from_name: "the caller's name, at most 128 characters",
  from_user: "the caller's number or name at the PBX",
  from_uri: "the caller's URI; empty if it is longer than 512 characters",
  caller_uri: "the caller's URI; `sip:anonymous@anonymous.invalid` where it is not known or not told",
  caller: "the name, else the number, else `Unknown caller`",
  to_user: "who is called",
  to_uri: "the URI that is called; empty if it is longer than 512 characters",
  aor: "the phone's address of record",
  device: "the phone's id here",
  ttl: "seconds the push is of use; alone in a JSON value it is a number",
  sent_at: "now, ISO 8601",
  sent_unix: "now, seconds since 1970; alone in a JSON value it is a number",
  wake_url: "`wake_url` of the sender: the link that opens the app",
  token: "what stands in `token_file`",
} as const;

export type Placeholder = keyof typeof PLACEHOLDERS;

/** Alone in a JSON value they are numbers. */
export const NUMERIC: ReadonlySet<string> = new Set<Placeholder>(["ttl", "sent_unix"]);

/** A value to be put in. */
export interface Slot {
  /** The first that is not empty counts. */
  readonly names: readonly Placeholder[];
  /** If all are empty, the field it stands in is left out. */
  readonly isOptional: boolean;
}

export type Template = readonly (string | Slot)[];

/** What is wrong with a template, and where. */
export interface TemplateProblem {
  readonly message: string;
  readonly hint: string;
  readonly at: number;
  readonly length: number;
}

/** The parts of a text, or what is wrong with it. Literal parts are never empty. */
export function parseTemplate(text: string): { template: Template } | TemplateProblem {
  const parts: (string | Slot)[] = [];
  let literal = "";
  for (let at = 0; at < text.length; at++) {
    const char = text.charAt(at);
    if ((char === "{" || char === "}") && text.charAt(at + 1) === char) {
      literal += char;
      at++;
    } else if (char === "}") {
      return { message: 'a "}" without a "{"', hint: "write }} for a brace", at, length: 1 };
    } else if (char !== "{") {
      literal += char;
    } else {
      const end = text.indexOf("}", at);
      const open = 'a "{" that is not closed';
      if (end === -1) return { message: open, hint: "write {{ for a brace", at, length: 1 };
      const slot = slotOf(text.slice(at + 1, end));
      if (!("names" in slot)) return { ...slot, at, length: end - at + 1 };
      if (literal !== "") parts.push(literal);
      literal = "";
      parts.push(slot);
      at = end;
    }
  }
  if (literal !== "") parts.push(literal);
  return { template: parts };
}

/** True if nothing is put in. */
export function isLiteral(template: Template): boolean {
  return template.every((part) => typeof part === "string");
}

/** True if one of its slots may take this value. */
export function mentions(template: Template, name: Placeholder): boolean {
  return template.some((part) => typeof part !== "string" && part.names.includes(name));
}

function slotOf(inside: string): Slot | { message: string; hint: string } {
  const isOptional = inside.endsWith("?");
  const names = (isOptional ? inside.slice(0, -1) : inside).split("|").map((name) => name.trim());
  for (const name of names) {
    if (isPlaceholder(name)) continue;
    const near = nearest(name, Object.keys(PLACEHOLDERS));
    return {
      message: `unknown placeholder {${bounded(name)}}`,
      hint: near === null ? "write {{ for a brace" : `did you mean {${near}}?`,
    };
  }
  return { names: names.filter(isPlaceholder), isOptional };
}

function isPlaceholder(name: string): name is Placeholder {
  return Object.hasOwn(PLACEHOLDERS, name);
}

function bounded(text: string): string {
  // deno-lint-ignore no-control-regex
  const plain = text.replace(/[\u0000-\u001f\u007f-\u009f]/g, "·");
  return plain.length > 40 ? `${plain.slice(0, 37)}...` : plain;
}
