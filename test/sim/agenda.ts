/** What happens when in a virtual world: a heap of things to do, equal times in the order they were put in. */

/** A thing to do; `cancel` takes it back. */
export class Appointment {
  isCancelled = false;

  /** `isPacket`: a message on the wire; `World.settle` waits for those alone. */
  constructor(readonly atMs: number, readonly order: number, readonly isPacket: boolean, readonly run: () => void) {}

  cancel(): void {
    this.isCancelled = true;
  }
}

export class Agenda {
  private readonly heap: Appointment[] = [];
  private order = 0;
  /** Messages on the wire. */
  packets = 0;

  add(atMs: number, run: () => void, isPacket = false): Appointment {
    const appointment = new Appointment(atMs, this.order++, isPacket, run);
    if (isPacket) this.packets++;
    const heap = this.heap;
    let slot = heap.length;
    heap.push(appointment);
    while (slot > 0) {
      const parent = (slot - 1) >> 1;
      if (!isBefore(appointment, heap[parent]!)) break;
      heap[slot] = heap[parent]!;
      slot = parent;
    }
    heap[slot] = appointment;
    return appointment;
  }

  /** Infinity: nothing is left to do. */
  get nextMs(): number {
    while (this.heap.length > 0 && this.heap[0]!.isCancelled) this.pop();
    return this.heap.length > 0 ? this.heap[0]!.atMs : Infinity;
  }

  /** Takes out and runs the first thing due by `nowMs`; false if there is none. */
  runOne(nowMs: number): boolean {
    if (this.nextMs > nowMs) return false;
    this.pop().run();
    return true;
  }

  private pop(): Appointment {
    const heap = this.heap;
    const first = heap[0]!;
    const last = heap.pop()!;
    if (heap.length > 0) {
      let slot = 0;
      for (;;) {
        let child = 2 * slot + 1;
        if (child >= heap.length) break;
        if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
        if (!isBefore(heap[child]!, last)) break;
        heap[slot] = heap[child]!;
        slot = child;
      }
      heap[slot] = last;
    }
    if (first.isPacket) this.packets--;
    return first;
  }
}

function isBefore(a: Appointment, b: Appointment): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}
