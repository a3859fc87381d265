/** From the objects of usrloc and silo to the shapes of the API. Reads only. */
import { hostPort } from "../core/sip/host.ts";
import { maskSecrets, shortToken } from "../observe/privacy.ts";
import { readable } from "../observe/display.ts";
import type { CallRecord } from "../core/silo/record.ts";
import type { Aor, Contact } from "../core/usrloc/contact.ts";
import type { Reachability } from "../core/usrloc/usrloc.ts";
import type { Upkeep } from "../core/registrar/upkeep.ts";
import type { Call, Location, LocationDevice, Refresh } from "./backend.ts";

export function callShape(record: CallRecord): Call {
  return {
    id: record.id,
    call_id: record.callId,
    aor: record.aor,
    from: readable(record.from),
    to: readable(record.to),
    state: record.state,
    result: record.result,
    outcome: record.outcome,
    status: record.status,
    started_at: new Date(record.startedAtMs).toISOString(),
    ended_at: record.state === "ended" ? new Date(record.endedAtMs).toISOString() : null,
    parties: [...record.parties],
    branches: record.branches.map(({ id, device, party, state, status, late }) => ({
      id,
      device,
      party,
      state,
      status,
      late,
    })),
    wakes: record.wakes.map(({ device, party, state, pushMs, wakeMs, reason }) => ({
      device,
      party,
      state,
      push_ms: pushMs === null ? null : microseconds(pushMs),
      wake_ms: wakeMs === null ? null : microseconds(wakeMs),
      reason,
    })),
    timeline: record.timeline.map(({ tMs, ...entry }) => ({ t_ms: microseconds(tMs), ...entry })),
  };
}

/** Asked for each device and each AoR: who keeps it registered, and whether it can be reached. */
export interface Upkeeps {
  readonly upstreamMode: Location["upstream"]["mode"];
  upkeepOf(contact: Contact): Upkeep;
  upkeepOfAor(aor: Aor): Upkeep | null;
  reachabilityOf(contact: Contact): Reachability;
}

/** @param nowMs ms since the epoch. */
export function locationShape(aor: Aor, upkeeps: Upkeeps, nowMs: number): Location {
  const { upstream } = aor;
  const isRegistered = upstream.state === "registered";
  const upkeep = upkeeps.upkeepOfAor(aor);
  const devices = aor.contacts.map((contact) => deviceShape(contact, upkeeps, nowMs));
  return {
    aor: aor.key,
    upstream: {
      mode: upkeeps.upstreamMode,
      state: isRegistered && upstream.expiresAtMs <= nowMs ? "lapsed" : upstream.state,
      expires_in: isRegistered ? secondsLeft(upstream.expiresAtMs, nowMs) : 0,
      at_risk: devices.some((device) => device.at_risk),
      refresh: upkeep === null ? null : refreshShape(upkeep, nowMs),
    },
    devices,
  };
}

/** @param nowMs ms since the epoch. */
export function deviceShape(contact: Contact, upkeeps: Upkeeps, nowMs: number): LocationDevice {
  const { flow, push } = contact;
  const upkeep = upkeeps.upkeepOf(contact);
  const state = upkeeps.reachabilityOf(contact);
  return {
    id: contact.id,
    kind: contact.kind,
    contact: maskSecrets(contact.uri),
    instance: contact.instance,
    user_agent: readable(contact.userAgent),
    expires_in: secondsLeft(contact.expiresAtMs, nowMs),
    flow: flow === null
      ? { state, transport: contact.flowKey.split("|")[0]!, remote: contact.flowKey.split("|")[2] ?? "" }
      : { state, transport: flow.transport, remote: hostPort(flow.remoteAddress, flow.remotePort) },
    push: push === null ? null : {
      provider: push.provider,
      param: push.param,
      token: shortToken(push.prid),
      token_state: push.tokenState,
      encrypted: push.keys !== undefined,
      registered_at: new Date(push.registeredAtMs).toISOString(),
    },
    upstream_state: upkeep.held,
    upstream_expires_in: upkeep.upstreamEndsMs === 0 ? null : secondsLeft(upkeep.upstreamEndsMs, nowMs),
    at_risk: upkeep.isAtRisk,
    refresh: refreshShape(upkeep, nowMs),
    phone: {
      by: upkeep.phone.by,
      next_in: secondsLeft(upkeep.phone.nextMs, nowMs),
      last_failure: upkeep.phone.lastFailure,
    },
  };
}

function refreshShape({ refreshedBy, next, nextMs, why, lastFailure }: Upkeep, nowMs: number): Refresh {
  return {
    by: refreshedBy,
    next,
    next_in: Number.isFinite(nextMs) ? secondsLeft(nextMs, nowMs) : null,
    why,
    last_failure: lastFailure,
  };
}

/** Milliseconds with three decimals: the clock has no more, whatever the arithmetic says. */
function microseconds(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}

function secondsLeft(atMs: number, nowMs: number): number {
  return Math.max(0, Math.round((atMs - nowMs) / 1000));
}
