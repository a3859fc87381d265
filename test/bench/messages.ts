/**
 * The SIP text of the load: what its phones and its PBX say, and the little they must read. Deliberately not the
 * product's own parser and writer: a load that shares their bugs would not see them. Knows no socket and no clock.
 */

/** Who speaks: the address is always loopback. */
export interface Party {
  readonly port: number;
}

const SDP = "v=0\r\no=bench 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n" +
  "m=audio 6000 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n";

/** The user part of a user: eight digits, whatever its number. */
function nameOf(user: number): string {
  return `u${String(user).padStart(8, "0")}`;
}

/** What makes the ids of one load unlike those of every other. */
let run = "0";
let mark = Buffer.from("0.");

/** @param id letters and digits; to be set before anything is written */
export function setRun(id: string): void {
  run = id;
  mark = Buffer.from(`${id}.`);
}

/**
 * A REGISTER as a mobile phone with push sends it.
 * @param device `a` or `b`: two devices of the user
 * @param operation comes back from {@link operationOf}
 */
export function register(phone: Party, device: string, user: number, operation: number, cseq: number): string {
  const name = nameOf(user);
  const number = name.slice(1);
  return `REGISTER sip:127.0.0.1 SIP/2.0\r\n` +
    `Via: SIP/2.0/UDP 127.0.0.1:${phone.port};branch=z9hG4bK${run}.${operation}.${device};rport\r\n` +
    `Max-Forwards: 70\r\n` +
    `From: <sip:${name}@127.0.0.1>;tag=${run}${operation}\r\n` +
    `To: <sip:${name}@127.0.0.1>\r\n` +
    `Call-ID: r${number}${device}@bench\r\n` +
    `CSeq: ${cseq} REGISTER\r\n` +
    `Contact: <sip:${name}@127.0.0.1:${phone.port};pn-provider=apns;pn-param=TEAM.org.example.phone.voip;` +
    `pn-prid=${number}00fc13adff785122b4${device}>;` +
    `+sip.instance="<urn:uuid:${number}-0000-1000-8000-0000000000${device}0>"\r\n` +
    `User-Agent: Bench/1.0\r\n` +
    `Allow: INVITE, ACK, CANCEL, BYE, OPTIONS\r\n` +
    `Supported: path, outbound\r\n` +
    `Expires: 3600\r\n` +
    `Content-Length: 0\r\n\r\n`;
}

/**
 * REGISTERs of one device, written over a template: the load of registrations must not be busier with its own memory
 * than the server it loads, with which it shares the processor's cache.
 */
export class RegisterTemplate {
  private readonly bytes: Buffer;
  private readonly users: number[];
  private readonly operations: number[];
  private readonly cseqs: number[];

  constructor(phone: Party, device: string) {
    const user = 11_111_111;
    const operation = 22_222_222;
    const cseq = 33_333_333;
    this.bytes = Buffer.from(register(phone, device, user, operation, cseq), "latin1");
    this.users = placesOf(this.bytes, String(user));
    this.operations = placesOf(this.bytes, String(operation));
    this.cseqs = placesOf(this.bytes, String(cseq));
  }

  /** Writes one REGISTER; all numbers have eight digits. @returns its length */
  write(target: Buffer, at: number, user: number, operation: number, cseq: number): number {
    target.set(this.bytes, at);
    for (const place of this.users) writeDigits(target, at + place, user);
    for (const place of this.operations) writeDigits(target, at + place, operation);
    for (const place of this.cseqs) writeDigits(target, at + place, cseq);
    return this.bytes.length;
  }
}

function placesOf(bytes: Buffer, text: string): number[] {
  const places: number[] = [];
  for (let at = bytes.indexOf(text); at >= 0; at = bytes.indexOf(text, at + 1)) places.push(at);
  return places;
}

function writeDigits(target: Buffer, at: number, number: number): void {
  let left = number;
  for (let i = at + 7; i >= at; i--) {
    target[i] = 48 + left % 10;
    left = Math.floor(left / 10);
  }
}

/** What {@link operationOf} and {@link statusOf} say, without making a text of the datagram. */
export function answerOf(bytes: Buffer): { operation: number; status: number } | null {
  if (bytes[0] !== 83 || bytes[3] !== 47) return null;
  const start = bytes.indexOf(mark);
  if (start < 0) return null;
  let operation = 0;
  for (let i = start + mark.length; bytes[i]! >= 48 && bytes[i]! <= 57; i++) {
    operation = operation * 10 + bytes[i]! - 48;
  }
  return { operation, status: (bytes[8]! - 48) * 100 + (bytes[9]! - 48) * 10 + bytes[10]! - 48 };
}

/** The call number `operation` to a user. */
export function invite(pbx: Party, user: number, operation: number): string {
  return `INVITE sip:${nameOf(user)}@127.0.0.1 SIP/2.0\r\n` +
    callHeaders(pbx, user, operation, "INVITE") +
    `Contact: <sip:caller@127.0.0.1:${pbx.port}>\r\n` +
    `Content-Type: application/sdp\r\n` +
    `Content-Length: ${SDP.length}\r\n\r\n${SDP}`;
}

/** Gives up the call {@link invite} made. */
export function cancel(pbx: Party, user: number, operation: number): string {
  return `CANCEL sip:${nameOf(user)}@127.0.0.1 SIP/2.0\r\n${
    callHeaders(pbx, user, operation, "CANCEL")
  }Content-Length: 0\r\n\r\n`;
}

