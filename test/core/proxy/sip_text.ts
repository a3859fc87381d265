/**
 * Real SIP text for the tests of the proxy: requests, the answers to them, the requests of the dialogs they make. Reads
 * messages with a reader of its own, so that the product's parser is not its own witness.
 */

export type Headers = [name: string, value: string][];

let counter = 0;

/** Values of a header, long or compact name, one entry a list element of Via, Route, Record-Route and Contact. */
export function values(text: string, name: string): string[] {
  const compact: Record<string, string> = { via: "v", from: "f", to: "t", "call-id": "i", contact: "m" };
  const wanted = [name.toLowerCase(), compact[name.toLowerCase()]];
  const lines = text.slice(0, text.indexOf("\r\n\r\n")).split("\r\n").slice(1);
  const found = lines.filter((line) => wanted.includes(line.slice(0, line.indexOf(":")).trim().toLowerCase()))
    .map((line) => line.slice(line.indexOf(":") + 1).trim());
  if (!["via", "route", "record-route", "contact"].includes(name.toLowerCase())) return found;
  return found.flatMap((value) => value.split(/,(?![^<]*>)/).map((part) => part.trim()));
}

/** The one value of a header; `""` if there is none. */
export function value(text: string, name: string): string {
  return values(text, name)[0] ?? "";
}

export function startLine(text: string): string {
  return text.slice(0, text.indexOf("\r\n"));
}

/** 0 for a request. */
export function statusOf(text: string): number {
  return text.startsWith("SIP/2.0 ") ? Number(text.slice(8, 11)) : 0;
}

export function methodOf(text: string): string {
  return text.startsWith("SIP/2.0 ") ? "" : text.slice(0, text.indexOf(" "));
}

export function requestUri(text: string): string {
  return startLine(text).split(" ")[1]!;
}

export function branchOf(text: string): string {
  return /;branch=([^;,\s]+)/.exec(value(text, "Via"))![1]!;
}

/** The URI between angle brackets. */
export function uriIn(text: string): string {
  return /<([^>]*)>/.exec(text)?.[1] ?? text;
}

export interface RequestOptions {
  /** Sent-by of Via. */
  sentBy?: string;
  transport?: string;
  branch?: string;
  /** `;rport` and the like behind the branch. */
  viaParams?: string;
  from?: string;
  to?: string;
  callId?: string;
  cseq?: number;
  contact?: string;
  /** One Route line each. */
  route?: string[];
  /** Omitted where null. */
  maxForwards?: string | null;
  headers?: Headers;
  body?: string;
}

/** A request as a UA would send it. */
export function request(method: string, uri: string, options: RequestOptions = {}): string {
  const id = ++counter;
  const from = options.from ?? "<sip:alice@example.org>;tag=from" + id;
  const body = options.body ?? "";
  let text = `${method} ${uri} SIP/2.0\r\n` +
    `Via: SIP/2.0/${options.transport ?? "UDP"} ${options.sentBy ?? "192.0.2.9:5060"};branch=${
      options.branch ?? "z9hG4bKtest" + id
    }${options.viaParams ?? ";rport"}\r\n`;
  for (const route of options.route ?? []) text += `Route: ${route}\r\n`;
  if (options.maxForwards !== null) text += `Max-Forwards: ${options.maxForwards ?? "70"}\r\n`;
  text += `From: ${from}\r\nTo: ${options.to ?? `<${uri}>`}\r\nCall-ID: ${options.callId ?? "call-" + id}\r\n` +
    `CSeq: ${options.cseq ?? 1} ${method}\r\n`;
  if (options.contact !== undefined) text += `Contact: ${options.contact}\r\n`;
  for (const [name, text2] of options.headers ?? []) text += `${name}: ${text2}\r\n`;
  return text + `Content-Length: ${body.length}\r\n\r\n${body}`;
}

/** An answer as a UA would make it: all Via, Record-Route, From, To with tag, Call-ID, CSeq. */
export function answer(
  requestText: string,
  status: number,
  options: { tag?: string; contact?: string; headers?: Headers; via?: string[] } = {},
): string {
  const to = value(requestText, "To");
  const tag = status === 100 || /;tag=/.test(to) ? "" : `;tag=${options.tag ?? "uas"}`;
  let text = `SIP/2.0 ${status} Whatever\r\n`;
  for (const via of options.via ?? values(requestText, "Via")) text += `Via: ${via}\r\n`;
  for (const route of values(requestText, "Record-Route")) text += `Record-Route: ${route}\r\n`;
  text += `From: ${value(requestText, "From")}\r\nTo: ${to}${tag}\r\nCall-ID: ${value(requestText, "Call-ID")}\r\n` +
    `CSeq: ${value(requestText, "CSeq")}\r\n`;
  if (options.contact !== undefined) text += `Contact: ${options.contact}\r\n`;
  for (const [name, text2] of options.headers ?? []) text += `${name}: ${text2}\r\n`;
  return text + "Content-Length: 0\r\n\r\n";
}

/** One side of a dialog: what its further requests are made of (RFC 3261 §12). */
export interface DialogSide {
  target: string;
  route: string[];
  local: string;
  remote: string;
  callId: string;
}

/** The caller's side, from his INVITE and the 2xx he got. */
export function callerSide(invite: string, ok: string): DialogSide {
  return {
    target: uriIn(value(ok, "Contact")),
    route: values(ok, "Record-Route").reverse(),
    local: value(invite, "From"),
    remote: value(ok, "To"),
    callId: value(invite, "Call-ID"),
  };
}

/** The callee's side, from the INVITE he got and the 2xx he sent. */
export function calleeSide(invite: string, ok: string): DialogSide {
  return {
    target: uriIn(value(invite, "Contact")),
    route: values(invite, "Record-Route"),
    local: value(ok, "To"),
    remote: value(invite, "From"),
    callId: value(invite, "Call-ID"),
  };
}

/** A request inside a dialog. */
export function inDialog(method: string, side: DialogSide, options: RequestOptions = {}): string {
  return request(method, side.target, {
    from: side.local,
    to: side.remote,
    callId: side.callId,
    cseq: method === "ACK" ? 1 : 2,
    route: side.route,
    ...options,
  });
}
