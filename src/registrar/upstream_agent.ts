/**
 * REGISTERs of our own: ending the PBX's binding when the last device is gone without having said so.
 * Owns when that is sent, taken back or tried again. Answers a digest challenge where `pbx.credentials_file` has the
 * user; where not, the PBX's binding runs out by itself.
 */
import type { Clock } from "../sip/clock.ts";
import { answerChallenge, parseChallenges } from "../sip/digest.ts";
import { PROXY_AUTHENTICATE, WWW_AUTHENTICATE } from "../sip/header.ts";
import type { Message } from "../sip/message.ts";
import type { ClientOwner, ClientTransaction } from "../transaction/client.ts";
import type { Due } from "../transaction/deadline.ts";
import type { Aor } from "../usrloc/model.ts";
import type { Usrloc } from "../usrloc/usrloc.ts";
import type { MidRegistrar } from "./mid_registrar.ts";
import { ownRegister } from "./own_register.ts";

/** Between tries while the PBX does not answer; doubles up to the second. */
const RETRY_MS = 5000;
const MAX_RETRY_MS = 600_000;

export class UpstreamAgent {
  /** Removals at the PBX or waiting for their next try, by id of the upstream Contact. */
  private readonly removals = new Map<string, Removal>();
  /** Contacts to take off the PBX unless the REGISTER that is there now is accepted: by AoR, their ids. */
  private readonly undecided = new Map<string, Set<string>>();

  constructor(readonly registrar: MidRegistrar, readonly usrloc: Usrloc, readonly clock: Clock) {}

  /** Takes our Contact with this id off the PBX. */
  end(aor: Aor, id: string): void {
    if (!this.isHeld(aor)) return this.over(aor);
    if (this.registrar.inFlight.askedFor(aor.key, id) > 0) return this.decideLater(aor.key, id);
    if (this.removals.has(id)) return;
    const removal = new Removal(this, aor, id);
    this.removals.set(id, removal);
    removal.send(null);
  }

  /**
   * A REGISTER that adds this Contact goes to the PBX: a removal must not arrive behind it. Should the PBX refuse the
   * REGISTER, {@link answered} takes the removal up again.
   */
  hold(aorKey: string, id: string): void {
    const removal = this.removals.get(id);
    if (removal === undefined) return;
    removal.stop();
    this.decideLater(aorKey, id);
  }

  /** A REGISTER of this AoR was answered, and what came of it is written. */
  answered(aorKey: string): void {
    const ids = this.undecided.get(aorKey);
    if (ids === undefined) return;
    this.undecided.delete(aorKey);
    const aor = this.usrloc.find(aorKey);
    if (aor === undefined) return;
    for (const id of ids) if (!this.registrar.isWanted(aor, id)) this.end(aor, id);
  }

  /** True while the PBX holds a Contact of ours for this AoR, as far as we know. */
  isHeld(aor: Aor): boolean {
    return this.usrloc.find(aor.key) === aor && aor.upstream.state === "registered" &&
      aor.upstream.expiresAtMs > this.clock.nowMs;
  }

  /** The AoR is held no longer for the PBX's sake. */
  over(aor: Aor): void {
    if (aor.contacts.length > 0) return;
    this.usrloc.setUpstream(aor, { ...aor.upstream, state: "removed", expiresAtMs: 0 });
  }

  /** For the removals alone. */
  done(id: string, removal: Removal): void {
    if (this.removals.get(id) === removal) this.removals.delete(id);
  }

  private decideLater(aorKey: string, id: string): void {
    const ids = this.undecided.get(aorKey);
    if (ids === undefined) this.undecided.set(aorKey, new Set([id]));
    else ids.add(id);
  }
}

/**
 * One Contact on its way off the PBX.
 *
 *   sent ─401, 407→ sent with credentials ─2xx, refusal→ over      sent ─no answer, 5xx→ waiting ─in time→ sent
 *   any ─stop()→ over                                             waiting ─the PBX's binding has lapsed→ over
 */
