/**
 * Asks the PBX now and then for the Contacts of one AoR (REGISTER without Contact, RFC 3261 §10.2.3), in turns: a PBX that
 * was started anew within seconds, or lost its database, answers every OPTIONS as before and has no registrations
 * . Only where we may register ourselves.
 *
 *   resting ─every minute→ asking the next ─ours is listed→ resting
 *   asking the next ─not listed→ that one is renewed, asking a second ─listed→ resting ─not listed→ lost, resting
 */
import { grantOf } from "./contact.ts";
import { UpstreamCredentials } from "./credentials.ts";
import type { Message } from "../../sip/message.ts";
import type { ClientOwner } from "../../transaction/client.ts";
import type { Due } from "../../transaction/deadline.ts";
import type { Aor } from "../../usrloc/contact.ts";
import type { Usrloc } from "../../usrloc/usrloc.ts";
import type { UpstreamLedger } from "./ledger.ts";
import type { UpstreamLink } from "./own_register.ts";
import type { Renewals } from "./renewals.ts";

const EACH_MS = 60_000;

/** Who hears what it found. */
export interface BindingWatchUser {
  /** The PBX does not list what it granted. @param reason in words, about "the PBX" */
  onBindingsLost(reason: string): void;
}

export class BindingWatch implements ClientOwner, Due {
  dueMs = 0;
  heapSlot = -1;
  /** The binding that was asked for last. */
  private lastId = "";
  private asking: { readonly aor: Aor; readonly id: string; readonly order: number } | null = null;
  /** Bindings in a row that the PBX did not list. */
  private missing = 0;
  /** True once the PBX listed one: some never list anything to such a question. */
  private hasListed = false;
  private callId = "";
  private cseq = 0;
  private readonly credentials: UpstreamCredentials;

  constructor(
    private readonly link: UpstreamLink,
    private readonly ledger: UpstreamLedger,
    private readonly usrloc: Usrloc,
    private readonly renewals: Renewals,
    private readonly user: BindingWatchUser,
  ) {
    this.credentials = new UpstreamCredentials(link);
  }

  /** Starts, or stops where the PBX is not to be asked (`pbx.qualify: 0`). */
  start(): void {
    const { deadlines } = this.link.table.schedule;
    if (this.link.policy.settings.qualifyMs === 0) deadlines.cancel(this);
    else if (this.heapSlot < 0) this.rest();
  }

  onDue(): void {
    this.rest();
    if (this.asking === null) this.askNext();
  }

  onResponse(response: Message): void {
    const { status } = response;
    const { asking } = this;
    if (status < 200 || asking === null) return;
    const { aor, id, order } = asking;
    if (status === 401 || status === 407) {
      // A password that is refused is the renewal's to tell.
      if (this.credentials.challenged(aor, response) === "") return this.send(aor, id, order);
      return this.over();
    }
    this.over();
    const flow = this.link.pbx.flow();
    if (status >= 300 || flow === null || !this.isStillExpected(aor, id)) return;
    this.credentials.accepted();
    if (grantOf(response, aor.user, id, flow).isListed) {
      this.hasListed = true;
      this.missing = 0;
    } else this.onMissing(aor, id);
  }

  onFailure(): void {
    this.over();
  }

  /** One may have been taken out by hand at the PBX; two were not. */
  private onMissing(aor: Aor, id: string): void {
    this.renewals.renew(id);
    if (!this.hasListed) return;
    this.missing++;
    if (this.missing > 1 || this.renewals.size === 1) {
      this.missing = 0;
      this.user.onBindingsLost(`it does not list our Contact for ${aor.key} any more`);
    } else this.askNext();
  }

  private askNext(): void {
    const flow = this.link.pbx.ownFlow();
    if (flow === null) return;
    for (const id of this.renewals.idsAfter(this.lastId, 20)) {
      const aor = this.renewals.aorOf(id);
      if (aor === undefined || !this.isStillExpected(aor, id)) continue;
      this.lastId = id;
      this.credentials.begin();
      const order = this.link.inFlight.begin(aor.key, new Map());
      return this.send(aor, id, order);
    }
  }

  /** True if the PBX should list it: it granted it, nothing about it is under way, and there is no doubt yet. */
  private isStillExpected(aor: Aor, id: string): boolean {
    const nowMs = this.link.table.schedule.clock.nowMs;
    if (this.usrloc.find(aor.key) !== aor || this.link.inFlight.isBusy(aor.key)) return false;
    const contact = this.link.policy.isOneForAll ? aor.contacts[0] : this.usrloc.contact(id);
    return contact !== undefined && !contact.isDropped && !this.ledger.isInDoubt(contact) &&
      this.ledger.contactEndsMs(aor.key, id) > nowMs + 1000;
  }

  private send(aor: Aor, id: string, order: number): void {
    const flow = this.link.pbx.ownFlow();
    this.asking = { aor, id, order };
    if (flow === null) return this.over();
    if (this.callId === "") this.callId = this.link.port.token(20);
    this.link.ask(this, {
      aor,
      flow,
      callId: this.callId,
      tag: this.link.port.token(10),
      cseq: ++this.cseq,
      lines: this.credentials.lines(aor),
    });
  }

  private over(): void {
    if (this.asking === null) return;
    const { aor, order } = this.asking;
    this.asking = null;
    this.link.inFlight.end(aor.key, order);
  }

  private rest(): void {
    const { deadlines, clock } = this.link.table.schedule;
    deadlines.set(this, clock.nowMs + EACH_MS);
  }
}
