/** `/v1/locations/{aor}/devices`: devices set by hand, and push tokens set for phones that cannot tell theirs. */
import type { Flow } from "../core/sip/flow.ts";
import { parseUri, type Uri } from "../core/sip/uri.ts";
import type { Contact, ContactFields } from "../core/usrloc/contact.ts";
import type { DeviceKind, PushKeys } from "../core/usrloc/model.ts";
import { doneAnswer, fields, jsonAnswer, param } from "./answer.ts";
import { aorParam, flowTo, registeredAor, unknownDevice } from "./aor.ts";
import { ApiError } from "./api_error.ts";
import { asDurableInput, type ControlHost } from "./host.ts";
import { type DeviceJson, deviceJson, outlooks } from "./locations.ts";
import { pushKeys } from "./push.ts";
import type { Fields } from "./request.ts";
import { AOR, type Route, route } from "./route.ts";

/** Body of the PUT. For a device that exists every field is optional; a new one needs `contact`. */
interface DevicePatch {
  contact?: string;
  kind?: DeviceKind;
  user_agent?: string;
  /** Seconds; absent: a static device that never expires. */
  expires_in?: number;
  push?: { provider: string; param?: string; prid: string; keys?: PushKeys } | null;
}

/** A device set by hand without an expiry stays until somebody deletes it. */
const NEVER_MS = 10 * 365 * 86_400_000;

export const DEVICES: readonly Route[] = [
  route({
    id: "putDevice",
    method: "PUT",
    path: "/v1/locations/{aor}/devices/{id}",
    summary: "static device, or set the push token of one",
    body: "json",
    example: `/v1/locations/${AOR}/devices/door -d '{"contact":"sip:door@192.168.1.20","kind":"desk"}'`,
    async answer(c, host) {
      const aor = aorParam(c, host);
      return jsonAnswer(await putDevice(host, aor, param(c, "id"), devicePatch(await fields(c))));
    },
  }),
  route({
    id: "deleteDevice",
    method: "DELETE",
    path: "/v1/locations/{aor}/devices/{id}",
    summary: "forget one device",
    example: `/v1/locations/${AOR}/devices/door`,
    async answer(c, host) {
      const [aor, id] = [registeredAor(host, aorParam(c, host)), param(c, "id")];
      const contact = aor.contacts.find((one) => one.id === id);
      if (contact === undefined) throw unknownDevice(aor.key, id);
      await asDurableInput(host, () => host.core.usrloc.remove(contact, "control"));
      return doneAnswer();
    },
  }),
];

function devicePatch(body: Fields): DevicePatch {
  const patch: DevicePatch = {
    contact: body.text("contact"),
    kind: body.choice("kind", ["mobile", "desk"]),
    user_agent: body.text("user_agent"),
    expires_in: body.count("expires_in"),
  };
  const push = body.object("push");
  body.end();
  if (push === undefined) return patch;
  if (push === null) return { ...patch, push: null };
  patch.push = { provider: push.requiredText("provider"), param: push.text("param"), prid: push.requiredText("prid") };
  const keys = pushKeys(push);
  if (keys !== undefined) patch.push.keys = keys;
  push.end();
  return patch;
}

async function putDevice(host: ControlHost, key: string, id: string, patch: DevicePatch): Promise<DeviceJson> {
  const { core } = host;
  const known = core.usrloc.find(key)?.contacts.find((contact) => contact.id === id) ?? null;
  if (known === null) checkNew(host, key, id, patch);
  const uri = patch.contact === undefined ? null : readContact(patch.contact);
  return await asDurableInput(host, () => {
    const { nowMs } = host.turn;
    const flow = uri === null ? known?.flow ?? null : flowTo(host, uri);
    const [user = "", domain = ""] = splitAor(key);
    const aor = core.usrloc.ensure(key, user, domain, core.writer.aorId(key));
    const fields = fieldsOf(known, patch, flow, nowMs);
    const saved = core.usrloc.save(aor, known, id, fields, flow);
    if (patch.push !== undefined) {
      saved.push = fields.push;
      core.usrloc.touched(saved);
    }
    core.deviceSet(saved);
    return deviceJson(saved, outlooks(host), nowMs);
  });
}

function checkNew(host: ControlHost, key: string, id: string, { contact }: DevicePatch): void {
  if (contact === undefined) {
    throw new ApiError(404, "unknown_device", `${key} has no device ${id}`, "Give contact to make a static device");
  }
  if (!/^[a-z0-9]{1,64}$/.test(id)) {
    throw new ApiError(
      400,
      "invalid_device_id",
      `Cannot use "${id.slice(0, 100)}" as a device id`,
      "Take up to 64 lower-case letters and digits",
    );
  }
  const other = host.core.usrloc.contact(id);
  if (other !== undefined) {
    throw new ApiError(
      409,
      "device_id_taken",
      `${other.aor.key} has a device ${id} already`,
      "Take another id, or DELETE that device",
    );
  }
  checkDomain(host, key);
}

/** A device of another domain would never be called. */
function checkDomain({ config: { domain } }: ControlHost, key: string): void {
  const own = splitAor(key)[1];
  if (domain.length === 0 || domain.some((name) => name.toLowerCase() === own)) return;
  throw new ApiError(400, "foreign_domain", `${own} is none of our domains`, `Ours: ${domain.join(", ")}`);
}

function splitAor(key: string): [string, string] {
  const at = key.lastIndexOf("@");
  return [key.slice(0, at), key.slice(at + 1)];
}

function readContact(contact: string): Uri {
  const uri = parseUri(contact);
  if (uri !== null && uri.scheme !== "tel") return uri;
  throw new ApiError(
    400,
    "invalid_contact",
    `Cannot read contact "${contact}"`,
    "Give a SIP URI such as sip:alice@192.0.2.7:5060",
  );
}

/** What is known of the device, with the patch applied. What a REGISTER said stays, where the patch says nothing of it. */
function fieldsOf(known: Contact | null, patch: DevicePatch, flow: Flow | null, nowMs: number): ContactFields {
  const push = patch.push === undefined ? known?.push ?? null : patch.push === null ? null : {
    provider: patch.push.provider.toLowerCase(),
    param: patch.push.param ?? "",
    prid: patch.push.prid,
    tokenState: "unknown" as const,
    registeredAtMs: nowMs,
    keys: patch.push.keys,
    isByHand: true,
  };
  return {
    uri: patch.contact ?? known!.uri,
    params: known?.params ?? "",
    instance: known?.instance ?? "",
    regId: known?.regId ?? 0,
    q: known?.q ?? 1000,
    // At another address it is another sender: the Call-ID of the phone that registered proves nothing there.
    callId: patch.contact === undefined ? known?.callId ?? "" : "",
    cseq: known?.cseq ?? 0,
    expiresAtMs: patch.expires_in === undefined
      ? known?.expiresAtMs ?? nowMs + NEVER_MS
      : nowMs + patch.expires_in * 1000,
    registeredAtMs: known?.registeredAtMs ?? nowMs,
    path: known?.path ?? "",
    userAgent: patch.user_agent ?? known?.userAgent ?? "",
    // a device with a token is woken, which is what `mobile` means.
    kind: patch.kind ?? (patch.push ? "mobile" : known?.kind ?? "desk"),
    push,
    flowKey: flow?.key ?? known?.flowKey ?? "",
  };
}
