/** `/v1/push`: how the push services do, the last pushes, and pushes sent by hand (P-08). */
import { ECDH } from "node:crypto";
import type { PushKeys } from "../core/usrloc/model.ts";
import { renderTable } from "../observe/table.ts";
import { fields, jsonAnswer, listAnswer } from "./answer.ts";
import { registeredAor, resolveAor, unknownDevice } from "./aor.ts";
import { ApiError } from "./api_error.ts";
import {
  asInput,
  type ControlHost,
  type HandEvent,
  type HandVerdict,
  type PushBackendState,
  type PushToken,
  type RecentPush,
} from "./host.ts";
import type { Fields } from "./request.ts";
import { FORMAT, type Route, route } from "./route.ts";
import { ADVICE } from "./text.ts";

/** A backend in `GET /v1/push`. */
export interface PushBackendJson {
  provider: string;
  /** `apns`, `fcm`, `webpush`, `http`, `webhook`. */
  kind: string;
  /** `unused` until the first answer. */
  state: "unused" | "healthy" | "failing";
  accepted: number;
  refused: number;
  failed: number;
  last_reason: string;
  /** Of Web Push, where each phone names its service: how those do that were asked, the last one first. */
  hosts?: { host: string; state: "healthy" | "failing"; last_reason: string }[];
}

/** Answer of `POST /v1/push`. */
export interface VerdictJson {
  provider: string;
  /** Empty for a bare token. */
  device: string;
  status: number;
  accepted: boolean;
  outcome: HandVerdict["outcome"];
  reason: string;
  ms: number;
}

/** `GET /v1/push/recent`, newest first. */
export interface RecentPushJson extends VerdictJson {
  at: string;
  aor: string;
  event: string;
}

export const PUSH: readonly Route[] = [
  route({
    id: "pushBackends",
    method: "GET",
    path: "/v1/push",
    summary: "push backends and their health",
    query: [FORMAT],
    example: "/v1/push",
    isList: true,
    answer: (c, host) => listAnswer(c, pushBackends(host), pushBackendsText),
  }),
  route({
    id: "push",
    method: "POST",
    path: "/v1/push",
    summary: "send one push, to a device of an AoR or to a token",
    body: "json",
    example: `/v1/push -d '{"aor":"alice@example.org"}'`,
    async answer(c, host) {
      c.env.keepOpen();
      return jsonAnswer(await push(host, pushOrder(await fields(c), host)));
    },
  }),
  route({
    id: "pushRecent",
    method: "GET",
    path: "/v1/push/recent",
    summary: "last results",
    query: [FORMAT],
    example: "/v1/push/recent",
    isList: true,
    answer: (c, host) => listAnswer(c, host.relay.recent().map(recentJson), pushRecentText),
  }),
];

/** Every push backend of the config, as `GET /v1/push` and `GET /v1/status` show it. */
export function pushBackends({ relay }: ControlHost): PushBackendJson[] {
  return relay.backends().map(backendJson);
}

function backendJson(of: PushBackendState): PushBackendJson {
  const { provider, backend, state, accepted, refused, dead, failed, last_error, hosts } = of;
  return {
    provider,
    kind: backend.split(".")[0]!,
    state: state === "ok" ? "healthy" : state === "unused" ? "unused" : "failing",
    accepted,
    refused: refused + dead,
    failed,
    last_reason: last_error,
    ...(backend === "webpush" ? { hosts } : {}),
  };
}

/** A device of an AoR (the first that can be woken, or the one named), or a bare token. */
type HandPush = { aor: string; device?: string; event: HandEvent } | { token: PushToken; event: HandEvent };

const EVENTS: readonly HandEvent[] = ["call", "message", "refresh", "cancel", "missed", "test"];

function pushOrder(body: Fields, host: ControlHost): HandPush {
  const aor = body.text("aor");
  const event = body.choice("event", EVENTS) ?? "test";
  if (aor) {
    const device = body.text("device");
    body.end();
    return { aor: resolveAor(aor, host), event, ...(device === undefined ? {} : { device }) };
  }
  if (body.text("provider") === undefined) {
    throw new ApiError(
      400,
      "invalid_body",
      "Cannot tell whom to push",
      'Send {"aor":"alice@example.org"} or {"provider":"...","param":"...","prid":"..."}',
    );
  }
  const token = {
    provider: body.requiredText("provider").toLowerCase(),
    param: body.text("param") ?? "",
    prid: body.requiredText("prid"),
  };
  const keys = pushKeys(body);
  body.end();
  return { token: keys === undefined ? token : { ...token, keys }, event };
}

/**
 * The keys of a Web Push subscription, as a browser's PushSubscription has them: both or none.
 * @throws ApiError 400 `invalid_keys`
 */
