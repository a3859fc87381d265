/**
 * Owns the JSON a push carries: fields, order, size and text encoding, as in the "Webhook push" section of the
 * interface. Names come from strangers, so a serialiser writes it. It must not know where the body goes.
 */
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
    if (code > 0xff) return text;
    if (code > 0x7f) isAscii = false;
  }
  if (isAscii) return text;
  try {
    return utf8.decode(Buffer.from(text, "latin1"));
  } catch {
    return text;
  }
}

/**
 * Body of a webhook push of at most {@link MAX_BODY_BYTES}. What a stranger chose gives way first: `from_name` is cut
 * between two code points, then `from_uri` and `to_uri` are left empty (half a URI is a wrong one).
 *
 * @param sentAtMs ms since the epoch.
 * @param leftMs what is left of the window, written as `ttl` in whole seconds, rounded up.
 * @returns null if token, AoR and Call-ID alone are too large.
 */
export function webhookBody(request: PushRequest, sentAtMs: number, leftMs: number): string | null {
  const fields: Record<string, string | number> = {
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
  const whole = JSON.stringify(fields);
  if (Buffer.byteLength(whole) <= MAX_BODY_BYTES) return whole;

  const fromName = fields.from_name as string;
  for (const field of ["from_name", "from_uri", "to_uri"]) {
    fields[field] = "";
    const room = MAX_BODY_BYTES - Buffer.byteLength(JSON.stringify(fields));
    if (room < 0) continue;
    fields.from_name = cutToFit(fromName, room);
    return JSON.stringify(fields);
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
