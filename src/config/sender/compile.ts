/**
 * A sender as it is written → as it is used, or what is wrong with it and where (P-10). Lays the admin's keys over those
 * of a preset first. Must not know YAML or places in a file: a problem names its key.
 */
import { didYouMean, quoted } from "../parsed.ts";
import { PRESETS } from "./presets.ts";
import {
  ANSWER_KINDS,
  type AnswerKind,
  type AnswerRule,
  type BodyTemplate,
  type HeaderTemplate,
  type JsonTemplate,
  SENDER_EVENTS,
  type SenderConfig,
  type SenderEvent,
  type SenderRequest,
  type Written,
  type WrittenMap,
} from "./sender.ts";
import { isLiteral, parseTemplate, type Template } from "./template.ts";

/** Where a problem is: the names of keys from the sender down, and the part of the text that is wrong; `key`: the key is. */
export type ReportSender = (
  path: readonly string[],
  message: string,
  hint: string,
  part?: { readonly at: number; readonly length: number } | "key",
) => void;

/** What is read of a value as everywhere in the config: a duration in ms, a file name made absolute. */
export interface SenderValues {
  /** Ms, or undefined after its problem was reported. */
  duration(text: string, path: readonly string[]): number | undefined;
  file(text: string): string;
}

const REQUEST_KEYS = ["method", "url", "path", "headers", "json", "form", "text"] as const;
const BODY_KEYS = ["json", "form", "text"] as const;
const SENDER_KEYS = ["preset", ...REQUEST_KEYS, "token_file", "wake_url", "timeout", "ask", "events", "answers"];
const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"] as const;
/** They belong to the connection. */
const OWN_HEADERS = new Set(
  ("accept-encoding connection content-length expect host keep-alive proxy-authenticate proxy-authorization " +
    "proxy-connection te trailer transfer-encoding upgrade").split(" "),
);
/** Names under which a secret is sent. */
const SECRET_NAME = /(?:^|[-_.])(?:authorization|cookie|token|key|apikey|secret|password|passwd)$/i;
/** What is sent where an event has no words of its own. */
const STANDS_FOR: Readonly<Partial<Record<SenderEvent, SenderEvent>>> = { test: "call", answered_elsewhere: "cancel" };
const DEFAULT_TIMEOUT_MS = 5000;
const MAX_FIELDS = 200;

/** The sender, or undefined after at least one problem was reported. */
export function compileSender(own: WrittenMap, values: SenderValues, report: ReportSender): SenderConfig | undefined {
  return new Compiler(own, values, report).sender();
}

class Compiler {
  /** What was reported: what holds for all events is looked at for each. */
  private readonly told = new Set<string>();
  private mentionsToken = false;
  private needsToken = false;
  private fieldCount = 0;

  constructor(
    private readonly own: WrittenMap,
    private readonly values: SenderValues,
    private readonly report: ReportSender,
  ) {}

  sender(): SenderConfig | undefined {
    this.checkKeys(this.own, SENDER_KEYS, []);
    const preset = this.text(this.own.preset, ["preset"]);
    const base = preset === "" ? {} : this.preset(preset);
    if (base === undefined) return undefined;
    this.checkBodies(base);
    const written = layered(base, this.own);
    if (written.url === undefined) this.problem(["url"], "is missing", "write the https:// URL of the service");
    const events = this.events(written);
    const sender: SenderConfig = {
      written,
      preset,
      origin: this.url(written.url, ["url"]).origin,
      token_file: this.file(written.token_file, ["token_file"]),
      wake_url: this.wakeUrl(written.wake_url),
      timeout: this.timeout(written.timeout),
      events,
      answers: this.answers(written.answers),
      ask: this.ask(written),
    };
    if (this.needsToken && sender.token_file === "") {
      this.problem(["token_file"], "is missing: {token} stands in this sender", "name the file that holds it");
    }
    return this.told.size > 0 ? undefined : sender;
  }

  private preset(name: string): WrittenMap | undefined {
    if (Object.hasOwn(PRESETS, name)) return PRESETS[name];
    const names = Object.keys(PRESETS);
    const near = didYouMean(name, names, `there are ${names.join(", ")}`);
    return this.problem(["preset"], `unknown preset ${quoted(name)}`, near);
  }

  /** A body for all events says nothing where each of the preset's events has its own. */
  private checkBodies(base: WrittenMap): void {
    if (!isMap(base.events)) return;
    for (const kind of BODY_KEYS) {
      if (this.own[kind] === undefined) continue;
      const near = `write it below events, for instance events: { call: { ${kind}: … } }`;
      this.problem([kind], "each event of the preset has a body of its own", near, "key");
    }
  }

