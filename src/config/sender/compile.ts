/**
 * A sender as it is written → as it is used, or what is wrong with it and where (P-10). Lays the admin's keys over those
 * of a preset first. Must not know YAML or places in a file: a problem names its key.
 */
import { didYouMean, quoted } from "../parsed.ts";
import { answersOf } from "./answers.ts";
import { isMap, Notes, type ReportSender } from "./notes.ts";
import { PRESETS } from "./presets.ts";
import { BODY_KEYS, REQUEST_KEYS, RequestReader } from "./request.ts";
import {
  type HeaderTemplate,
  SENDER_EVENTS,
  type SenderConfig,
  type SenderEvent,
  type SenderRequest,
  type Written,
  type WrittenMap,
} from "./sender.ts";
import type { Template } from "./template.ts";

/** What is read of a value as everywhere in the config: a duration in ms, a file name made absolute. */
export interface SenderValues {
  /** Ms, or undefined after its problem was reported. */
  duration(text: string, path: readonly string[]): number | undefined;
  file(text: string): string;
}

const SENDER_KEYS = ["preset", ...REQUEST_KEYS, "token_file", "wake_url", "timeout", "ask", "events", "answers"];
/** What is sent where an event has no words of its own. */
const STANDS_FOR: Readonly<Partial<Record<SenderEvent, SenderEvent>>> = { test: "call", answered_elsewhere: "cancel" };
const DEFAULT_TIMEOUT_MS = 5000;

/** The sender, or undefined after at least one problem was reported. */
export function compileSender(own: WrittenMap, values: SenderValues, report: ReportSender): SenderConfig | undefined {
  return new Compiler(own, values, report).sender();
}

class Compiler {
  private readonly notes: Notes;
  private readonly requests: RequestReader;

  constructor(
    private readonly own: WrittenMap,
    private readonly values: SenderValues,
    report: ReportSender,
  ) {
    this.notes = new Notes(report);
    this.requests = new RequestReader(this.notes, (name) => values.file(name));
  }

  sender(): SenderConfig | undefined {
    this.notes.checkKeys(this.own, SENDER_KEYS, []);
    const preset = this.notes.text(this.own.preset, ["preset"]);
    const base = preset === "" ? {} : this.preset(preset);
    if (base === undefined) return undefined;
    this.checkBodies(base);
    const written = layered(base, this.own);
    if (written.url === undefined) this.notes.problem(["url"], "is missing", "write the https:// URL of the service");
    const events = this.events(written);
    const tokenFile = this.notes.text(written.token_file, ["token_file"]);
    const sender: SenderConfig = {
      written: withFiles(written, (name) => this.values.file(name)),
      preset,
      origin: this.requests.url(written.url, ["url"]).origin,
      token_file: tokenFile === "" ? "" : this.values.file(tokenFile),
      wake_url: this.wakeUrl(written.wake_url),
      timeout: this.timeout(written.timeout),
      events,
      answers: answersOf(written.answers, this.notes),
      ask: this.ask(written),
    };
    if (this.requests.needsToken && sender.token_file === "") {
      this.notes.problem(["token_file"], "is missing: {token} stands in this sender", "name the file that holds it");
    }
    return this.notes.hasProblems ? undefined : sender;
  }

  private preset(name: string): WrittenMap | undefined {
    if (Object.hasOwn(PRESETS, name)) return PRESETS[name];
    const names = Object.keys(PRESETS);
    const near = didYouMean(name, names, `there are ${names.join(", ")}`);
    return this.notes.problem(["preset"], `unknown preset ${quoted(name)}`, near);
  }

  /** A body for all events says nothing where each of the preset's events has its own. */
  private checkBodies(base: WrittenMap): void {
    if (!isMap(base.events)) return;
    for (const kind of BODY_KEYS) {
      if (this.own[kind] === undefined) continue;
      const near = `write it below events, for instance events: { call: { ${kind}: … } }`;
      this.notes.problem([kind], "each event of the preset has a body of its own", near, "key");
    }
  }

  private events(written: WrittenMap): Record<SenderEvent, SenderRequest | null> {
    const given = written.events === undefined || written.events === null ? {} : written.events;
    const events = {} as Record<SenderEvent, SenderRequest | null>;
    const requests = isMap(given) ? given : {};
    if (!isMap(given)) this.notes.problem(["events"], "expected a mapping of events", "");
    for (const name of Object.keys(requests)) {
      if ((SENDER_EVENTS as readonly string[]).includes(name)) continue;
      const near = didYouMean(name, SENDER_EVENTS, `there are ${SENDER_EVENTS.join(", ")}`);
      this.notes.problem(["events", name], "nobody sends such an event", near, "key");
    }
    for (const event of SENDER_EVENTS) {
      const name = requests[event] === undefined ? STANDS_FOR[event] ?? event : event;
      events[event] = requests[name] === null ? null : this.requests.request(written, requests[name], ["events", name]);
    }
    if (!this.requests.mentionsToken && written.token_file !== undefined) this.authorize(events);
    return events;
  }

