/**
 * Templates and values → a request (P-10). Pure. Each place has its own serialiser, so that a value stays a value: it cannot
 * end a JSON string, a form field, a header, a part of a path or of a query, nor become a placeholder. Must not know pushes.
 */
import type { BodyTemplate, HeaderTemplate, JsonTemplate, SenderRequest } from "../../../config/sender/sender.ts";
import type { Slot, Template } from "../../../config/sender/template.ts";
import type { PlaceholderValues } from "./values.ts";

/** Bytes of a body, and characters of a URL and of a header: more is no push. */
export const MAX_BODY = 16_384;
export const MAX_URL = 8192;
export const MAX_HEADER = 8192;

/** A request that is ready to go. */
export interface FilledRequest {
  readonly method: SenderRequest["method"];
  readonly url: string;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  /** Empty: none. */
  readonly body: string;
}

/**
 * @param secrets what stands in the files that headers name, by file.
 * @returns in words why it cannot be sent. Holds none of the values.
 */
export function fillRequest(
  request: SenderRequest,
  values: PlaceholderValues,
  secrets: ReadonlyMap<string, string>,
): FilledRequest | string {
  const url = fillUrl(request, values);
  if (!("url" in url)) return url.problem;
  const headers: Record<string, string> = { "user-agent": "latefork", "accept-encoding": "identity" };
  const body = fillBody(request.body, values);
  if (Buffer.byteLength(body.text) > MAX_BODY) return `what is to be sent is longer than ${MAX_BODY} bytes`;
  if (body.type !== "") headers["content-type"] = body.type;
  for (const header of request.headers) {
    const value = fillHeader(header, values, secrets);
    if (value === null) continue;
    if (value.length > MAX_HEADER) return `the header ${header[0]} is longer than ${MAX_HEADER} bytes`;
    headers[header[0]] = value;
  }
  return { method: request.method, url: url.url, headers, body: body.text };
}

/** The value of a template; null if one of its placeholders may be empty, and is. */
export function fillText(
  template: Template,
  values: PlaceholderValues,
  write: (value: string) => string = (value) => value,
): string | null {
  let text = "";
  for (const part of template) {
    if (typeof part === "string") text += part;
    else {
      const value = valueOf(part, values);
      if (value === "" && part.isOptional) return null;
      text += write(value);
    }
  }
  return text;
}

function valueOf({ names }: Slot, values: PlaceholderValues): string {
  for (const name of names) if (values[name] !== "") return values[name];
  return "";
}

function fillBody(body: BodyTemplate, values: PlaceholderValues): { text: string; type: string } {
  switch (body.kind) {
    case "none":
      return { text: "", type: "" };
    case "json": {
      const value = fillJson(body.json, values);
      return { text: value === undefined ? "{}" : JSON.stringify(value), type: "application/json" };
    }
    case "form": {
      const form = new URLSearchParams();
      for (const [name, template] of body.fields) {
        const value = fillText(template, values);
        if (value !== null) form.append(name, value);
      }
      return { text: form.toString(), type: "application/x-www-form-urlencoded" };
    }
    case "text":
      return { text: fillText(body.template, values, oneLine) ?? "", type: "text/plain; charset=utf-8" };
  }
}

/** undefined: left out. */
function fillJson(json: JsonTemplate, values: PlaceholderValues): unknown {
  switch (json.kind) {
    case "literal":
      return json.value;
    case "text": {
      const text = fillText(json.template, values);
      return text === null ? undefined : isNumber(json.template) ? Number(text) : text;
    }
    case "list":
      return json.items.map((item) => fillJson(item, values)).filter((value) => value !== undefined);
    case "fields": {
      const fields = json.fields.map(([name, field]) => [name, fillJson(field, values)] as const);
      const there = fields.filter(([, value]) => value !== undefined);
      // Nothing of it was to be said: a mapping that was written empty stays.
      if (there.length === 0 && fields.length > 0) return undefined;
      // Not by assignment: a field may be called __proto__.
      return Object.fromEntries(there);
    }
  }
}

const NUMBERS = new Set(["ttl", "sent_unix"]);

function isNumber(template: Template): boolean {
  const [part] = template;
  return template.length === 1 && typeof part === "object" && part.names.every((name) => NUMBERS.has(name));
}

/** null: left out. */
function fillHeader(
  [, value]: HeaderTemplate,
  values: PlaceholderValues,
  secrets: ReadonlyMap<string, string>,
): string | null {
  if ("file" in value) return secrets.get(value.file) ?? null;
  const text = fillText(value, values, oneLine);
  return text === null ? null : headerText(text.trim());
}

/**
 * RFC 9110 §5.5 leaves a header visible ASCII; other characters go as RFC 2047 has it, which is how ntfy and others read
 * them. So does text that would be taken for such.
 */
export function headerText(text: string): string {
  if (/^[\x20-\x7e]*$/.test(text) && !text.includes("=?")) return text;
  const words: string[] = [];
  let word = "";
  // RFC 2047 §2: 75 characters a word, of which base64 leaves 45 bytes; characters are not torn.
  for (const codePoint of text.toWellFormed()) {
    if (Buffer.byteLength(word + codePoint) > 45) {
      words.push(word);
      word = "";
    }
    word += codePoint;
  }
  words.push(word);
  return words.map((part) => `=?UTF-8?B?${Buffer.from(part).toString("base64")}?=`).join(" ");
}

/** Control characters, line and paragraph separators become spaces: no value adds a line. */
function oneLine(value: string): string {
  // deno-lint-ignore no-control-regex
  return value.replace(/[\x00-\x1f\x7f-\x9f\u2028\u2029]+/g, " ");
}

/** The address; its host is that of the template, or there is none. */
function fillUrl(request: SenderRequest, values: PlaceholderValues): { url: string } | { problem: string } {
  let path = "";
  for (const part of request.path) {
    if (typeof part === "string") {
      path += part;
      continue;
    }
    const value = valueOf(part, values);
    const name = part.names.join("|");
    // Nothing in its place would be another address: that of all topics, say.
    if (value === "") return { problem: `the push has no ${name}, which the URL needs` };
    // Many a server unescapes a path before it takes it apart: %2F is as good as a slash there.
    if (/[/\\%]/.test(value) || isDots(value)) return { problem: `its ${name} cannot be a part of a URL` };
    path += encodeURIComponent(value.toWellFormed());
  }
  const query = fillText(request.query, values, (value) => encodeURIComponent(value.toWellFormed())) ?? "";
  const text = `${request.origin}${path}${query === "" ? "" : `?${query}`}`;
  if (text.length > MAX_URL) return { problem: `the URL is longer than ${MAX_URL} characters` };
  if (!URL.canParse(text) || new URL(text).origin !== request.origin) return { problem: "it makes no URL" };
  return { url: text };
}

/** A part of a path that leads up, in each way that URL parsers know. */
function isDots(segment: string): boolean {
  return /^(?:\.|%2e){1,2}$/i.test(segment);
}
