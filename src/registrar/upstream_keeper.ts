/**
 * Keeping the PBX's binding alive while phones sleep: REGISTERs of our own where `pbx.credentials_file` has the
 * user or the PBX trusts us, as long as a device of the AoR can be reached or woken. Owns their timing, digest session
 * and back-off; what the PBX grants is written like any other grant.
 *
 *   waiting ─due→ asking ─2xx→ waiting (ok)      asking ─401, 407→ asking with credentials
 *   asking ─423→ asking for more                asking ─anything else, no answer→ waiting (failing, back-off)
 */
import type { Clock } from "../sip/clock.ts";
import { DigestSession, parseChallenges } from "../sip/digest.ts";
import { MIN_EXPIRES, PROXY_AUTHENTICATE, RETRY_AFTER, WWW_AUTHENTICATE } from "../sip/header.ts";
import type { Message } from "../sip/message.ts";
import type { ClientOwner } from "../transaction/client.ts";
import type { Due } from "../transaction/deadline.ts";
import type { Aor } from "../usrloc/model.ts";
import type { Usrloc } from "../usrloc/usrloc.ts";
import type { MidRegistrar } from "./mid_registrar.ts";
import { ownRegister } from "./own_register.ts";
import { expiresOf } from "./register.ts";
import { grantOf } from "./upstream_contact.ts";

/** Back-off: 5 s → 10 min, with jitter. */
const FIRST_RETRY_MS = 5_000;
const LAST_RETRY_MS = 600_000;
/** Challenges answered in one go: a fresh one and a stale one. */
const MAX_ANSWERS = 2;

/** What people are told of one binding. */
export interface KeeperState {
  state: "ok" | "failing";
  /** When the next REGISTER of ours goes, ms. */
  nextMs: number;
  /** Why the last one failed, in words; empty if it did not. */
  reason: string;
}

export class UpstreamKeeper {
  private readonly keeps = new Map<string, Keep>();

  constructor(readonly registrar: MidRegistrar, readonly usrloc: Usrloc, readonly clock: Clock) {}

  /** True if we can register for this user ourselves. */
  canKeep(user: string): boolean {
    const { settings, mode } = this.registrar;
    return mode !== "mirror" && (settings.trustsUs || settings.credentials(user) !== null);
  }

  /** The PBX granted a Contact of this AoR (or it was found at start): the next refresh is timed by it. */
  granted(aor: Aor, id: string): void {
    if (!this.canKeep(aor.user)) return;
    let keep = this.keeps.get(id);
    if (keep === undefined) this.keeps.set(id, keep = new Keep(this, aor.key, id));
    keep.rest();
  }

  stateOf(id: string): KeeperState | null {
    return this.keeps.get(id)?.state() ?? null;
  }

  /** Bindings whose last refresh failed. */
  get failing(): number {
    let count = 0;
    for (const keep of this.keeps.values()) if (keep.reason !== "") count++;
    return count;
  }

  /** For the keeps alone. */
  forget(id: string): void {
    this.keeps.delete(id);
  }
}

class Keep implements ClientOwner, Due {
  dueMs = 0;
  heapSlot = -1;
  reason = "";
  private readonly callId: string;
  private readonly tag: string;
  private cseq = 0;
  private order = 0;
  private answers = 0;
  private minExpires = 0;
  private retryMs = FIRST_RETRY_MS;
  private sentAtMs = 0;
  private sessions: { www: DigestSession; proxy: DigestSession } | null = null;
  /** Which header the PBX wants its credentials in. */
  private isProxy = false;

  constructor(private readonly keeper: UpstreamKeeper, private readonly aorKey: string, private readonly id: string) {
    const { port } = keeper.registrar;
    this.callId = port.token(20);
    this.tag = port.token(10);
  }

  state(): KeeperState {
    return { state: this.reason === "" ? "ok" : "failing", nextMs: this.dueMs, reason: this.reason };
  }

  /** Until a fifth of the binding is left, at least 10 s before its end. */
  rest(): void {
    if (this.order !== 0) return; // at the PBX: its answer decides
    const { clock, registrar } = this.keeper;
    const endMs = registrar.contactEndsMs(this.aorKey, this.id);
    const leftMs = Math.max(0, endMs - clock.nowMs);
    this.wait(Math.max(1000, Math.min(leftMs * 0.8, leftMs - 10_000) - this.jitter(leftMs * 0.05)));
  }

  onDue(): void {
    const { registrar, usrloc } = this.keeper;
    const aor = usrloc.find(this.aorKey);
    if (aor === undefined || !registrar.isWanted(aor, this.id) || !this.keeper.canKeep(aor.user)) return this.stop();
    // A phone's own REGISTER is under way: it may make ours superfluous.
    if (registrar.inFlight.isBusy(this.aorKey)) return this.wait(2000);
    this.answers = 0;
    this.send(aor);
  }

