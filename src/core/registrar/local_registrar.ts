/**
 * Registrar mode: latefork is itself the registrar. Trusted sources are answered without a transaction: a
 * REGISTER that comes again with the CSeq it had changes nothing and gets the same answer.
 */
import type { Clock } from "../clock.ts";
import type { Flow } from "../sip/flow.ts";
import { AUTHORIZATION, PATH, PROXY_AUTHORIZATION, REQUIRE, SUPPORTED, VIA } from "../sip/header.ts";
import type { Message } from "../sip/message.ts";
import { parseNameAddr } from "../sip/name_addr.ts";
import type { Port } from "../port.ts";
import { receivedVia, responseTo } from "../sip/response.ts";
import { statelessTag } from "../sip/hash.ts";
import { reasonPhrase } from "../sip/reason.ts";
import { aorOf, canonicalUser, uriParam } from "../sip/uri.ts";
import type { ServerTransaction } from "../transaction/server.ts";
import type { Usrloc } from "../usrloc/usrloc.ts";
import { type Applied, type ContactWriter, NO_ORDER } from "./contact_writer.ts";
import { grantedCaps } from "./push_support.ts";
import type { Authenticator } from "./authenticator.ts";
import {
  type DeviceHintReader,
  isProblem,
  readRegister,
  type RegisterRequest,
  type WantedContact,
} from "./register.ts";
import { contactLines } from "./reply_contacts.ts";
import { askedSeconds, type RegistrarUser } from "./settings.ts";
import type { UserDirectory } from "./users.ts";

/** Answer to a REGISTER: status, reason, header lines. */
interface Answer {
  status: number;
  reason: string;
  lines: string;
  applied: Applied | null;
}

/** Who digest says it is. */
interface ProvenUser {
  user: string;
  realm: string;
}

/** Extensions a registrar is asked to understand (RFC 3327, RFC 5626). */
const KNOWN_EXTENSIONS = new Set(["path", "outbound"]);

/** What the registrar stands on. */
export interface LocalRegistrarParts {
  readonly port: Port;
  readonly clock: Clock;
  readonly usrloc: Usrloc;
  readonly writer: ContactWriter;
  readonly hints: DeviceHintReader;
  /** True for domains whose users are ours. */
  readonly isOurDomain: (host: string) => boolean;
}

export class LocalRegistrar {
  private readonly port: Port;
  private readonly clock: Clock;
  private readonly usrloc: Usrloc;
  private readonly writer: ContactWriter;
  private readonly hints: DeviceHintReader;
  private readonly isOurDomain: (host: string) => boolean;

  /** @param authenticator null: there are no users, so no password is checked */
  constructor(
    parts: LocalRegistrarParts,
    private readonly user: RegistrarUser,
    private authenticator: Authenticator | null,
  ) {
    this.port = parts.port;
    this.clock = parts.clock;
    this.usrloc = parts.usrloc;
    this.writer = parts.writer;
    this.hints = parts.hints;
    this.isOurDomain = parts.isOurDomain;
  }

  /** The users file was read again. Nonces and their counts stay, so that nothing can be replayed. */
  setUsers(users: UserDirectory | null, fresh: () => Authenticator | null): void {
    if (users !== null && this.authenticator !== null) this.authenticator.setUsers(users);
    else this.authenticator = fresh();
  }

  /**
   * A REGISTER of a trusted source: processed and answered without a transaction.
   * @param replyFlow where the answer goes; null: nowhere
   */
  registerTrusted(message: Message, flow: Flow, replyFlow: Flow | null): void {
    const answer = this.judge(message, flow, null);
    const toTag = message.to.tag === "" ? statelessTag(message) : "";
    const phrase = answer.reason === "" ? reasonPhrase(answer.status) : answer.reason;
    const wire = responseTo(message, answer.status, phrase, receivedVia(message, flow), toTag, answer.lines);
    if (replyFlow !== null) this.port.sendDurable(replyFlow, wire);
    this.resume(answer.applied, this.clock.nowMs);
  }

