/** The appliance's clock as data: set once per input by the shell (or by a test), read by everything pure. */
export interface Clock {
  /** Milliseconds since the epoch; never goes backwards while the process runs. */
  nowMs: number;
}
