/**
 * One Contact of ours on its way off the PBX.
 *
 *   waiting ─its turn→ sent ─401, 407→ sent with credentials ─2xx, refusal→ over
 *   sent ─no answer, 5xx→ waiting ─in time→ sent            waiting ─the PBX's binding has lapsed→ over
 *   any ─stop()→ over
 */
import type { Message } from "../../sip/message.ts";
import type { ClientOwner, ClientTransaction } from "../../transaction/client.ts";
import type { Due } from "../../transaction/deadline.ts";
import type { Aor } from "../../usrloc/contact.ts";
import { jitterMs } from "../jitter.ts";
import type { UpstreamLink } from "./own_register.ts";
import type { SendRate } from "../send_rate.ts";
import type { Clock } from "../../clock.ts";
import { isPassing, retryAfterMs, UpstreamCredentials } from "./credentials.ts";

/** Between tries while the PBX does not answer; doubles up to the second. */
const RETRY_MS = 5000;
const MAX_RETRY_MS = 600_000;

/** What a removal stands on and tells. */
export interface RemovalOwner {
  readonly link: UpstreamLink;
  readonly clock: Clock;
  /** When the next removal may go. */
  readonly rate: SendRate;
  /** True while the PBX holds a Contact of ours for this AoR, as far as we know. */
  isHeld(aor: Aor): boolean;
  /** Nothing more of it is sent. */
  done(aor: Aor, id: string, removal: Removal): void;
  /** The AoR is held no longer for the PBX's sake. */
  over(aor: Aor): void;
  /** The PBX keeps a Contact of ours. */
  complain(aor: Aor, why: string): void;
}

export class Removal implements ClientOwner, Due {
  dueMs = 0;
  heapSlot = -1;
  private readonly callId: string;
  private readonly tag: string;
  private readonly credentials: UpstreamCredentials;
  private cseq = 0;
  private client: ClientTransaction | null = null;
  private hasTurn = false;
  private isOver = false;
  private retryMs = RETRY_MS;

  constructor(private readonly owner: RemovalOwner, private readonly aor: Aor, private readonly id: string) {
    this.credentials = new UpstreamCredentials(owner.link);
    this.callId = owner.link.port.token(20);
    this.tag = owner.link.port.token(10);
  }

  /** Goes at once, or when those before it have gone. */
  start(): void {
    const { nowMs } = this.owner.clock;
    const turnMs = this.hasTurn ? nowMs : this.owner.rate.take(nowMs);
    this.hasTurn = turnMs > nowMs;
    if (this.hasTurn) return this.wait(turnMs);
    this.credentials.begin();
    this.send();
  }

  /** Nothing of it is sent any more. */
  stop(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.client?.abandon();
    this.client = null;
    this.owner.link.table.schedule.deadlines.cancel(this);
    this.owner.done(this.aor, this.id, this);
  }

  onResponse(response: Message): void {
    const { status } = response;
    if (this.isOver || status < 200) return;
    this.client = null;
    if (status < 300) return this.finish();
    if (isPassing(status)) return this.again(`the PBX answered ${status}`, retryAfterMs(response));
    if (status !== 401 && status !== 407) return this.giveUp(`the PBX answered ${status}`);
    const why = this.credentials.challenged(this.aor, response);
    if (why === "") this.send();
    else this.giveUp(why);
  }

  onFailure(): void {
    this.client = null;
    if (!this.isOver) this.again("the PBX did not answer", 0);
  }

  /** Its turn, or time for another try. */
  onDue(): void {
    if (this.owner.isHeld(this.aor)) this.start();
    else this.finish();
  }

  private send(): void {
    const { link } = this.owner;
    const flow = link.pbx.ownFlow();
    if (flow === null) return this.again("the PBX is not reachable", 0);
    const client = link.send(this, {
      aor: this.aor,
      id: this.id,
      flow,
      callId: this.callId,
      tag: this.tag,
      cseq: ++this.cseq,
      expires: 0,
      lines: this.credentials.lines(this.aor),
    });
    if (client.isPending) this.client = client;
  }

  /** Nothing is lost yet: until the PBX's binding lapses it is tried again. */
  private again(why: string, atLeastMs: number): void {
    const { owner } = this;
    const waitMs = Math.max(this.retryMs, atLeastMs) + jitterMs(owner.link.port, this.retryMs / 2);
    const dueMs = owner.clock.nowMs + waitMs;
    if (!owner.isHeld(this.aor) || dueMs >= this.aor.upstream.expiresAtMs) return this.giveUp(why);
    this.retryMs = Math.min(this.retryMs * 2, MAX_RETRY_MS);
    this.wait(dueMs);
  }

  private wait(untilMs: number): void {
    this.owner.link.table.schedule.deadlines.set(this, untilMs);
  }

  private giveUp(why: string): void {
    this.owner.complain(this.aor, why);
    this.finish();
  }

  private finish(): void {
    this.stop();
    this.owner.over(this.aor);
  }
}