  /** A REGISTER that needs digest. */
  onRegister(server: ServerTransaction): void {
    const { request, flow } = server;
    const who = this.authenticate(server);
    if (who === null) return;
    const arrivedAtMs = this.clock.nowMs;
    const answer = this.judge(request, flow, who);
    server.respond(answer.status, answer.reason, answer.lines, true);
    this.resume(answer.applied, arrivedAtMs);
  }

  /** Calls between local users need digest (F-06); answered 407 here if it is missing or wrong. */
  authorize(server: ServerTransaction): boolean {
    const who = this.authenticate(server);
    if (who === null) return false;
    const from = server.request.from.uri!;
    if (!this.isOurDomain(from.host) || this.isSelf(who, canonicalUser(from.user), from.host)) return true;
    this.port.count("rejected_total", "foreign_from");
    server.respond(403, "From is not your address of record");
    return false;
  }

  /** True if the proven user is the user of this AoR: the name alone says nothing where another domain has it too. */
  private isSelf(who: ProvenUser, user: string, domain: string): boolean {
    if (canonicalUser(who.user) !== user) return false;
    const realm = who.realm.toLowerCase();
    const realms = this.authenticator!.realms.map((ours) => ours.toLowerCase());
    return realm === domain || (!realms.includes(domain) && realm === realms[0]);
  }

  private authenticate(server: ServerTransaction): ProvenUser | null {
    const { request } = server;
    const isRegister = request.method === "REGISTER";
    if (this.authenticator === null) {
      this.port.count("rejected_total", "no_users");
      server.respondOnce(403, "No users and no trusted sources are configured");
      return null;
    }
    const values = request.values(isRegister ? AUTHORIZATION : PROXY_AUTHORIZATION);
    const verdict = this.authenticator.verify(values, request.method, request.uri!.text, this.clock.nowMs);
    if (verdict.failed.length > 0) this.user.onLoginFailed(server.flow, verdict.failed);
    if (verdict.ok) return verdict;
    const identity = (isRegister ? request.to : request.from).uri!;
    const challenge = this.authenticator.challenge({
      method: request.method,
      user: verdict.user === "" ? identity.user : verdict.user,
      domain: identity.host,
      nowMs: this.clock.nowMs,
      salt: this.port.token(12),
      isStale: verdict.stale,
    });
    if (verdict.reason !== "missing") {
      this.port.count("rejected_total", "auth_" + verdict.reason);
      this.port.log("info", `Digest refused: ${verdict.reason}`, { aor: aorOf(identity), flow: server.flow.key });
    }
    // Nothing is known of who asks: no state is kept for him.
    server.respondOnce(
      challenge.status,
      "",
      challenge.values.map((value) => challenge.header + ": " + value + "\r\n").join(""),
    );
    return null;
  }

