/** `/v1/calls` and `/v1/silo`: what is known of calls, and branches added, taken out and ended by hand (W-18). */
import { ApiError } from "../control/backend.ts";
import type { Call, CallBranch, Page, PageQuery, SiloEntry } from "../control/backend.ts";
import { callShape } from "../control/shapes.ts";
import { renderLadder } from "../observe/ladder.ts";
import { appendAddress, appendDevice, removeBranch } from "../core/silo/by_hand.ts";
import type { SiloCall } from "../core/silo/call.ts";
import type { CallRecord, CallState } from "../core/silo/record.ts";
import { parseUri } from "../core/sip/uri.ts";
import { ControlResource, unknownDevice } from "./control_resource.ts";

export class ControlCalls extends ControlResource {
  calls(query: PageQuery & { state: CallState | ""; aor: string }): Page<Call> {
    const records = this.appliance.core.silo.allRecords().filter((record) =>
      (query.state === "" || record.state === query.state) && (query.aor === "" || record.aor === query.aor)
    );
    const start = query.after === "" ? 0 : records.findIndex(({ id }) => id === query.after) + 1;
    const page = records.slice(start, start + query.limit);
    return { items: page.map(callShape), next: records.length > start + page.length ? page.at(-1)!.id : null };
  }

  call(id: string): Call {
    return callShape(this.record(id));
  }

  ladder(id: string): string {
    return renderLadder(this.record(id));
  }

  endCall(id: string): void {
    const call = this.openCall(id);
    this.input(() => call.end("Ended by hand"));
  }

  addBranch(id: string, target: { contact: string } | { device: string }): CallBranch {
    const call = this.openCall(id);
    return this.input(() => {
      if ("device" in target) {
        const contact = call.aor.contacts.find((one) => one.id === target.device);
        if (contact === undefined) throw unknownDevice(call.aor.key, target.device);
        if (!appendDevice(call, contact)) {
          throw notAdded(`Device ${target.device}`, "It has one already, declined, or has no connection");
        }
      } else this.addAddress(call, target.contact);
      this.countLate(1);
      return callShape(call.snapshot()).branches.at(-1)!;
    });
  }

  removeBranch(id: string, branch: string): void {
    const call = this.openCall(id);
    if (!this.input(() => removeBranch(call, Number(branch)))) {
      throw new ApiError(
        404,
        "unknown_branch",
        `Call ${id} has no live branch ${branch}`,
        "See branches in GET /v1/calls/{id}",
      );
    }
  }

  silo(): SiloEntry[] {
    return [...this.appliance.core.silo.openByAor().keys()].sort().map((aor) => this.siloOf(aor));
  }

  siloOf(aor: string): SiloEntry {
    return {
      aor,
      calls: this.appliance.core.silo.callsOf(aor).map((call) => {
        const record = call.snapshot();
        return {
          id: record.id,
          call_id: record.callId,
          from: record.from,
          held: call.isHeld,
          branches: record.branches.length,
          waiting: record.wakes.filter(({ state }) => state === "waiting").length,
          age_ms: Math.round(this.nowMs - record.startedAtMs),
        };
      }),
    };
  }

  append(key: string): { calls: number; branches: number } {
    const aor = this.aor(key);
    return this.input(() => {
      const added = this.appliance.core.silo.appendAll(aor);
      this.countLate(added.branches);
      return added;
    });
  }

  /** Late branches by hand: those of REGISTERs are counted by the silo. */
  private countLate(branches: number): void {
    for (let i = 0; i < branches; i++) this.appliance.metrics.count("late_branches_total");
  }

  private addAddress(call: SiloCall, contact: string): void {
    const uri = parseUri(contact);
    if (uri === null || (uri.scheme !== "sip" && uri.scheme !== "sips")) {
      throw new ApiError(
        400,
        "invalid_contact",
        `Cannot read contact "${contact}"`,
        "Give a SIP URI with an IP address: sip:desk@192.0.2.7:5060",
      );
    }
    const { core } = this.appliance;
    const flow = this.flowTo(uri);
    if (flow === null) {
      throw new ApiError(
        409,
        "no_route",
        `No way to ${uri.host}`,
        "Give an IP address, and a transport that latefork listens on",
      );
    }
    if (!appendAddress(call, contact, flow, core.dialogs.addressToken(flow, call.record.callId))) {
      throw notAdded(contact, "It has one already, or the call is full");
    }
  }

  private record(id: string): CallRecord {
    const { silo } = this.appliance.core;
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

  private openCall(id: string): SiloCall {
    const record = this.record(id);
    const call = this.appliance.core.silo.call(record.id);
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
}

function notAdded(whom: string, why: string): ApiError {
  return new ApiError(409, "branch_not_added", `${whom} gets no branch`, `${why}; see GET /v1/calls/{id}`);
}
