/**
 * Owns the wait of the PBX's requests for a phone whose REGISTER the PBX has not answered yet. An Asterisk sends its
 * NOTIFY of waiting messages just before its 200, and never again: sent on at once it would find no phone. Must not know
 * where a request goes afterwards: its owner says how it goes on.
 *
 *   waiting ─REGISTER answered, or 5 s→ (goes on, in the order they came)     ─CANCEL→ 487
 */
import { aorOf, isSipScheme, type Uri, uriParam } from "../sip/uri.ts";
import type { Due } from "../transaction/deadline.ts";
import type { ServerOwner, ServerTransaction } from "../transaction/server.ts";
import type { Schedule } from "../transaction/timers.ts";

/** A PBX that takes longer to answer a REGISTER sends what it has to say after its 200. */
const MAX_WAIT_MS = 5000;
/** Requests that wait for one phone, and for all. Those beyond go on at once. */
const MAX_OF_ONE = 16;
const MAX_IN_ALL = 1000;

/** The subject of REGISTERs at the PBX: an upstream Contact by its id, or a user. */
interface Registering {
  readonly name: string;
  registers: number;
  /** In the order they came. */
  readonly waiting: Set<Waiting>;
}

export class RegisterWait {
  private readonly byName = new Map<string, Registering>();
  private count = 0;

  constructor(private readonly schedule: Schedule) {}

  /** True while the PBX has a REGISTER that it has not answered. */
  get isBusy(): boolean {
    return this.byName.size > 0;
  }

  /** Requests that wait; 0: nothing is kept of any. */
  get waitingCount(): number {
    return this.count;
  }

  /**
   * A REGISTER goes to the PBX.
   * @param ids of the upstream Contacts it names
   */
  onAsked(aorKey: string, ids: Iterable<string>): void {
    this.begin(userName(aorKey));
    for (const id of ids) this.begin(id);
  }

  /** It was answered, or will never be, and what came of it is written: what waited goes on. */
  onAnswered(aorKey: string, ids: Iterable<string>): void {
    this.end(userName(aorKey));
    for (const id of ids) this.end(id);
  }

  /**
   * Has a request of the PBX wait if the PBX has a REGISTER of those it is for.
   * @param uri its Request-URI
   * @returns false if it is to go on now
   */
  hold(transaction: ServerTransaction, uri: Uri, goOn: () => void): boolean {
    const registering = this.find(uri);
    if (registering === undefined || registering.waiting.size >= MAX_OF_ONE || this.count >= MAX_IN_ALL) return false;
    const waiting = new Waiting(this, registering, transaction, goOn);
    registering.waiting.add(waiting);
    this.count++;
    if (transaction.isInvite) transaction.respond(100);
    const { deadlines, clock } = this.schedule;
    deadlines.set(waiting, clock.nowMs + MAX_WAIT_MS);
    return true;
  }

  /** For those that wait alone. @returns false if it has left already */
  leave(waiting: Waiting): boolean {
    const { registering } = waiting;
    if (!registering.waiting.delete(waiting)) return false;
    this.count--;
    this.schedule.deadlines.cancel(waiting);
    return true;
  }

  /** By the id of the Contact we gave the PBX, as parameter or as user, else by the user. */
  private find(uri: Uri): Registering | undefined {
    if (!isSipScheme(uri) || uri.user === "") return undefined;
    const id = uri.params === "" ? undefined : uriParam(uri, "lf");
    if (id !== undefined) return this.byName.get(id.toLowerCase());
    return this.byName.get(uri.user.toLowerCase()) ?? this.byName.get(userName(aorOf(uri)));
  }

  private begin(name: string): void {
    const known = this.byName.get(name);
    if (known === undefined) this.byName.set(name, { name, registers: 1, waiting: new Set() });
    else known.registers++;
  }

  private end(name: string): void {
    const registering = this.byName.get(name);
    if (registering === undefined || --registering.registers > 0) return;
    this.byName.delete(name);
    for (const waiting of [...registering.waiting]) waiting.resume();
  }
}

/** One request that waits. */
class Waiting implements Due, ServerOwner {
  dueMs = 0;
  heapSlot = -1;

  constructor(
    private readonly owner: RegisterWait,
    readonly registering: Registering,
    private readonly transaction: ServerTransaction,
    private readonly goOn: () => void,
  ) {
    transaction.owner = this;
  }

  resume(): void {
    if (!this.owner.leave(this)) return;
    this.transaction.owner = null;
    this.goOn();
  }

  onDue(): void {
    this.resume();
  }

  onCancel(): void {
    if (!this.owner.leave(this)) return;
    this.transaction.owner = null;
    this.transaction.respond(487);
  }
}

/** A user is no id: its name is kept apart by a character that no id has. */
function userName(aorKey: string): string {
  return aorKey.slice(0, aorKey.lastIndexOf("@") + 1);
}
