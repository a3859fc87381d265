/** One request of a scripted peer that is no new call, and what it was answered: MESSAGE, INFO, a re-INVITE. */
import type { Message } from "../../src/core/sip/message.ts";
import type { Link } from "./net.ts";
import type { Ua } from "./ua.ts";

export class Exchange {
  readonly startedAtMs: number;
  /** Every status that came, in order. */
  readonly statuses: number[] = [];
  /** Different finals; a repetition counts once. */
  readonly finals: number[] = [];
  finalAtMs = NaN;
  /** Nothing final came within 64·T1, or the link closed. */
  isFailed = false;
  isCancelled = false;

  constructor(
    ua: Ua,
    readonly link: Link,
    readonly method: string,
    text: string,
    onFinal: (response: Message) => void = () => {},
  ) {
    this.startedAtMs = ua.world.nowMs;
    ua.transact(link, text, {
      onResponse: (response) => {
        const { status } = response;
        this.statuses.push(status);
        if (status < 200) return;
        if (!this.finals.includes(status)) this.finals.push(status);
        if (this.finals.length === 1 && Number.isNaN(this.finalAtMs)) this.finalAtMs = ua.world.nowMs;
        onFinal(response);
      },
      onFailure: () => {
        this.isFailed = true;
      },
    });
  }

  /** True once a CANCEL may go, and while one can make a difference. */
  get isCancellable(): boolean {
    return this.statuses.length > 0 && this.finals.length === 0 && !this.isFailed && !this.isCancelled;
  }
}