  /** A token that no template mentions is a bearer token. */
  private authorize(events: Record<SenderEvent, SenderRequest | null>): void {
    for (const event of SENDER_EVENTS) {
      const request = events[event];
      if (request !== null) events[event] = { ...request, headers: withBearer(request.headers) };
    }
  }

  private ask(written: WrittenMap): SenderRequest | null {
    const question = this.notes.text(written.ask, ["ask"]);
    if (question === "") return null;
    const url = this.requests.url(written.url, ["url"]);
    const parts = this.requests.urlParts(question, ["ask"]);
    const isFixed = (template: Template) =>
      template.every((part) => typeof part === "string" || part.names.join() === "token");
    if (!isFixed(parts.path) || !isFixed(parts.query)) {
      this.notes.problem(["ask"], "nothing but {token} is known where no phone is", "");
    }
    const headers = this.requests.headers(written.headers, ["headers"], undefined, []).filter(([name, value]) =>
      !name.startsWith("content-") && (!Array.isArray(value) || isFixed(value as Template))
    );
    const hasToken = written.token_file !== undefined && !this.requests.mentionsToken;
    return {
      method: "GET",
      origin: url.origin,
      path: parts.path,
      query: parts.query,
      headers: hasToken ? withBearer(headers) : headers,
      body: { kind: "none" },
    };
  }

  private wakeUrl(value: Written | undefined): string {
    const text = this.notes.text(value, ["wake_url"]);
    if (text === "") return "";
    const isFit = /^[A-Za-z][A-Za-z0-9+.-]*:[\x21-\x7e]*$/.test(text) && text.length <= 512;
    if (!isFit) this.notes.problem(["wake_url"], `${quoted(text)} is no link`, "for instance linphone://");
    else if (/[{}]/.test(text)) this.notes.problem(["wake_url"], "a link holds no placeholders", "");
    return text;
  }

  private timeout(value: Written | undefined): number {
    if (value === undefined || value === null) return DEFAULT_TIMEOUT_MS;
    const ms = this.values.duration(String(value), ["timeout"]);
    // The problem is told by who reads durations.
    if (ms === undefined) this.notes.isTold(["timeout"]);
    return ms ?? DEFAULT_TIMEOUT_MS;
  }
}

/** File names as they are used: what is shown may be loaded from another folder. */
function withFiles(written: WrittenMap, file: (name: string) => string): WrittenMap {
  const result: Record<string, Written> = Object.assign(Object.create(null), written);
  if (typeof written.token_file === "string") result.token_file = file(written.token_file);
  if (isMap(written.headers)) result.headers = mapped(written.headers, (value) => fileOf(value, file));
  if (isMap(written.events)) {
    result.events = mapped(written.events, (event) => isMap(event) ? withFiles(event, file) : event);
  }
  return result;
}

function fileOf(value: Written, file: (name: string) => string): Written {
  return isMap(value) && typeof value.file === "string" ? { file: file(value.file) } : value;
}

function mapped(map: WrittenMap, change: (value: Written) => Written): WrittenMap {
  const result: Record<string, Written> = Object.create(null);
  for (const [name, value] of Object.entries(map)) result[name] = change(value);
  return result;
}

function withBearer(headers: readonly HeaderTemplate[]): readonly HeaderTemplate[] {
  if (headers.some(([name]) => name === "authorization")) return headers;
  return [...headers, ["authorization", ["Bearer ", { names: ["token"], isOptional: false }]]];
}

/**
 * The admin's keys over those of the preset: mappings field by field, everything else as a whole. Of two kinds of body the
 * admin's is meant.
 */
export function layered(base: WrittenMap, own: WrittenMap): WrittenMap {
  const { preset: _preset, events: ownEvents, ...request } = own;
  const result: Record<string, Written> = Object.assign(Object.create(null), overRequest(base, request));
  const events = base.events;
  if (ownEvents === undefined) return result;
  if (!isMap(ownEvents) || events === undefined || !isMap(events)) return { ...result, events: ownEvents };
  const merged: Record<string, Written> = Object.assign(Object.create(null), events);
  for (const [name, value] of Object.entries(ownEvents)) {
    const below = merged[name];
    merged[name] = isMap(value) && isMap(below) ? overRequest(below, value) : value;
  }
  return { ...result, events: merged };
}

function overRequest(base: WrittenMap, own: WrittenMap): WrittenMap {
  const hasBody = BODY_KEYS.some((kind) => own[kind] !== undefined);
  const kept = Object.entries(base).filter(([name]) => {
    return !hasBody || own[name] !== undefined || !(BODY_KEYS as readonly string[]).includes(name);
  });
  return over(Object.fromEntries(kept), own);
}

/** Field by field, as deep as both are mappings. */
function over(base: WrittenMap, own: WrittenMap): WrittenMap {
  const result: Record<string, Written> = Object.assign(Object.create(null), base);
  for (const [name, value] of Object.entries(own)) {
    const below = result[name];
    result[name] = isMap(value) && isMap(below) ? over(below, value) : value;
  }
  return result;
}