  private events(written: WrittenMap): Record<SenderEvent, SenderRequest | null> {
    const given = written.events === undefined || written.events === null ? {} : written.events;
    const events = {} as Record<SenderEvent, SenderRequest | null>;
    const requests = isMap(given) ? given : {};
    if (!isMap(given)) this.problem(["events"], "expected a mapping of events", "");
    for (const name of Object.keys(requests)) {
      if ((SENDER_EVENTS as readonly string[]).includes(name)) continue;
      const near = didYouMean(name, SENDER_EVENTS, `there are ${SENDER_EVENTS.join(", ")}`);
      this.problem(["events", name], "nobody sends such an event", near, "key");
    }
    for (const event of SENDER_EVENTS) {
      const name = requests[event] === undefined ? STANDS_FOR[event] ?? event : event;
      events[event] = requests[name] === null ? null : this.request(written, name, requests[name]);
    }
    if (!this.mentionsToken && written.token_file !== undefined) this.authorize(events);
    return events;
  }

  /** A token that no template mentions is a bearer token. */
  private authorize(events: Record<SenderEvent, SenderRequest | null>): void {
    for (const event of SENDER_EVENTS) {
      const request = events[event];
      if (request !== null) events[event] = { ...request, headers: withBearer(request.headers) };
    }
  }

  /** What `events.NAME` says, over what the sender says of all events. */
  private request(written: WrittenMap, event: SenderEvent, own: Written | undefined): SenderRequest | null {
    const above = ["events", event];
    if (own !== undefined && !isMap(own)) {
      this.problem(above, "expected what is sent, or null for nothing", "");
      return null;
    }
    const mine = own ?? {};
    this.checkKeys(mine, REQUEST_KEYS, above);
    const at = (key: string) => mine[key] === undefined ? [key] : [...above, key];
    const url = this.url(mine.url ?? written.url, at("url"));
    const extra = this.urlParts(this.text(mine.path ?? written.path, at("path")), at("path"));
    const method = this.method(mine.method ?? written.method, at("method"));
    const body = this.body(mine, above) ?? this.body(written, []) ?? { kind: "none" };
    if (method === "GET" && body.kind !== "none") {
      this.problem(at("method"), "GET carries no body", "use POST, or put what is to be said into the query");
    }
    const headers = this.headers(written.headers, ["headers"], mine.headers, [...above, "headers"]);
    this.checkContentType(body, headers, at("text"));
    // One slash between the two.
    const start = extra.path.length > 0 && url.path.join() === "/" ? [] : url.path;
    const path = [...start, ...extra.path];
    return { method, origin: url.origin, path, query: [...url.query, ...extra.query], headers, body };
  }

  private method(value: Written | undefined, path: readonly string[]): SenderRequest["method"] {
    const name = value === undefined ? "POST" : this.text(value, path);
    const method = METHODS.find((candidate) => candidate === name.toUpperCase());
    if (method === undefined) {
      this.problem(path, `unknown method ${quoted(name)}`, didYouMean(name, METHODS, METHODS.join(", ")));
    }
    return method ?? "POST";
  }

  private body(from: WrittenMap, above: readonly string[]): BodyTemplate | undefined {
    const kinds = BODY_KEYS.filter((kind) => from[kind] !== undefined);
    const kind = kinds[0];
    if (kind === undefined) return undefined;
    const path = [...above, kind];
    if (kinds.length > 1) this.problem(path, `stands beside ${kinds[1]}`, "a request has one body", "key");
    const value = from[kind];
    if (value === null || value === undefined) return { kind: "none" };
    if (kind === "text") return { kind, template: this.template(value, path) };
    if (kind === "json") return { kind, json: this.json(value, path) };
    if (!isMap(value)) {
      this.problem(path, "expected a mapping of fields", "");
      return { kind: "none" };
    }
    const fields: [string, Template][] = [];
    for (const [name, field] of Object.entries(value)) {
      if (field === null) continue;
      this.countField(path);
      const template = this.template(field, [...path, name]);
      this.checkSecret(name, template, [...path, name]);
      fields.push([name, template]);
    }
    return { kind, fields };
  }