export function pushKeys(body: Fields): PushKeys | undefined {
  const [p256dh, auth] = [body.text("p256dh"), body.text("auth")];
  if (p256dh === undefined && auth === undefined) return undefined;
  const point = Buffer.from(p256dh ?? "", "base64url");
  const secret = Buffer.from(auth ?? "", "base64url");
  if (!isPoint(point) || secret.length !== 16) {
    throw new ApiError(
      400,
      "invalid_keys",
      "Cannot use p256dh and auth as the keys of a subscription",
      "Expected both, in base64url: a point of 65 bytes on P-256, and 16 bytes",
    );
  }
  return { p256dh: point.toString("base64url"), auth: secret.toString("base64url") };
}

function isPoint(bytes: Uint8Array): boolean {
  try {
    ECDH.convertKey(bytes, "prime256v1");
    return bytes.length === 65;
  } catch {
    return false;
  }
}

async function push(host: ControlHost, order: HandPush): Promise<VerdictJson> {
  if ("token" in order) return verdictJson(await host.relay.testPush(order.token, order.event), "");
  const aor = registeredAor(host, order.aor);
  const { device } = order;
  const contact = aor.contacts.find((one) => device === undefined ? one.push !== null : one.id === device);
  if (contact === undefined && device !== undefined) throw unknownDevice(aor.key, device);
  if (contact === undefined || contact.push === null) {
    throw new ApiError(
      409,
      "not_pushable",
      contact === undefined ? `${aor.key} has no device with a push token` : `Device ${contact.id} has no push token`,
      "See push in GET /v1/locations/{aor}; a token comes with the REGISTER, or by PUT .../devices/{id}",
    );
  }
  const { prid } = contact.push;
  const sentAtMs = host.turn.nowMs;
  const to = { aor: aor.key, device: contact.id };
  const verdict = await host.relay.pushByHand(contact.push, order.event, to);
  const sinceMs = Math.min(sentAtMs, verdict.deadSinceMs ?? sentAtMs);
  asInput(host, () => host.core.pushResult(verdict, contact.id, prid, sinceMs));
  return verdictJson(verdict, contact.id);
}

function verdictJson({ provider, status, outcome, reason, ms }: HandVerdict, device: string): VerdictJson {
  return { provider, device, status, accepted: outcome === "accepted", outcome, reason, ms: Math.round(ms * 10) / 10 };
}

function recentJson(of: RecentPush): RecentPushJson {
  const { at, aor, device, event, provider, status, accepted, outcome, reason, ms } = of;
  return { at, aor, device, event, provider, status, accepted, outcome, reason, ms };
}

/** The push services, and, where phones name them (Web Push), those of them that fail. */
export function pushBackendsText(backends: readonly PushBackendJson[]): string {
  // Of one alone the backend's own line says it all.
  const failing = backends.flatMap(({ hosts = [] }) =>
    hosts.length > 1 ? hosts.filter(({ state }) => state === "failing") : []
  );
  return backendsTable(backends) + (failing.length === 0 ? "" : "\n" + failingTable(failing));
}

function failingTable(hosts: NonNullable<PushBackendJson["hosts"]>): string {
  return renderTable(hosts, [
    { title: "failing service", value: ({ host }) => host },
    { title: "last", value: ({ last_reason }) => last_reason, maxWidth: ADVICE },
  ]);
}

function backendsTable(backends: readonly PushBackendJson[]): string {
  return renderTable(backends, [
    { title: "provider", value: (backend) => backend.provider },
    { title: "kind", value: (backend) => backend.kind },
    { title: "state", value: (backend) => backend.state },
    { title: "accepted", value: (backend) => backend.accepted, align: "right" },
    { title: "refused", value: (backend) => backend.refused, align: "right" },
    { title: "failed", value: (backend) => backend.failed, align: "right" },
    { title: "last", value: (backend) => backend.last_reason, maxWidth: ADVICE },
  ], "no push backends");
}

export function pushRecentText(pushes: readonly RecentPushJson[]): string {
  return renderTable(pushes, [
    { title: "at", value: (push) => push.at },
    { title: "provider", value: (push) => push.provider },
    { title: "event", value: (push) => push.event },
    { title: "aor", value: (push) => push.aor },
    { title: "device", value: (push) => push.device },
    { title: "status", value: (push) => push.status, align: "right" },
    { title: "accepted", value: (push) => push.accepted ? "yes" : "no" },
    { title: "ms", value: (push) => Math.round(push.ms), align: "right" },
    { title: "reason", value: (push) => push.reason, maxWidth: ADVICE },
  ], "no pushes");
}
