/**
 * A push → the value of each placeholder (P-10). Pure. Everything a stranger chose is bounded here, and well-formed
 * Unicode; what it may break out of is the filling's business (`fill.ts`).
 */
import { createHash } from "node:crypto";
import { parseUri } from "../../../core/sip/uri.ts";
import type { Placeholder } from "../../../config/sender/template.ts";
import { apnsTargetOf } from "../apns/target.ts";
import { decodeSipText, pushFields } from "../payload.ts";
import type { PushRequest } from "../types.ts";

/** Characters of a caller's name, and of a number. */
export const MAX_NAME = 128;
/** Half a URI is a wrong one: a longer one is left empty. */
export const MAX_URI = 512;

export type PlaceholderValues = Readonly<Record<Placeholder, string>>;

/** What is known of the sender itself. */
export interface SenderFacts {
  readonly wakeUrl: string;
  /** What stands in its token file; empty: it has none. */
  readonly token: string;
}

/**
 * @param nowMs by the system clock.
 * @param leftMs what is left of the push's life.
 */
export function placeholderValues(
  request: PushRequest,
  facts: SenderFacts,
  nowMs: number,
  leftMs: number,
): PlaceholderValues {
  const fields = pushFields(request, nowMs, leftMs);
  const name = start(fields.from_name.trim(), MAX_NAME);
  const number = start(decodeSipText(userOf(request.fromUri)), MAX_NAME);
  const uri = fields.from_uri.length <= MAX_URI ? fields.from_uri : "";
  const at = fields.aor.lastIndexOf("@");
  const [prid1 = "", prid2 = "", prid3 = ""] = fields.prid.split(",");
  const [param1 = "", param2 = ""] = fields.param.split(",");
  return {
    prid: fields.prid,
    "prid.1": prid1,
    "prid.2": prid2,
    "prid.3": prid3,
    param: fields.param,
    "param.1": param1,
    "param.2": param2,
    provider: fields.provider,
    ...appleParts(fields.provider, fields.param, fields.prid),
    event: fields.event,
    reason: fields.reason ?? "",
    call_id: fields.call_id,
    plain_call_id: /^[\w~@.-]+$/.test(fields.call_id) ? fields.call_id : "",
    call_key: callKey(request.callId),
    uuid: fields.uuid,
    from_name: name,
    from_user: number,
    from_uri: uri,
    // RFC 3323 §4.1.1.3
    caller_uri: uri || "sip:anonymous@anonymous.invalid",
    caller: name || number || "Unknown caller",
    to_user: start(decodeSipText(userOf(request.toUri)), MAX_NAME) || (at === -1 ? "" : fields.aor.slice(0, at)),
    to_uri: fields.to_uri.length <= MAX_URI ? fields.to_uri : "",
    aor: fields.aor,
    device: fields.device,
    ttl: String(fields.ttl),
    sent_at: fields.sent_at,
    sent_unix: String(Math.floor(nowMs / 1000)),
    wake_url: facts.wakeUrl,
    token: facts.token,
  };
}

/** The same for all pushes about a call, and fit for a path, a tag or a header; empty without a call. */
export function callKey(callId: string): string {
  return callId === "" ? "" : createHash("sha256").update(callId, "latin1").digest("base64url").slice(0, 22);
}

/** A service that knows one token a push is given that of its kind (Linphone registers both in one). */
function appleParts(
  provider: string,
  param: string,
  prid: string,
): Pick<PlaceholderValues, "call_prid" | "call_param" | "other_prid" | "other_param"> {
  const as = { call_prid: prid, call_param: param, other_prid: prid, other_param: param };
  if (!prid.includes("&") || !provider.startsWith("apns")) return as;
  const target = apnsTargetOf(provider, param, prid);
  if (typeof target === "string") return as;
  const app = target.team === "" ? target.bundle : `${target.team}.${target.bundle}`;
  if (target.voipToken !== "") {
    as.call_prid = target.voipToken;
    as.call_param = `${app}.voip`;
  }
  if (target.alertToken !== "") {
    as.other_prid = target.alertToken;
    as.other_param = app;
  }
  return as;
}

/** The user part of a SIP URI or the number of a tel URI, unescaped. */
function userOf(text: string): string {
  const uri = parseUri(text);
  if (uri === null) return "";
  if (uri.scheme === "tel") return text.slice("tel:".length).split(";")[0] ?? "";
  const user = uri.user.split(";")[0] ?? "";
  return user.replace(/%([0-9a-f]{2})/gi, (_all, hex: string) => String.fromCharCode(parseInt(hex, 16)));
}

/** The first so many code points. */
function start(text: string, count: number): string {
  if (text.length <= count) return text;
  let end = 0;
  let left = count;
  for (const codePoint of text) {
    if (left-- === 0) break;
    end += codePoint.length;
  }
  return text.slice(0, end);
}