  private send(aor: Aor): void {
    const { registrar, clock } = this.keeper;
    const flow = registrar.pbx.flow();
    if (flow === null) return this.failed("the PBX is not reachable", 0);
    const expires = Math.max(registrar.settings.upstreamExpires, this.minExpires);
    if (this.order === 0) this.order = registrar.inFlight.begin(this.aorKey, new Map([[this.id, expires]]));
    this.sentAtMs = clock.nowMs;
    const uri = "sip:" + aor.domain;
    const session = this.isProxy ? this.session(aor)?.proxy : this.session(aor)?.www;
    const value = session?.authorize({ method: "REGISTER", uri, cnonce: registrar.port.token(16) }) ?? null;
    const lines = value === null ? "" : `${this.isProxy ? "Proxy-Authorization" : "Authorization"}: ${value}\r\n`;
    ownRegister(registrar, this, {
      aor,
      id: this.id,
      flow,
      callId: this.callId,
      tag: this.tag,
      cseq: ++this.cseq,
      expires,
      lines,
    });
  }

  private session(aor: Aor): { www: DigestSession; proxy: DigestSession } | null {
    const secret = this.keeper.registrar.settings.credentials(aor.user);
    if (secret === null) return null;
    return this.sessions ??= { www: new DigestSession(secret), proxy: new DigestSession(secret) };
  }

  onResponse(response: Message): void {
    const { status } = response;
    if (status < 200) return;
    const aor = this.keeper.usrloc.find(this.aorKey);
    if (aor === undefined) return this.stop();
    if (status < 300) return this.onGranted(aor, response);
    if (status === 401 || status === 407) return this.onChallenge(aor, response);
    if (status === 423) {
      const wanted = expiresOf(response.value(MIN_EXPIRES)) ?? 0;
      if (wanted > this.minExpires && wanted <= 86_400 * 30) {
        this.minExpires = wanted;
        return this.send(aor);
      }
    }
    const retryAfter = expiresOf(response.value(RETRY_AFTER)?.match(/^\d+/)?.[0]) ?? 0;
    this.failed(`the PBX answered ${status}`, Math.min(retryAfter * 1000, LAST_RETRY_MS));
  }

  onFailure(): void {
    this.failed("the PBX did not answer", 0);
  }

  private onChallenge(aor: Aor, response: Message): void {
    this.isProxy = response.status === 407;
    const sessions = this.session(aor);
    if (sessions === null) {
      return this.failed("it asks for a password, and pbx.credentials_file has none for this user", 0);
    }
    const session = this.isProxy ? sessions.proxy : sessions.www;
    const challenges = parseChallenges(response.values(this.isProxy ? PROXY_AUTHENTICATE : WWW_AUTHENTICATE));
    const verdict = this.answers++ < MAX_ANSWERS ? session.challenged(challenges) : "refused";
    if (verdict === "answer") return this.send(aor);
    this.failed(
      verdict === "refused"
        ? "the PBX does not take the password of pbx.credentials_file"
        : "it asks for a kind of authentication we cannot answer",
      0,
    );
  }

  private onGranted(aor: Aor, response: Message): void {
    const { registrar } = this.keeper;
    const flow = registrar.pbx.flow();
    const asked = Math.max(registrar.settings.upstreamExpires, this.minExpires);
    const granted = flow === null ? asked : grantOf(response, aor.user, this.id, flow).expires ?? asked;
    this.sessions?.www.accepted();
    this.sessions?.proxy.accepted();
    if (granted === 0) return this.failed("the PBX granted 0 seconds", 0);
    if (this.reason !== "") registrar.port.log("info", "The PBX's binding is refreshed again", { aor: aor.key });
    this.reason = "";
    this.retryMs = FIRST_RETRY_MS;
    registrar.port.count("registrations_total", "upstream_refreshed");
    registrar.writeOwnGrant(aor, this.id, granted, this.order, this.sentAtMs, this.callId, this.cseq);
    this.over();
    this.rest();
  }

  private failed(why: string, atLeastMs: number): void {
    const { registrar, clock } = this.keeper;
    const leftMs = registrar.contactEndsMs(this.aorKey, this.id) - clock.nowMs;
    const level = this.reason === "" ? "warn" : leftMs <= 0 ? "error" : "debug";
    this.reason = why;
    registrar.port.count("registrations_total", "upstream_not_refreshed");
    registrar.port.log(
      level,
      `Cannot refresh the PBX's binding, ${Math.max(0, Math.round(leftMs / 1000))} s left: ${why}`,
      {
        aor: this.aorKey,
      },
    );
    this.over();
    this.wait(Math.max(this.retryMs, atLeastMs) + this.jitter(this.retryMs / 2));
    this.retryMs = Math.min(this.retryMs * 2, LAST_RETRY_MS);
  }

  /** Its REGISTER was answered or failed. */
  private over(): void {
    if (this.order === 0) return;
    const { order } = this;
    this.order = 0;
    this.keeper.registrar.answered(this.aorKey, order);
  }

  private wait(ms: number): void {
    const { table } = this.keeper.registrar;
    table.schedule.deadlines.set(this, table.schedule.clock.nowMs + ms);
  }

  private stop(): void {
    this.over();
    this.keeper.registrar.table.schedule.deadlines.cancel(this);
    this.keeper.forget(this.id);
  }

  /** 0..max, so that thousands of bindings do not refresh in one moment. */
  private jitter(maxMs: number): number {
    return (parseInt(this.keeper.registrar.port.token(6).replace(/[^0-9a-v]/g, "0"), 32) / 32 ** 6) * maxMs;
  }
}
