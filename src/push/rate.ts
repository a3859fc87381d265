/** Owns the push rate limit per device (P-07): so many in any window, in a bounded table. It must know no clock. */

export class DeviceRate {
  readonly #count: number;
  readonly #windowMs: number;
  readonly #maxDevices: number;
  /** Times of the last pushes by device, oldest first; the device used longest ago stands first in the map. */
  readonly #times = new Map<string, number[]>();

  constructor(limit: { count: number; windowMs: number; maxDevices: number }) {
    this.#count = limit.count;
    this.#windowMs = limit.windowMs;
    this.#maxDevices = limit.maxDevices;
  }

  /** Takes one push from the device's allowance; false if it has none left. A refused push costs nothing. */
  take(device: string, nowMs: number): boolean {
    const times = this.#times.get(device) ?? [];
    while (times.length > 0 && times[0]! <= nowMs - this.#windowMs) times.shift();
    const isAllowed = times.length < this.#count;
    if (isAllowed) times.push(nowMs);
    this.#times.delete(device);
    this.#times.set(device, times);
    if (this.#times.size > this.#maxDevices) {
      const oldest = this.#times.keys().next();
      if (!oldest.done) this.#times.delete(oldest.value);
    }
    return isAllowed;
  }

  /** Devices remembered. */
  get size(): number {
    return this.#times.size;
  }
}
