/** `/v1/calls`: what is known of calls, and branches added, taken out and ended by hand (W-18). */
import type { BranchState } from "../core/proxy/branch.ts";
import { appendAddress, appendDevice, removeBranch } from "../core/silo/by_hand.ts";
import type { SiloCall } from "../core/silo/call.ts";
import type { CallRecord, CallResult, CallState, TimelineEvent, WakeState } from "../core/silo/record.ts";
import { parseUri } from "../core/sip/uri.ts";
import { readable } from "../observe/display.ts";
import { renderLadder } from "../observe/ladder.ts";
import { renderTable } from "../observe/table.ts";
import {
  doneAnswer,
  fields,
  jsonAnswer,
  type Page,
  pageAnswer,
  type PageQuery,
  pageQuery,
  param,
  textAnswer,
  wantsText,
} from "./answer.ts";
import { flowTo, resolveAor, unknownDevice } from "./aor.ts";
import { ApiError } from "./api_error.ts";
import { asInput, type ControlHost } from "./host.ts";
import type { Fields } from "./request.ts";
import { FORMAT, PAGE, type Route, route } from "./route.ts";
import { ADVICE } from "./text.ts";

/** A call in `GET /v1/calls` and `GET /v1/calls/{id}`. */
export interface CallJson {
  id: string;
  call_id: string;
  aor: string;
  from: string;
  to: string;
  state: CallState;
  result: CallResult | "";
  outcome: string;
  status: number;
  /** ISO 8601 in UTC. */
  started_at: string;
  ended_at: string | null;
  parties: string[];
  branches: BranchJson[];
  wakes: {
    device: string;
    party: string;
    state: WakeState;
    push_ms: number | null;
    wake_ms: number | null;
    reason: string;
  }[];
  timeline: {
    t_ms: number;
    event: TimelineEvent;
    from?: string;
    to?: string;
    label?: string;
    note?: string;
    device?: string;
    status?: number;
  }[];
}

export interface BranchJson {
  id: string;
  device: string;
  party: string;
  state: BranchState;
  status: number;
  late: boolean;
}

export const CALLS: readonly Route[] = [
  route({
    id: "calls",
    method: "GET",
    path: "/v1/calls",
    summary: "calls, newest first",
    query: [{ name: "state", what: "open or ended" }, { name: "aor", what: "of one AoR" }, ...PAGE, FORMAT],
    example: "/v1/calls?state=open",
    isList: true,
    answer(c, host) {
      const state = c.req.query("state") ?? "";
      if (state !== "" && state !== "open" && state !== "ended") {
        throw new ApiError(400, "invalid_value", `Cannot use state "${state.slice(0, 60)}"`, "Expected open or ended");
      }
      const filter = c.req.query("aor") ?? "";
      const aor = filter === "" ? "" : resolveAor(filter, host);
      return pageAnswer(c, callsPage(host, { state, aor, ...pageQuery(c) }), callsText);
    },
  }),
  route({
    id: "call",
    method: "GET",
    path: "/v1/calls/{id}",
    summary: "one call by our id or its Call-ID",
    query: [FORMAT],
    example: "/v1/calls/7f3a01",
    answer(c, host) {
      const record = recordOf(host, param(c, "id"));
      return wantsText(c) ? textAnswer(renderLadder(record)) : jsonAnswer(callJson(record));
    },
  }),
  route({
    id: "endCall",
    method: "DELETE",
    path: "/v1/calls/{id}",
    summary: "end an open call",
    example: "/v1/calls/7f3a01",
    answer(c, host) {
      const call = openCall(host, param(c, "id"));
      asInput(host, () => call.end("Ended by hand"));
      return doneAnswer();
    },
  }),
  route({
    id: "ladder",
    method: "GET",
    path: "/v1/calls/{id}/ladder",
    summary: "the call as a text ladder",
    example: "/v1/calls/7f3a01/ladder",
    produces: "text/plain",
    answer: (c, host) => textAnswer(renderLadder(recordOf(host, param(c, "id")))),
  }),
  route({
    id: "addBranch",
    method: "POST",
    path: "/v1/calls/{id}/branches",
    summary: "add a branch by hand: a contact or a device",
    body: "json",
    example: `/v1/calls/7f3a01/branches -d '{"contact":"sip:bob@192.0.2.7"}'`,
    status: 201,
    answer: async (c, host) => jsonAnswer(addBranch(host, param(c, "id"), branchTarget(await fields(c))), 201),
  }),
  route({
    id: "removeBranch",
    method: "DELETE",
    path: "/v1/calls/{id}/branches/{b}",
    summary: "remove a branch",
    example: "/v1/calls/7f3a01/branches/2",
    answer(c, host) {
      const [id, branch] = [param(c, "id"), param(c, "b")];
      const call = openCall(host, id);
      if (asInput(host, () => removeBranch(call, Number(branch)))) return doneAnswer();
      const hint = "See branches in GET /v1/calls/{id}";
      throw new ApiError(404, "unknown_branch", `Call ${id} has no live branch ${branch}`, hint);
    },
  }),
];

