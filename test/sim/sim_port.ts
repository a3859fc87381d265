/** The core's port in a virtual world: sends wait for the end of the turn, durable ones go last; the rest is recorded. */
import type { CorePort } from "../../src/core/core.ts";
import type { PushOrder } from "../../src/core/usrloc/push_order.ts";
import type { Flow, Transport } from "../../src/core/sip/flow.ts";
import type { ApplianceEvent, LogFields } from "../../src/core/port.ts";
import type { Aor, Contact } from "../../src/core/usrloc/contact.ts";
import type { Link, Net } from "./net.ts";
import type { Prng } from "./prng.ts";
import type { PushService } from "./push_service.ts";

export interface LogLine {
  atMs: number;
  level: string;
  message: string;
  fields: LogFields;
}

/** One thing the store was told. */
export interface Change {
  atMs: number;
  what: "saved" | "refreshed" | "removed" | "aor" | "aor removed";
  key: string;
}

export class SimPort implements CorePort {
  readonly logs: LogLine[] = [];
  readonly events: ApplianceEvent[] = [];
  readonly changes: Change[] = [];
  readonly removed: Contact[] = [];
  readonly counters = new Map<string, number>();
  readonly measured = new Map<string, number[]>();
  readonly pins = new Map<Flow, number>();
  /** Told of every contact written, for the random test's invariant. */
  onSaved: (contact: Contact, isRefresh: boolean) => void = () => {};
  private sends: [Link, string][] = [];
  private durable: [Link, string][] = [];

  constructor(
    private readonly now: () => number,
    private readonly prng: Prng,
    private readonly net: () => Net,
    private readonly pushes: () => PushService,
  ) {}

  /** The end of a turn: what was sent goes on the wire, what had to wait for the commit last. */
  flush(): void {
    const sends = this.sends;
    const durable = this.durable;
    this.sends = [];
    this.durable = [];
    for (const [link, text] of sends) this.net().toPeer(link, text);
    for (const [link, text] of durable) this.net().toPeer(link, text);
  }

  send(flow: Flow, wire: string): boolean {
    if (flow.state === "closed") return false;
    this.sends.push([flow as Link, wire]);
    return true;
  }

  sendDurable(flow: Flow, wire: string): boolean {
    if (flow.state === "closed") return false;
    this.durable.push([flow as Link, wire]);
    return true;
  }

  flowTo(transport: Transport, address: string, port: number): Flow | null {
    return this.net().flowTo(transport, address, port);
  }

  closeFlow(flow: Flow, reason: string): void {
    this.net().closeFromCore(flow as Link, reason);
  }

  push(order: PushOrder): void {
    this.pushes().take(order);
  }

  cancelPush(uuid: string): void {
    this.pushes().cancel(uuid);
  }

  pin(flow: Flow): void {
    this.pins.set(flow, (this.pins.get(flow) ?? 0) + 1);
  }

  unpin(flow: Flow): void {
    const left = (this.pins.get(flow) ?? 0) - 1;
    if (left > 0) this.pins.set(flow, left);
    else this.pins.delete(flow);
  }

  phoneArrived(): void {}
  phoneLeft(): void {}

  contactSaved(contact: Contact, isRefresh: boolean): void {
    this.changes.push({ atMs: this.now(), what: isRefresh ? "refreshed" : "saved", key: contact.id });
    this.onSaved(contact, isRefresh);
  }

  contactRemoved(contact: Contact): void {
    this.removed.push(contact);
    this.changes.push({ atMs: this.now(), what: "removed", key: contact.id });
  }

  aorSaved(aor: Aor): void {
    this.changes.push({ atMs: this.now(), what: "aor", key: aor.key });
  }

  aorRemoved(aor: Aor): void {
    this.changes.push({ atMs: this.now(), what: "aor removed", key: aor.key });
  }

  count(counter: string, label: string): void {
    const key = counter + ":" + label;
    this.counters.set(key, (this.counters.get(key) ?? 0) + 1);
  }

  measure(histogram: string, seconds: number): void {
    const values = this.measured.get(histogram);
    if (values === undefined) this.measured.set(histogram, [seconds]);
    else values.push(seconds);
  }

  isLogged(): boolean {
    return true;
  }

  log(level: string, message: string, fields: LogFields = {}): void {
    this.logs.push({ atMs: this.now(), level, message, fields });
  }

  event(event: ApplianceEvent): void {
    this.events.push(event);
  }

  token(length: number): string {
    return this.prng.token(length);
  }
}