  private json(value: Written, path: readonly string[]): JsonTemplate {
    this.countField(path);
    if (typeof value === "number" || typeof value === "boolean") return { kind: "literal", value };
    if (isMap(value)) {
      const fields: [string, JsonTemplate][] = [];
      for (const [name, field] of Object.entries(value)) {
        if (field === null) continue;
        const below = [...path, name];
        const template = this.json(field, below);
        if (template.kind === "text") this.checkSecret(name, template.template, below);
        fields.push([name, template]);
      }
      return { kind: "fields", fields };
    }
    if (Array.isArray(value)) {
      return { kind: "list", items: value.map((item, index) => this.json(item, [...path, String(index)])) };
    }
    if (value === null) {
      this.problem(path, "there is no null here", "leave the field out");
      return { kind: "list", items: [] };
    }
    return { kind: "text", template: this.template(value, path) };
  }

  private headers(
    all: Written | undefined,
    allPath: readonly string[],
    own: Written | undefined,
    ownPath: readonly string[],
  ): HeaderTemplate[] {
    const headers = new Map<string, HeaderTemplate>();
    for (const [given, above] of [[all, allPath], [own, ownPath]] as const) {
      if (given === undefined || given === null) continue;
      if (!isMap(given)) {
        this.problem(above, "expected a mapping of headers", "");
        continue;
      }
      for (const [written, value] of Object.entries(given)) {
        const name = written.toLowerCase();
        const path = [...above, written];
        if (value === null) headers.delete(name);
        else if (!/^[!#$%&'*+.^_`|~\w-]+$/.test(name)) this.problem(path, "is no name of a header", "", "key");
        else if (OWN_HEADERS.has(name)) this.problem(path, "belongs to the connection and cannot be set", "", "key");
        else headers.set(name, [name, this.headerValue(name, value, path)]);
      }
    }
    return [...headers.values()];
  }

  private headerValue(name: string, value: Written, path: readonly string[]): HeaderTemplate[1] {
    if (isMap(value)) {
      this.checkKeys(value, ["file"], path);
      const file = this.file(value.file, [...path, "file"]);
      if (file === "") this.problem(path, "names no file", "write { file: NAME }");
      return { file };
    }
    const template = this.template(value, path);
    if (template.some((part) => typeof part === "string" && hasControl(part))) {
      this.problem(path, "a header is one line", "");
    }
    if (SECRET_NAME.test(name) && isLiteral(template)) {
      const hint = "put the whole value of the header into a file and write { file: NAME }";
      this.problem(path, "a secret stands in the file", hint);
    }
    return template;
  }

  /** Text of another type than plain text has a grammar, and what is put into it could break out of it. */
  private checkContentType(body: BodyTemplate, headers: readonly HeaderTemplate[], path: readonly string[]): void {
    const type = headers.find(([name]) => name === "content-type")?.[1];
    if (body.kind !== "text" || type === undefined || isLiteral(body.template)) return;
    const isPlain = Array.isArray(type) && isLiteral(type) && String(type[0] ?? "").startsWith("text/plain");
    if (isPlain) return;
    this.problem(path, "is plain text: a name could break out of anything else", "use json or form");
  }

  private url(value: Written | undefined, path: readonly string[]): Omit<SenderRequest, "method" | "headers" | "body"> {
    const text = value === undefined ? "" : this.text(value, path);
    if (text === "") return { origin: "", path: [], query: [] };
    const scheme = /^https?:\/\//i.exec(text)?.[0];
    if (scheme === undefined) {
      this.problem(path, `${quoted(text)} is not a URL`, "write an https:// or http:// URL");
      return { origin: "", path: [], query: [] };
    }
    const authority = /^[^/?#]*/.exec(text.slice(scheme.length))![0];
    const rest = scheme.length + authority.length;
    const parts = this.urlParts(text.slice(rest), path, rest);
    return {
      origin: this.origin(scheme, authority, path),
      path: parts.path.length === 0 ? ["/"] : parts.path,
      query: parts.query,
    };
  }

  /** Scheme, host and port as written: nothing is ever put in there. */
  private origin(scheme: string, authority: string, path: readonly string[]): string {
    const at = scheme.length;
    const brace = authority.search(/[{}]/);
    if (brace !== -1) {
      const hint = "phones and callers must not choose who is asked: write the host itself";
      this.problem(path, "a placeholder stands in the host", hint, at + brace, authority.length - brace);
    } else if (authority.includes("@")) {
      const hint = "put the secret into a file and name it in token_file";
      this.problem(path, "the URL holds a password", hint, at, authority.lastIndexOf("@") + 1);
    } else if (!/^[\w.:[\]-]+$/.test(authority) || !URL.canParse(scheme + authority)) {
      this.problem(path, `${quoted(authority)} is no host`, "", at, Math.max(1, authority.length));
    } else return new URL(scheme + authority).origin;
    return "";
  }

  /** What stands behind the host. */
  private urlParts(text: string, path: readonly string[], offset = 0): { path: Template; query: Template } {
    // deno-lint-ignore no-control-regex
    const odd = /[\x00-\x20\x7f\\]/.exec(text);
    if (odd !== null) this.problem(path, "a URL holds no spaces and no backslashes", "", offset + odd.index);
    const hash = text.indexOf("#");
    if (hash !== -1) this.problem(path, "a part behind # is never sent", "remove it", offset + hash);
    const mark = text.indexOf("?");
    // `{name?}`: the mark belongs to the placeholder.
    const isSlot = mark !== -1 && text.lastIndexOf("{", mark) > text.lastIndexOf("}", mark);
    if (isSlot) {
      this.problem(path, "a part of a URL cannot be left out", "remove the ? of the placeholder", offset + mark);
    }
    const end = mark === -1 || isSlot ? text.length : mark;
    const before = this.template(text.slice(0, end), path, offset);
    const query = this.template(text.slice(end + 1), path, offset + end + 1);
    for (const part of query) {
      if (typeof part !== "string") continue;
      const names = part.split("&").filter((pair) => /=./s.test(pair)).map((pair) => pair.slice(0, pair.indexOf("=")));
      if (names.some((name) => SECRET_NAME.test(name))) {
        this.problem(path, "a secret stands in the file", "put it into token_file and write {token}");
      }
    }
    const literal = before.map((part) => typeof part === "string" ? part : "x").join("");
    if (literal.split("/").some(isDots)) this.problem(path, "a path with . or .. leads elsewhere", "write it out");
    if (literal !== "" && !literal.startsWith("/")) this.problem(path, "must begin with a slash", "");
    return { path: before, query };
  }

  private ask(written: WrittenMap): SenderRequest | null {
    const question = this.text(written.ask, ["ask"]);
    if (question === "") return null;
    const url = this.url(written.url, ["url"]);
    const parts = this.urlParts(question, ["ask"]);
    const isFixed = (template: Template) =>
      template.every((part) => typeof part === "string" || part.names.join() === "token");
    if (!isFixed(parts.path) || !isFixed(parts.query)) {
      this.problem(["ask"], "nothing but {token} is known where no phone is", "");
    }
    const headers = this.headers(written.headers, ["headers"], undefined, []).filter(([name, value]) =>
      !name.startsWith("content-") && (!Array.isArray(value) || isFixed(value as Template))
    );
    const hasToken = written.token_file !== undefined && !this.mentionsToken;
    return {
      method: "GET",
      origin: url.origin,
      path: parts.path,
      query: parts.query,
      headers: hasToken ? withBearer(headers) : headers,
      body: { kind: "none" },
    };
  }

  private answers(value: Written | undefined): Record<AnswerKind, AnswerRule[]> {
    const answers: Record<AnswerKind, AnswerRule[]> = { accepted: [], dead: [], retry: [], refused: [] };
    if (value === undefined || value === null) return answers;
    if (!isMap(value)) {
      this.problem(["answers"], "expected a mapping", `of ${ANSWER_KINDS.join(", ")}`);
      return answers;
    }
    this.checkKeys(value, ANSWER_KINDS, ["answers"]);
    for (const kind of ANSWER_KINDS) {
      const rules = value[kind];
      if (rules === undefined || rules === null) continue;
      const list = Array.isArray(rules) ? rules : [rules];
      list.forEach((rule, index) => {
        const path = Array.isArray(rules) ? ["answers", kind, String(index)] : ["answers", kind];
        const read = this.answerRule(rule, path);
        if (read !== undefined) answers[kind].push(read);
      });
    }
    return answers;
  }

  private answerRule(rule: Written, path: readonly string[]): AnswerRule | undefined {
    if (typeof rule === "number") {
      if (Number.isInteger(rule) && rule >= 100 && rule <= 599) return { kind: "status", from: rule, to: rule };
      return this.problem(path, `${rule} is no status`, "write a number from 100 to 599, or a text in quotes");
    }
    if (typeof rule === "string") {
      const [, digit] = /^([1-5])xx$/i.exec(rule) ?? [];
      if (digit !== undefined) return { kind: "status", from: Number(digit) * 100, to: Number(digit) * 100 + 99 };
      if (rule.trim().length >= 4 && rule.length <= 200) return { kind: "text", text: rule };
      return this.problem(path, "is too short to tell an answer by", "write at least four characters of the answer");
    }
    if (isMap(rule)) {
      this.checkKeys(rule, ["field", "is"], path);
      const field = this.text(rule.field, [...path, "field"]);
      const value = rule.is;
      const isValue = typeof value === "string" || typeof value === "number" || typeof value === "boolean";
      if (field !== "" && isValue) return { kind: "field", path: field.split("."), value: String(value) };
    }
    return this.problem(path, "is not understood", "write a status, a text, or { field: code, is: 404 }");
  }

  private wakeUrl(value: Written | undefined): string {
    const text = this.text(value, ["wake_url"]);
    if (text === "") return "";
    const isFit = /^[A-Za-z][A-Za-z0-9+.-]*:[\x21-\x7e]*$/.test(text) && text.length <= 512;
    if (!isFit) this.problem(["wake_url"], `${quoted(text)} is no link`, "for instance linphone://");
    else if (/[{}]/.test(text)) this.problem(["wake_url"], "a link holds no placeholders", "");
    return text;
  }

  private timeout(value: Written | undefined): number {
    if (value === undefined || value === null) return DEFAULT_TIMEOUT_MS;
    const ms = this.values.duration(String(value), ["timeout"]);
    // The problem is told by who reads durations.
    if (ms === undefined) this.told.add("timeout");
    return ms ?? DEFAULT_TIMEOUT_MS;
  }

  private file(value: Written | undefined, path: readonly string[]): string {
    const name = this.text(value, path);
    return name === "" ? "" : this.values.file(name);
  }

  private checkSecret(name: string, template: Template, path: readonly string[]): void {
    if (!SECRET_NAME.test(name) || !isLiteral(template) || template.length === 0) return;
    this.problem(path, "a secret stands in the file", "put it into token_file and write {token}");
  }

  private template(value: Written, path: readonly string[], offset = 0): Template {
    const text = this.text(value, path);
    const parsed = parseTemplate(text);
    if (!("template" in parsed)) {
      const { message, hint, at, length } = parsed;
      this.problem(path, message, hint, offset + at, length);
      return [];
    }
    for (const part of parsed.template) {
      if (typeof part === "string" || !part.names.includes("token")) continue;
      this.mentionsToken = true;
      if (!part.isOptional) this.needsToken = true;
    }
    return parsed.template;
  }

  private text(value: Written | undefined, path: readonly string[]): string {
    if (value === undefined) return "";
    if (typeof value === "string") return value;
    if (typeof value === "number" || typeof value === "boolean") return String(value);
    this.problem(path, "expected text", value === null ? "remove the key" : "");
    return "";
  }

  private checkKeys(map: WrittenMap, keys: readonly string[], above: readonly string[]): void {
    for (const key of Object.keys(map)) {
      if (!keys.includes(key)) this.problem([...above, key], "unknown key", didYouMean(key, keys), "key");
    }
  }

  private countField(path: readonly string[]): void {
    if (++this.fieldCount === MAX_FIELDS * SENDER_EVENTS.length) this.problem(path, "has too many fields", "");
  }

  private problem(
    path: readonly string[],
    message: string,
    hint: string,
    at?: number | "key",
    length = 1,
  ): undefined {
    const key = JSON.stringify([path, message, at]);
    if (this.told.has(key)) return;
    this.told.add(key);
    this.report(path, message, hint, typeof at === "number" ? { at, length } : at);
  }
}

function withBearer(headers: readonly HeaderTemplate[]): readonly HeaderTemplate[] {
  if (headers.some(([name]) => name === "authorization")) return headers;
  return [...headers, ["authorization", ["Bearer ", { names: ["token"], isOptional: false }]]];
}

/**
 * The admin's keys over those of the preset: mappings field by field, everything else as a whole; of two kinds of body the
 * admin's is meant.
 */
export function layered(base: WrittenMap, own: WrittenMap): WrittenMap {
  const result: Record<string, Written> = Object.assign(Object.create(null), base);
  if (BODY_KEYS.some((kind) => own[kind] !== undefined)) {
    for (const kind of BODY_KEYS) if (own[kind] === undefined) delete result[kind];
  }
  for (const [name, value] of Object.entries(own)) {
    if (name === "preset") continue;
    const below = result[name];
    result[name] = isMap(value) && below !== undefined && isMap(below) ? layered(below, value) : value;
  }
  return result;
}

function isMap(value: Written | undefined): value is WrittenMap {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isDots(segment: string): boolean {
  return /^(?:\.|%2e){1,2}$/i.test(segment);
}

function hasControl(text: string): boolean {
  // deno-lint-ignore no-control-regex
  return /[\x00-\x1f\x7f]/.test(text);
}