function callsPage({ core }: ControlHost, query: PageQuery & { state: CallState | ""; aor: string }): Page<CallJson> {
  const records = core.silo.allRecords().filter((record) =>
    (query.state === "" || record.state === query.state) && (query.aor === "" || record.aor === query.aor)
  );
  const start = query.after === "" ? 0 : records.findIndex(({ id }) => id === query.after) + 1;
  const page = records.slice(start, start + query.limit);
  return { items: page.map(callJson), next: records.length > start + page.length ? page.at(-1)!.id : null };
}

/** Exactly one of the two is named. */
function branchTarget(body: Fields): { contact: string } | { device: string } {
  const contact = body.text("contact");
  const device = body.text("device");
  body.end();
  if (contact && !device) return { contact };
  if (device && !contact) return { device };
  throw new ApiError(400, "invalid_body", "Cannot tell what to add", 'Send {"contact":"sip:..."} or {"device":"id"}');
}

function addBranch(host: ControlHost, id: string, target: { contact: string } | { device: string }): BranchJson {
  const call = openCall(host, id);
  return asInput(host, () => {
    if ("device" in target) {
      const contact = host.core.usrloc.find(call.aor.key)?.contacts.find((one) => one.id === target.device);
      if (contact === undefined) throw unknownDevice(call.aor.key, target.device);
      if (!appendDevice(call, contact)) {
        throw notAdded(`Device ${target.device}`, "It has one already, declined, or has no connection");
      }
    } else addAddress(host, call, target.contact);
    host.metrics.count("late_branches_total");
    return callJson(call.snapshot()).branches.at(-1)!;
  });
}

function addAddress(host: ControlHost, call: SiloCall, contact: string): void {
  const uri = parseUri(contact);
  if (uri === null || (uri.scheme !== "sip" && uri.scheme !== "sips")) {
    throw new ApiError(
      400,
      "invalid_contact",
      `Cannot read contact "${contact}"`,
      "Give a SIP URI with an IP address: sip:desk@192.0.2.7:5060",
    );
  }
  const flow = flowTo(host, uri);
  if (flow === null) {
    throw new ApiError(
      409,
      "no_route",
      `No way to ${uri.host}`,
      "Give an IP address, and a transport that latefork listens on",
    );
  }
  if (!appendAddress(call, contact, flow, host.core.dialogs.addressToken(flow, call.record.callId))) {
    throw notAdded(contact, "It has one already, or the call is full");
  }
}

/** @param id ours, or the Call-ID of the INVITE */
function recordOf({ core: { silo } }: ControlHost, id: string): CallRecord {
  const record = silo.record(id) ?? silo.allRecords().find(({ callId }) => callId === id);
  if (record === undefined) {
    throw new ApiError(
      404,
      "unknown_call",
      `There is no call ${id}`,
      "GET /v1/calls lists the open and the last ended ones",
    );
  }
  return record;
}

/** @throws ApiError 409 `call_ended` if it is over */
function openCall(host: ControlHost, id: string): SiloCall {
  const record = recordOf(host, id);
  const call = host.core.silo.call(record.id);
  if (call === undefined || !call.isOpen) {
    throw new ApiError(
      409,
      "call_ended",
      `Call ${id} is over: ${record.outcome || "it is ending"}`,
      "GET /v1/calls?state=open lists those that are not",
    );
  }
  return call;
}

function notAdded(whom: string, why: string): ApiError {
  return new ApiError(409, "branch_not_added", `${whom} gets no branch`, `${why}; see GET /v1/calls/{id}`);
}

export function callJson(record: CallRecord): CallJson {
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

/** Milliseconds with three decimals: the clock has no more, whatever the arithmetic says. */
function microseconds(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}

function callsText(calls: readonly CallJson[]): string {
  return renderTable(calls, [
    { title: "id", value: (call) => call.id },
    { title: "started", value: (call) => call.started_at.slice(0, 19).replace("T", " ") },
    { title: "state", value: (call) => call.state },
    { title: "from", value: (call) => call.from, maxWidth: 36 },
    { title: "aor", value: (call) => call.aor, maxWidth: 36 },
    { title: "branches", value: (call) => call.branches.length, align: "right" },
    { title: "late", value: (call) => call.branches.filter(({ late }) => late).length, align: "right" },
    { title: "outcome", value: (call) => call.outcome, maxWidth: ADVICE },
  ], "no calls");
}
