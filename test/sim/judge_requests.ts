/** What must hold for the requests of a random schedule that are no new calls, and for what they leave at the phones. */
import type { Chaos } from "./chaos.ts";
import type { Exchange } from "./exchange.ts";

/** The last word about what is no INVITE (W-17), and the time its branches have to end. */
const LATEST_MS = 28_000 + 100;

/** @param wrong is told each thing that is wrong */
export function judgeRequests(chaos: Chaos, wrong: (text: string) => void): void {
  for (const exchange of [...chaos.requests, ...chaos.calls.flatMap(({ call }) => call.exchanges)]) {
    answeredOnce(chaos, exchange, wrong);
  }
  for (const { call } of chaos.calls) inOrder(call.link.isReliable, call.statuses, `call ${call.callId}`, wrong);
  for (const { phone } of chaos.actors) {
    if (phone.strayCancels > 0) wrong(`F-01 ${phone.name} got ${phone.strayCancels} CANCELs of what it never got`);
  }
  hungUpByItsCaller(chaos, wrong);
}

/** True if the PBX that asked has restarted since then: it waits for nothing, and acknowledges nothing. */
export function isForgotten({ w }: Chaos, { startedAtMs }: { readonly startedAtMs: number }): boolean {
  return startedAtMs <= w.pbx.startedAtMs;
}

/** F-04, F-05: one final response, in time. */
function answeredOnce(chaos: Chaos, exchange: Exchange, wrong: (text: string) => void): void {
  const { method, finals, statuses, startedAtMs, finalAtMs } = exchange;
  const what = `${method} at ${(startedAtMs - START_MS) / 1000}`;
  inOrder(exchange.link.isReliable, statuses, what, wrong);
  if (finals.length > 1) wrong(`F-05 ${what} got the finals ${finals.join(", ")}`);
  if (chaos.isLanLossy || isForgotten(chaos, exchange)) return;
  if (finals.length === 0) return wrong(`F-05 ${what} never got a final response`);
  if (method !== "INVITE" && finalAtMs - startedAtMs > LATEST_MS + 10) {
    wrong(`W-17 ${what} was answered after ${finalAtMs - startedAtMs} ms`);
  }
}

/** F-05: nothing provisional behind a final response; only a connection keeps the order. */
function inOrder(isReliable: boolean, statuses: readonly number[], what: string, wrong: (text: string) => void): void {
  const final = statuses.findIndex((status) => status >= 200);
  const late = isReliable && final >= 0 ? statuses.slice(final).find((status) => status < 200) : undefined;
  if (late !== undefined) wrong(`F-05 ${what} got ${late} behind its final response`);
}

/** W-12: a phone whose answer its caller has is in the call until one of the two hangs up. */
function hungUpByItsCaller({ calls, actors }: Chaos, wrong: (text: string) => void): void {
  for (const { phone } of actors) {
    for (const { invite, incoming, bye } of phone.calls) {
      if (bye === null) continue;
      const { toTag } = incoming;
      const callers = calls.map(({ call }) => call).filter(({ callId }) => callId === invite.callId);
      const isHeard = callers.some(({ answers }) => answers.some((answer) => answer.toTag === toTag));
      if (isHeard && !callers.some(({ hungUp }) => hungUp.has(toTag))) {
        wrong(`W-12 ${phone.name} got a BYE in call ${invite.callId} that its caller did not send`);
      }
    }
  }
}

const START_MS = Date.parse("2026-01-02T03:04:05Z");
