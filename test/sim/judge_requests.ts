/** What must hold for the requests of a random schedule that are no new calls, and for what they leave at the phones. */
import type { Actor, Chaos } from "./chaos.ts";
import type { Contact } from "../../src/core/usrloc/contact.ts";
import type { SimCall } from "./call.ts";
import type { Exchange } from "./exchange.ts";
import type { Phone } from "./phone.ts";

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
  for (const actor of chaos.actors) {
    answeredWhereItIs(chaos, actor, wrong);
    hungUpWhereItIs(chaos, actor, wrong);
  }
}

/** Repetitions of a 200, and a BYE that waits, find a phone that is back this soon. */
const BACK_MS = 15_000;

/** When a phone was registered over the link it has at the end, and did not go down since; null: it is out of reach. */
function backAtMs({ w, isInternetLossy, isLanLossy }: Chaos, { phone, lastDownMs }: Actor): number | null {
  const { link } = phone;
  if (phone.isAsleep || link === null || link.state === "closed" || link.isClosedByPeer || !link.isUp) return null;
  if (isLanLossy || (isInternetLossy && !link.isReliable)) return null;
  // Of a phone that was removed nothing finds the new way.
  if (w.port.removed.some((contact) => isContactOf(contact, phone))) return null;
  const [status, atMs] = phone.registrations.find(([code, ms]) => code === 200 && ms >= lastDownMs) ?? [0, 0];
  return status === 200 ? atMs : null;
}

function isContactOf({ aor, instance, push }: Contact, phone: Phone): boolean {
  if (aor.user !== phone.user) return false;
  return phone.instance === ""
    ? instance === "" && (push === null || push.prid === phone.prid)
    : instance === phone.instance;
}

/** F-05: the 200 to a phone that calls finds it over the connection it registered since. */
function answeredWhereItIs(chaos: Chaos, actor: Actor, wrong: (text: string) => void): void {
  const backMs = backAtMs(chaos, actor);
  if (backMs === null) return;
  for (const call of actor.phone.outgoingCalls) {
    const { finals, startedAtMs, link } = call;
    if (finals.length > 1) wrong(`F-05 a call of ${actor.phone.name} got ${finals.length} finals`);
    if (finals.length > 0 || isForgotten(chaos, call) || backMs > startedAtMs + BACK_MS) continue;
    if (hasOvertaken(chaos, call)) continue;
    wrong(`F-05 a call of ${actor.phone.name} over ${link.key} was never answered`);
  }
}

/** True if the INVITE of a phone never arrived, or behind the REGISTER by which the phone left its link. */
function hasOvertaken({ w }: Chaos, { callId, link, startedAtMs }: SimCall): boolean {
  const passed = w.net.packets.find(({ text, isFromCore, peer }) =>
    isFromCore && peer === "pbx" && text.includes(callId)
  );
  return passed === undefined ||
    w.net.packets.some((packet) =>
      packet.isFromCore && packet.link.peer === link.peer && packet.link !== link && packet.atMs >= startedAtMs &&
      packet.atMs <= passed.atMs && /^SIP\/2\.0 200[^]*\r\nCSeq: \d+ REGISTER\r\n/.test(packet.text)
    );
}

/** F-03: a BYE finds the phone of its dialog over the connection it registered since. */
function hungUpWhereItIs(chaos: Chaos, actor: Actor, wrong: (text: string) => void): void {
  const backMs = backAtMs(chaos, actor);
  const { instance } = actor.phone;
  // the flows of one phone are phones of their own here, which know nothing of each other's calls.
  const isOneOfSeveral = instance !== "" &&
    chaos.actors.some(({ phone }) => phone !== actor.phone && phone.instance === instance);
  if (backMs === null || isOneOfSeveral) return;
  for (const { invite, incoming, state } of actor.phone.calls) {
    if (state !== "answered" && state !== "confirmed") continue;
    for (const { call } of chaos.calls) {
      const byeMs = call.callId === invite.callId ? call.hungUp.get(incoming.toTag) : undefined;
      if (byeMs === undefined || isForgotten(chaos, call) || backMs > byeMs + BACK_MS) continue;
      wrong(`F-03 ${actor.phone.name} is in call ${call.callId} still, which its caller ended`);
    }
  }
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
