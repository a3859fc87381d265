/**
 * The request of an event as it is written → as it is used (P-10): method, address, headers, body. Must not know presets,
 * events or answers.
 */
import { didYouMean, quoted } from "../parsed.ts";
import { isMap, type Notes } from "./notes.ts";
import type { BodyTemplate, HeaderTemplate, JsonTemplate, SenderRequest, Written, WrittenMap } from "./sender.ts";
import { isLiteral, parseTemplate, type Template } from "./template.ts";

export const REQUEST_KEYS = ["method", "url", "path", "headers", "json", "form", "text"] as const;
export const BODY_KEYS = ["json", "form", "text"] as const;
const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"] as const;
/** They belong to the connection. */
const OWN_HEADERS = new Set(
  ("accept-encoding connection content-length expect host keep-alive proxy-authenticate proxy-authorization " +
    "proxy-connection te trailer transfer-encoding upgrade").split(" "),
);
/** Names of headers and of a query under which a secret is sent. */
const SECRET_NAME = /(?:^|[-_.])(?:authorization|cookie|token|key|apikey|secret|password|passwd)$/i;
/** The same of fields, where a `loc-key` is none. */
const SECRET_FIELD = /(?:^|[-_.])(?:authorization|token|api[-_]?key|access[-_]?key|secret|password|passwd)$/i;

export type Address = Pick<SenderRequest, "origin" | "path" | "query">;

export class RequestReader {
  /** A template that was read holds `{token}`. */
  mentionsToken = false;
  /** Nothing can be sent without it. */
  needsToken = false;

  /** @param file a file name as one that begins at the config file's folder */
  constructor(private readonly notes: Notes, private readonly file: (name: string) => string) {}

  /** What stands at `above`, over what the sender says of all events. */
  request(written: WrittenMap, own: Written | undefined, above: readonly string[]): SenderRequest | null {
    if (own !== undefined && !isMap(own)) {
      this.problem(above, "expected what is sent, or null for nothing", "");
      return null;
    }
    const mine = own ?? {};
    this.notes.checkKeys(mine, REQUEST_KEYS, above);
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
      const template = this.template(field, [...path, name]);
      this.checkSecret(name, template, [...path, name]);
      fields.push([name, template]);
    }
    return { kind, fields };
  }

  private json(value: Written, path: readonly string[]): JsonTemplate {
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

  /** `own` over `all`, by name; null takes one away. */
  headers(
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
      this.notes.checkKeys(value, ["file"], path);
      const name = this.text(value.file, [...path, "file"]);
      if (name === "") this.problem(path, "names no file", "write { file: NAME }");
      return { file: this.file(name) };
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

  url(value: Written | undefined, path: readonly string[]): Address {
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
  urlParts(text: string, path: readonly string[], offset = 0): Omit<Address, "origin"> {
    // deno-lint-ignore no-control-regex
    const odd = /[\x00-\x20\x7f\\]/.exec(text);
    if (odd !== null) this.problem(path, "a URL holds no spaces and no backslashes", "", offset + odd.index);
    const hash = text.indexOf("#");
    if (hash !== -1) this.problem(path, "a part behind # is never sent", "remove it", offset + hash);
    const mark = queryAt(text);
    const before = this.template(text.slice(0, mark), path, offset);
    const query = this.template(text.slice(mark + 1), path, offset + mark + 1);
    const optional = [...before, ...query].find((part) => typeof part !== "string" && part.isOptional);
    if (optional !== undefined) {
      this.problem(
        path,
        "a part of a URL cannot be left out",
        "remove the ? of the placeholder",
        offset + text.indexOf("?}"),
      );
    }
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

  private checkSecret(name: string, template: Template, path: readonly string[]): void {
    if (!SECRET_FIELD.test(name) || !isLiteral(template) || template.length === 0) return;
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
    return this.notes.text(value, path);
  }

  private problem(path: readonly string[], message: string, hint: string, at?: number | "key", length = 1): undefined {
    return this.notes.problem(path, message, hint, at, length);
  }
}

/** Where the question mark before the query stands, or would: that of `{name?}` is none. */
function queryAt(text: string): number {
  let isInside = false;
  for (let at = 0; at < text.length; at++) {
    const char = text.charAt(at);
    if (char === "{") isInside = true;
    else if (char === "}") isInside = false;
    else if (char === "?" && !isInside) return at;
  }
  return text.length;
}

function isDots(segment: string): boolean {
  return /^(?:\.|%2e){1,2}$/i.test(segment);
}

function hasControl(text: string): boolean {
  // deno-lint-ignore no-control-regex
  return /[\x00-\x1f\x7f]/.test(text);
}
