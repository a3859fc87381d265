/**
 * Owns the JSON a push carries: fields, order, size and text encoding, as in the "Webhook push" section of the
 * interface. A serialiser writes it, as names come from strangers. It must not know where the body goes.
 */
import { createHash } from "node:crypto";
import type { PushRequest } from "./types.ts";

/** Largest body in bytes: what every push service takes (P-03). */
export const MAX_BODY_BYTES = 4096;

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Text of a SIP message (one character a byte) as Unicode. Bytes that are no UTF-8 are taken for Latin-1, which old
 * desk phones send; text that is Unicode already stays.
 */
export function decodeSipText(text: string): string {
  let isAscii = true;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    // JSON of half a surrogate pair is refused by services that want Unicode.
    if (code > 0xff) return text.toWellFormed();
    if (code > 0x7f) isAscii = false;
  }
  if (isAscii) return text;
  try {
    return utf8.decode(Buffer.from(text, "latin1"));
  } catch {
    return text;
  }
}

/** What a push says, in the order of the interface, all text Unicode. A backend takes the fields its service is to carry. */
export interface PushFields {
  event: string;
  aor: string;
  device: string;
  provider: string;
  param: string;
  prid: string;
  call_id: string;
  uuid: string;
  from_uri: string;
  from_name: string;
  to_uri: string;
  sent_at: string;
  ttl: number;
  reason?: string;
}

/**
 * @param sentAtMs ms since the epoch.
 * @param leftMs what is left of the window, written as `ttl` in whole seconds, rounded up.
 */
export function pushFields(request: PushRequest, sentAtMs: number, leftMs: number): PushFields {
  const fields: PushFields = {
    event: request.event,
    aor: decodeSipText(request.aor),
    device: decodeSipText(request.device),
    provider: decodeSipText(request.provider),
    param: decodeSipText(request.param),
    prid: decodeSipText(request.prid),
    call_id: decodeSipText(request.callId),
    uuid: request.uuid,
    from_uri: decodeSipText(request.fromUri),
    from_name: decodeSipText(request.fromName),
    to_uri: decodeSipText(request.toUri),
    sent_at: new Date(sentAtMs).toISOString(),
    ttl: Math.max(0, Math.ceil(leftMs / 1000)),
  };
  if (request.reason !== undefined) fields.reason = request.reason;
  return fields;
}

/** The fields of the webhook but for what the phone knows (its token or subscription). */
export function shown(fields: PushFields): Omit<PushFields, "device" | "provider" | "param" | "prid"> {
  const { device: _device, provider: _provider, param: _param, prid: _prid, ...said } = fields;
  return said;
}

/**
 * Body of a webhook push of at most {@link MAX_BODY_BYTES}.
 *
 * @returns null if token, AoR and Call-ID alone are too large.
 */
export function webhookBody(request: PushRequest, sentAtMs: number, leftMs: number): string | null {
  return fit(pushFields(request, sentAtMs, leftMs), MAX_BODY_BYTES, (fields) => JSON.stringify(fields));
}

/**
 * A body of at most `maxBytes`. Text that strangers chose is cut first: `from_name` between two code points; then `from_uri`
 * and `to_uri` are left empty, as half a URI is a wrong one.
 *
 * @param write makes the body; it may put `from_name` in several places, and each time as a JSON string.
 * @returns null if the rest alone is too large.
 */
export function fit(all: PushFields, maxBytes: number, write: (fields: PushFields) => string): string | null {
  const whole = write(all);
  if (Buffer.byteLength(whole) <= maxBytes) return whole;

  const fields = { ...all };
  for (const field of ["from_name", "from_uri", "to_uri"] as const) {
    fields[field] = "";
    fields.from_name = "";
    const bare = Buffer.byteLength(write(fields));
    if (bare > maxBytes) continue;
    const copies = Buffer.byteLength(write({ ...fields, from_name: "x" })) - bare;
    fields.from_name = cutToFit(all.from_name, Math.floor((maxBytes - bare) / Math.max(1, copies)));
    return write(fields);
  }
  return null;
}

/** The longest start of `text` in whole code points that takes at most `room` bytes inside a JSON string. */
function cutToFit(text: string, room: number): string {
  let end = 0;
  let left = room;
  for (const codePoint of text) {
    left -= Buffer.byteLength(JSON.stringify(codePoint)) - 2;
    if (left < 0) break;
    end += codePoint.length;
  }
  return text.slice(0, end);
}

/**
 * APNs and CallKit want UUIDs. One that is none becomes a UUID of version 8 (RFC 9562 §5.8), always the same.
 */
export function canonicalUuid(uuid: string): string {
  if (/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(uuid)) return uuid.toLowerCase();
  const hex = createHash("sha256").update(uuid).digest("hex");
  const variant = (parseInt(hex[16]!, 16) & 3 | 8).toString(16);
  return [hex.slice(0, 8), hex.slice(8, 12), `8${hex.slice(13, 16)}`, variant + hex.slice(17, 20), hex.slice(20, 32)]
    .join("-");
}