  /** @param who proved to be; null: the source is trusted with everybody */
  private judge(message: Message, flow: Flow, who: ProvenUser | null): Answer {
    if (message.has(REQUIRE)) {
      const unknown = (message.list(REQUIRE) ?? []).filter((tag) => !KNOWN_EXTENSIONS.has(tag.toLowerCase()));
      if (unknown.length > 0) return this.refused(420, "", message, flow, `Unsupported: ${unknown.join(", ")}\r\n`);
    }
    const request = readRegister(message, this.hints, this.writer.repeatable);
    if (isProblem(request)) return this.refused(request.status, request.reason, message, flow);
    if (!this.isOurDomain(request.domain)) {
      return this.refused(404, `Domain ${request.domain} is not served here`, message, flow);
    }
    if (who !== null && !this.isSelf(who, request.user, request.domain)) {
      return this.refused(403, "Not your address of record", message, flow);
    }
    // Before the general minimum: a phone told that one would be told this one next.
    const push = this.writer.pushAnswer(request);
    if (push.status !== 0) return this.refused(push.status, "", message, flow, push.lines);
    const { settings } = this.writer;
    const { minExpires, defaultExpires } = settings;
    const grants: number[] = [];
    for (const wanted of request.contacts) {
      const asked = wanted.expires ?? defaultExpires;
      if (asked !== 0 && asked < minExpires) {
        return this.refused(423, "", message, flow, `Min-Expires: ${minExpires}\r\n`);
      }
      grants.push(askedSeconds(wanted.expires, settings));
    }
    if (this.writer.isFull(request)) return this.refused(403, "Too many devices", message, flow);
    const outbound = outboundOf(message, request);
    if (outbound === "first hop lacks it") return this.refused(439, "First Hop Lacks Outbound Support", message, flow);
    if (this.hasOlderCseq(request)) return this.refused(400, "CSeq is lower than that of the binding", message, flow);
    const applied = this.writer.apply(request, grants, flow, NO_ORDER);
    let lines = this.replyLines(request, applied);
    lines += grantedCaps(
      push.offers,
      applied.listed,
      this.clock.nowMs,
      this.writer.settings,
      (device) => this.user.purrOf(device),
    );
    if (outbound === "applied") {
      // RFC 5626 §4.4: over UDP the default of 24 to 29 s keeps NATs open, which a longer Flow-Timer would not.
      lines += "Require: outbound\r\nSupported: path, outbound\r\n" +
        (flow.isReliable ? `Flow-Timer: ${Math.round(this.writer.settings.idleMs / 1000)}\r\n` : "");
    }
    return { status: 200, reason: "", lines, applied };
  }

  private hasOlderCseq(request: RegisterRequest): boolean {
    const aor = this.usrloc.find(request.aorKey);
    for (const wanted of request.contacts) {
      if (this.writer.isOlder(this.writer.known(aor, wanted), request)) return true;
    }
    return false;
  }

  private replyLines(request: RegisterRequest, applied: Applied): string {
    const isFetch = request.contacts.length === 0 && !request.isWildcard;
    const all = this.usrloc.find(request.aorKey)?.contacts ?? [];
    const lines = contactLines(
      isFetch || this.writer.settings.repliesWithAll ? all : applied.listed,
      applied.listed,
      this.clock.nowMs,
    );
    this.port.count("registrations_total", isFetch ? "fetched" : applied.listed.length > 0 ? "accepted" : "removed");
    return request.path === "" ? lines : lines + "Path: " + request.path + "\r\n";
  }

  private resume(applied: Applied | null, arrivedAtMs: number): void {
    if (applied === null) return;
    for (const contact of applied.saved) {
      if (!contact.isRegistered) continue;
      this.port.event({ type: "registration", state: "registered", aor: contact.aor.key, device: contact.id });
      this.user.onRegistered(contact, arrivedAtMs);
    }
  }

  private refused(status: number, reason: string, message: Message, flow: Flow, lines = ""): Answer {
    this.port.count("registrations_total", "refused");
    this.port.log("info", `REGISTER refused: ${status} ${reason}`.trimEnd(), {
      aor: message.to.uri === null ? message.to.uriText : aorOf(message.to.uri),
      flow: flow.key,
    });
    return { status, reason, lines, applied: null };
  }
}

function isFlowBinding({ regId, expires }: WantedContact): boolean {
  return regId > 0 && expires !== 0;
}

/** RFC 5626 §6: what its rules make of this REGISTER. A phone that is connected to us itself is never turned away. */
function outboundOf(message: Message, request: RegisterRequest): "applied" | "not asked for" | "first hop lacks it" {
  if (!request.contacts.some(isFlowBinding)) return "not asked for";
  if (!(message.list(SUPPORTED) ?? []).some((tag) => tag.toLowerCase() === "outbound")) return "not asked for";
  if ((message.list(VIA) ?? []).length < 2) return "applied";
  // The last Path is that of the first hop.
  const edge = parseNameAddr((message.list(PATH) ?? []).at(-1) ?? "");
  const hasOb = edge !== null && edge.uri !== null && uriParam(edge.uri, "ob") !== undefined;
  return hasOb ? "applied" : "first hop lacks it";
}