function callHeaders(pbx: Party, user: number, operation: number, method: string): string {
  return `Via: SIP/2.0/UDP 127.0.0.1:${pbx.port};branch=z9hG4bK${run}.${operation}.i;rport\r\n` +
    `Max-Forwards: 70\r\n` +
    `From: "Bench" <sip:caller@127.0.0.1>;tag=${run}${operation}\r\n` +
    `To: <sip:${nameOf(user)}@127.0.0.1>\r\n` +
    `Call-ID: ${run}.${operation}.call@bench\r\n` +
    `CSeq: 1 ${method}\r\n`;
}

/** A response to a request; `method` replaces that of the CSeq (487 to the INVITE a CANCEL names). */
export function response(
  request: string,
  status: string,
  party: Party,
  options: { hasSdp?: boolean; contact?: string; method?: string } = {},
): string {
  const to = line(request, "To");
  const cseq = options.method === undefined
    ? line(request, "CSeq")
    : line(request, "CSeq").replace(/[A-Z]+$/, options.method);
  return `SIP/2.0 ${status}\r\n` + lines(request, "Via", "Via") + lines(request, "Record-Route", "Record-Route") +
    `From:${line(request, "From")}\r\n` +
    `To:${to}${to.includes(";tag=") ? "" : `;tag=phone${party.port}`}\r\n` +
    `Call-ID:${line(request, "Call-ID")}\r\n` +
    `CSeq:${cseq}\r\n` +
    (options.contact === undefined ? "" : `Contact:${options.contact}\r\n`) +
    (options.hasSdp
      ? `Contact: <sip:phone@127.0.0.1:${party.port}>\r\nContent-Type: application/sdp\r\n` +
        `Content-Length: ${SDP.length}\r\n\r\n${SDP}`
      : "Content-Length: 0\r\n\r\n");
}

/** ACK or BYE of the caller along the route set of a 2xx; null if the 2xx has no Contact. */
export function inDialog(accepted: string, method: "ACK" | "BYE", pbx: Party): string | null {
  const contact = line(accepted, "Contact");
  const uri = contact.slice(contact.indexOf("<") + 1, contact.indexOf(">"));
  if (uri === "") return null;
  let routes = "";
  for (let at = accepted.indexOf("\r\nRecord-Route:"); at >= 0; at = accepted.indexOf("\r\nRecord-Route:", at + 1)) {
    const value = accepted.slice(at + 15, accepted.indexOf("\r\n", at + 15));
    for (const route of value.split(",")) routes = `Route: ${route.trim()}\r\n${routes}`;
  }
  return `${method} ${uri} SIP/2.0\r\n` +
    `Via: SIP/2.0/UDP 127.0.0.1:${pbx.port};branch=z9hG4bK${run}.${operationOf(accepted)}.${method};rport\r\n` +
    routes +
    `Max-Forwards: 70\r\n` +
    `From:${line(accepted, "From")}\r\n` +
    `To:${line(accepted, "To")}\r\n` +
    `Call-ID:${line(accepted, "Call-ID")}\r\n` +
    `CSeq: ${method === "ACK" ? 1 : 2} ${method}\r\n` +
    `Content-Length: 0\r\n\r\n`;
}

/** The caller's ACK to a refusal. */
export function refusalAck(refused: string, pbx: Party, user: number, operation: number): string {
  return `ACK sip:${nameOf(user)}@127.0.0.1 SIP/2.0\r\n` +
    `Via: SIP/2.0/UDP 127.0.0.1:${pbx.port};branch=z9hG4bK${run}.${operation}.i;rport\r\n` +
    `Max-Forwards: 70\r\n` +
    `From:${line(refused, "From")}\r\n` +
    `To:${line(refused, "To")}\r\n` +
    `Call-ID:${line(refused, "Call-ID")}\r\n` +
    `CSeq: 1 ACK\r\n` +
    `Content-Length: 0\r\n\r\n`;
}

/** The number of the operation a message belongs to, as its ids carry it; -1 if it is not of this run. */
export function operationOf(message: string): number {
  const start = message.indexOf(`${run}.`);
  return start < 0 ? -1 : numberAt(message, start + run.length + 1);
}

/** Status of a response, 0 for a request. */
export function statusOf(message: string): number {
  return message.startsWith("SIP/2.0 ") ? numberAt(message, 8) : 0;
}

/** Method of a response's CSeq. */
export function cseqMethod(message: string): string {
  const cseq = line(message, "CSeq");
  return cseq.slice(cseq.lastIndexOf(" ") + 1);
}

/** Value of the first header line of a name, the space before it included; empty if there is none. */
export function line(message: string, name: string): string {
  const at = message.indexOf(`\r\n${name}:`);
  if (at < 0) return "";
  const start = at + name.length + 3;
  return message.slice(start, message.indexOf("\r\n", start));
}

function lines(message: string, name: string, as: string): string {
  const mark = `\r\n${name}:`;
  let found = "";
  for (let at = message.indexOf(mark); at >= 0; at = message.indexOf(mark, at + 1)) {
    const start = at + mark.length;
    found += `${as}:${message.slice(start, message.indexOf("\r\n", start))}\r\n`;
  }
  return found;
}

function numberAt(text: string, at: number): number {
  let value = 0;
  for (let i = at; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return i === at ? -1 : value;
    value = value * 10 + digit;
  }
  return value;
}