class Removal implements ClientOwner, Due {
  dueMs = 0;
  heapSlot = -1;
  private readonly callId: string;
  private readonly tag: string;
  private cseq = 0;
  private client: ClientTransaction | null = null;
  private hasAnswered = false;
  private isOver = false;
  private retryMs = RETRY_MS;

  constructor(private readonly agent: UpstreamAgent, private readonly aor: Aor, private readonly id: string) {
    const { port } = agent.registrar;
    this.callId = port.token(20);
    this.tag = port.token(10);
  }

  send(authorization: string | null): void {
    const { registrar } = this.agent;
    const flow = registrar.pbx.flow();
    if (flow === null) return this.again("the PBX is not reachable");
    this.hasAnswered = authorization !== null;
    const client = ownRegister(registrar, this, {
      aor: this.aor,
      id: this.id,
      flow,
      callId: this.callId,
      tag: this.tag,
      cseq: ++this.cseq,
      expires: 0,
      lines: authorization ?? "",
    });
    if (client.isPending) this.client = client;
  }

  /** Nothing of it is sent any more. */
  stop(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.client?.abandon();
    this.client = null;
    this.agent.registrar.table.schedule.deadlines.cancel(this);
    this.agent.done(this.id, this);
  }

  onResponse(response: Message): void {
    const { status } = response;
    if (this.isOver || status < 200) return;
    this.client = null;
    if (status < 300) return this.finish();
    if (status >= 500 && status < 600) return this.again(`the PBX answered ${status}`);
    if ((status === 401 || status === 407) && !this.hasAnswered) return this.answer(response);
    this.giveUp(`the PBX answered ${status}`);
  }

  onFailure(): void {
    this.client = null;
    if (!this.isOver) this.again("the PBX did not answer");
  }

  /** Time for another try. */
  onDue(): void {
    if (this.agent.isHeld(this.aor)) this.send(null);
    else this.finish();
  }

  private answer(response: Message): void {
    const { registrar } = this.agent;
    const secret = registrar.settings.credentials(this.aor.user);
    if (secret === null) return this.giveUp("it asks for a password, and pbx.credentials_file has none for this user");
    const isProxy = response.status === 407;
    const challenges = parseChallenges(response.values(isProxy ? PROXY_AUTHENTICATE : WWW_AUTHENTICATE));
    const value = answerChallenge(challenges, secret, {
      method: "REGISTER",
      uri: "sip:" + this.aor.domain,
      cnonce: registrar.port.token(16),
      nc: 1,
    });
    if (value === null) return this.giveUp("it asks for a kind of authentication we cannot answer");
    this.send((isProxy ? "Proxy-Authorization: " : "Authorization: ") + value + "\r\n");
  }

  /** Nothing is lost yet: until the PBX's binding lapses it is tried again. */
  private again(why: string): void {
    const { schedule } = this.agent.registrar.table;
    const dueMs = schedule.clock.nowMs + this.retryMs;
    if (!this.agent.isHeld(this.aor) || dueMs >= this.aor.upstream.expiresAtMs) return this.giveUp(why);
    this.retryMs = Math.min(this.retryMs * 2, MAX_RETRY_MS);
    schedule.deadlines.set(this, dueMs);
  }

  private giveUp(why: string): void {
    const { registrar, clock } = this.agent;
    const { aor } = this;
    const left = Math.max(0, Math.round((aor.upstream.expiresAtMs - clock.nowMs) / 1000));
    registrar.port.log("warn", `Cannot end the PBX's binding, it keeps our Contact for another ${left} s: ${why}`, {
      aor: aor.key,
    });
    registrar.port.count("registrations_total", "upstream_not_ended");
    this.finish();
  }

  private finish(): void {
    this.stop();
    this.agent.over(this.aor);
  }
}
