/**
 * Owns what the answers of Web Push services mean: one row for each documented status, and what we do about it (P-04).
 * The README shows this table. It must not know how a push is sent.
 */

/**
 * `accepted`: taken. `dead`: the subscription is dead. `smaller`: once more without its payload. `retry`: later, within
 * the window. `refused`: this push cannot be sent. `config`: no push can be sent until the admin changes something; shown
 * as the backend's health.
 */
export type WebPushAction = "accepted" | "dead" | "smaller" | "retry" | "refused" | "config";

export interface WebPushError {
  readonly status: number;
  readonly action: WebPushAction;
  /** What it means and what to do about it. Behind "403 from https://push.example.org; ". */
  readonly words: string;
}

const SUBSCRIBE =
  "the app must subscribe with the public key of push.webpush.vapid_file (`latefork keys vapid FILE` shows it)";

/** RFC 8030 §5 to §8, RFC 8292 §4, and what the services' own pages add. */
export const WEBPUSH_ERRORS: readonly WebPushError[] = [
  { status: 200, action: "accepted", words: "" },
  { status: 201, action: "accepted", words: "" },
  { status: 202, action: "accepted", words: "" },
  {
    status: 400,
    action: "config",
    words:
      `the service does not take the request: push.webpush.subject must be a mailto: or https: URL that exists, and ${SUBSCRIBE}`,
  },
  {
    status: 401,
    action: "config",
    words: `the service does not believe our VAPID token: ${SUBSCRIBE}, and this machine's clock must be right`,
  },
  {
    status: 403,
    action: "config",
    words:
      `the subscription was made with another VAPID key: ${SUBSCRIBE}, and subscribe anew after the key has changed`,
  },
  { status: 404, action: "dead", words: "there is no such subscription; the app must subscribe again" },
  { status: 405, action: "refused", words: "this is no push service: the app registered another URI" },
  { status: 410, action: "dead", words: "the app unsubscribed; it must subscribe again" },
  { status: 413, action: "smaller", words: "the message is too large for the service even without its payload" },
  { status: 429, action: "retry", words: "too many messages to this subscription" },
  { status: 500, action: "retry", words: "the service has a fault" },
  { status: 502, action: "retry", words: "the service is not available" },
  { status: 503, action: "retry", words: "the service is not available" },
  // UnifiedPush: ntfy's answer for a topic without a listener.
  {
    status: 507,
    action: "retry",
    words: "the service has no place for the message: is the phone's distributor connected?",
  },
];

const BY_STATUS: ReadonlyMap<number, WebPushError> = new Map(WEBPUSH_ERRORS.map((row) => [row.status, row]));

/** The row for an answer. An undocumented status is judged by its class. */
export function webPushErrorOf(status: number): WebPushError {
  const known = BY_STATUS.get(status);
  if (known !== undefined) return known;
  if (status >= 500) return { status, action: "retry", words: "" };
  if (status >= 200 && status < 300) return { status, action: "accepted", words: "" };
  const words = status >= 300 && status < 400 ? "redirects are not followed: the app must register the final URI" : "";
  return { status, action: "refused", words };
}
