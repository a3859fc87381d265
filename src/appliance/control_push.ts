/** `/v1/push`: how the push services do, the last pushes, and pushes sent by hand. */
import { ApiError } from "../control/backend.ts";
import type { PushBackendInfo, PushBody, PushRecent, PushReply } from "../control/backend.ts";
import { TEST_TTL_MS } from "../io/push/relay.ts";
import { pushOfNoCall } from "../io/push/request.ts";
import type { PushEvent, PushVerdict } from "../io/push/types.ts";
import { ControlResource, unknownDevice } from "./control_resource.ts";

const PUSH_EVENTS: readonly string[] = ["call", "message", "refresh", "cancel", "missed", "test"];

export class ControlPush extends ControlResource {
  pushBackends(): PushBackendInfo[] {
    return this.appliance.relay.backends().map((
      { provider, backend, state, accepted, refused, dead, failed, last_error, hosts },
    ) => ({
      provider,
      kind: backend.split(".")[0]!,
      state: state === "ok" ? "healthy" as const : state === "unused" ? "unused" as const : "failing" as const,
      accepted,
      refused: refused + dead,
      failed,
      last_reason: last_error,
      ...(backend === "webpush" ? { hosts } : {}),
    }));
  }

  async push(body: PushBody): Promise<PushReply> {
    const event = body.event ?? "test";
    if (!PUSH_EVENTS.includes(event)) {
      throw new ApiError(400, "invalid_event", `Unknown event "${event}"`, `One of ${PUSH_EVENTS.join(", ")}`);
    }
    if ("provider" in body) {
      return verdictShape(await this.appliance.relay.testPush(body, event as PushEvent), "");
    }
    const aor = this.aor(body.aor);
    const contact = aor.contacts.find((one) => body.device === undefined ? one.push !== null : one.id === body.device);
    if (contact === undefined && body.device !== undefined) throw unknownDevice(aor.key, body.device);
    if (contact === undefined || contact.push === null) {
      throw new ApiError(
        409,
        "not_pushable",
        contact === undefined ? `${aor.key} has no device with a push token` : `Device ${contact.id} has no push token`,
        "See push in GET /v1/locations/{aor}; a token comes with the REGISTER, or by PUT .../devices/{id}",
      );
    }
    const { prid } = contact.push;
    const to = { ...contact.push, uuid: crypto.randomUUID() };
    const sentAtMs = this.nowMs;
    const verdict = await this.appliance.relay.sendNow({
      ...pushOfNoCall(to, event as PushEvent, TEST_TTL_MS),
      aor: aor.key,
      device: contact.id,
      toUri: "sip:" + aor.key,
    });
    this.input(() =>
      this.appliance.core.pushResult(verdict, contact.id, prid, Math.min(sentAtMs, verdict.deadSinceMs ?? sentAtMs))
    );
    return verdictShape(verdict, contact.id);
  }

  pushRecent(): PushRecent[] {
    const recent = this.appliance.relay.recent();
    return recent.map(({ at, aor, device, event, provider, status, accepted, outcome, reason, ms }) => ({
      at,
      aor,
      device,
      event,
      provider,
      status,
      accepted,
      outcome,
      reason,
      ms,
    }));
  }
}

function verdictShape(verdict: PushVerdict, device: string): PushReply {
  const { provider, status, outcome, reason, ms } = verdict;
  return { provider, device, status, accepted: outcome === "accepted", outcome, reason, ms: Math.round(ms * 10) / 10 };
}
