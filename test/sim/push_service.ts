/** The push services of a virtual world: take an order, give a verdict, wake the phone that has the token, or not. */
import type { PushOrder } from "../../src/core/usrloc/push_order.ts";
import type { World } from "./world.ts";

/** `lost`: accepted and never delivered. `slow`: accepted and delivered `slowMs` later. `mute`: no verdict at all. `limit`: refused by our own limit. */
export type PushFate = "limit" | "accept" | "dead" | "refuse" | "fail" | "slow" | "lost" | "mute";

/** Whoever has the token. */
export interface PushTarget {
  onPush(order: PushOrder): void;
}

export class PushService {
  readonly orders: { atMs: number; order: PushOrder }[] = [];
  readonly cancelled: string[] = [];
  /** What becomes of pushes to tokens without a fate of their own. */
  fate: PushFate = "accept";
  /** By `pn-prid`. */
  readonly fates = new Map<string, PushFate>();
  /** P-07: further call pushes to a device are refused by our own limit. */
  callsPerMinute = Infinity;
  private readonly calls = new Map<string, number[]>();
  verdictMs = 30;
  deliveryMs = 80;
  slowMs = 8000;
  private readonly targets = new Map<string, Set<PushTarget>>();

  constructor(private readonly world: World) {}

  /** Several with one token are the flows of one phone. */
  subscribe(prid: string, target: PushTarget): void {
    const targets = this.targets.get(prid);
    if (targets === undefined) this.targets.set(prid, new Set([target]));
    else targets.add(target);
  }

  /** Orders of one kind. */
  of(event: PushOrder["event"]): PushOrder[] {
    return this.orders.map(({ order }) => order).filter((order) => order.event === event);
  }

  take(order: PushOrder): void {
    const { world } = this;
    const sentAtMs = world.nowMs;
    this.orders.push({ atMs: sentAtMs, order });
    const fate = this.isOverLimit(order) ? "limit" : this.fates.get(order.prid) ?? this.fate;
    const isRateLimited = fate === "limit";
    const verdict = (outcome: "accepted" | "dead" | "refused" | "failed", status: number, reason: string, ms: number) =>
      world.in(ms, () =>
        world.core.pushResult(
          { uuid: order.uuid, outcome, status, reason, ms, isRateLimited },
          order.device,
          order.prid,
          sentAtMs,
        ));
    const deliver = (ms: number) =>
      world.in(ms, () => this.targets.get(order.prid)?.forEach((target) => target.onPush(order)));
    switch (fate) {
      case "accept":
        verdict("accepted", 200, "", this.verdictMs);
        return void deliver(this.deliveryMs);
      case "slow":
        verdict("accepted", 200, "", this.slowMs);
        return void deliver(this.slowMs);
      case "lost":
        return void verdict("accepted", 200, "", this.verdictMs);
      case "dead":
        return void verdict("dead", 410, "the token is dead", this.verdictMs);
      case "limit":
        return void verdict("refused", 0, "rate limited", 0);
      case "refuse":
        return void verdict("refused", 403, "wrong project", this.verdictMs);
      case "fail":
        return void verdict("failed", 503, "not delivered in time", this.slowMs);
      case "mute":
        return;
    }
  }

  private isOverLimit({ event, device }: PushOrder): boolean {
    if (event !== "call" || this.callsPerMinute === Infinity) return false;
    const { nowMs } = this.world;
    const times = (this.calls.get(device) ?? []).filter((timeMs) => timeMs > nowMs - 60_000);
    this.calls.set(device, [...times, nowMs]);
    return times.length >= this.callsPerMinute;
  }

  cancel(uuid: string): void {
    this.cancelled.push(uuid);
  }
}
