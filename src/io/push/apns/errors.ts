/**
 * Owns what APNs' answers mean: one row for each documented reason, and what we do about it (P-04). The README shows
 * this table. It must not know how a push is sent.
 */

/**
 * `dead`: the token is dead. `environment`: the other of production and sandbox is tried once. `token`: a new
 * provider token, once. `connection`: a new connection, once. `retry`: later, within the window. `refused`: this push
 * cannot be sent. `config`: no push can be sent until the admin changes something; shown as the backend's health.
 */
export type ApnsAction = "dead" | "environment" | "token" | "connection" | "retry" | "refused" | "config";

export interface ApnsError {
  readonly status: number;
  /** As APNs spells it. */
  readonly reason: string;
  readonly action: ApnsAction;
  /** What it means and what to do about it. Behind "403 InvalidProviderToken from https://api.push.apple.com: ". */
  readonly words: string;
}

const KEYS_PAGE = "developer.apple.com → Certificates, Identifiers & Profiles → Keys";
const WRONG_TOPIC = "pn-param must be TEAMID.BUNDLEID of the app, with .voip behind it for a PushKit token";
const OURS = "a fault of latefork, please report it";

/** developer.apple.com, "Handling notification responses from APNs", in its order. */
export const APNS_ERRORS: readonly ApnsError[] = [
  { status: 400, reason: "BadCollapseId", action: "refused", words: OURS },
  {
    status: 400,
    reason: "BadDeviceToken",
    action: "environment",
    words: "the token is of the other environment, or broken: the app must register the one iOS gave it",
  },
  { status: 400, reason: "BadExpirationDate", action: "refused", words: OURS },
  { status: 400, reason: "BadMessageId", action: "refused", words: OURS },
  { status: 400, reason: "BadPriority", action: "refused", words: OURS },
  { status: 400, reason: "BadTopic", action: "refused", words: `the topic is not valid; ${WRONG_TOPIC}` },
  {
    status: 400,
    reason: "DeviceTokenNotForTopic",
    action: "refused",
    words: `the token belongs to another app or kind; ${WRONG_TOPIC}`,
  },
  { status: 400, reason: "DuplicateHeaders", action: "refused", words: OURS },
  { status: 400, reason: "IdleTimeout", action: "retry", words: "the connection was idle for too long" },
  { status: 400, reason: "InvalidPushType", action: "refused", words: OURS },
  { status: 400, reason: "MissingDeviceToken", action: "refused", words: "the phone registered no token" },
  { status: 400, reason: "MissingTopic", action: "refused", words: WRONG_TOPIC },
  { status: 400, reason: "PayloadEmpty", action: "refused", words: OURS },
  {
    status: 400,
    reason: "TopicDisallowed",
    action: "refused",
    words: "the key may not push to this app: the app must belong to push.apns.team_id, and its App ID have Push " +
      `Notifications; ${WRONG_TOPIC}`,
  },
  {
    status: 403,
    reason: "BadCertificate",
    action: "config",
    words: "something on the way presents a certificate; latefork uses none",
  },
  {
    status: 403,
    reason: "BadCertificateEnvironment",
    action: "config",
    words: "something on the way presents a certificate; latefork uses none",
  },
  {
    status: 403,
    reason: "ExpiredProviderToken",
    action: "token",
    words: "a fresh provider token counts as expired: set the clock of this machine (NTP)",
  },
  {
    status: 403,
    reason: "Forbidden",
    action: "config",
    words: `the action is not allowed: does the key have Apple Push Notifications service? See ${KEYS_PAGE}`,
  },
  {
    status: 403,
    reason: "InvalidProviderToken",
    action: "config",
    words: "push.apns.key_file, key_id and team_id do not belong together, or the key was revoked, or this machine's " +
      `clock is wrong; compare with ${KEYS_PAGE}`,
  },
  { status: 403, reason: "MissingProviderToken", action: "config", words: "something on the way drops Authorization" },
  {
    status: 403,
    reason: "UnrelatedKeyIdInToken",
    action: "connection",
    words: "the connection was opened with another key; push.apns.key_id must be the id of key_file",
  },
  {
    status: 403,
    reason: "BadEnvironmentKeyIdInToken",
    action: "config",
    words: `the key is not for this environment: make one for Sandbox & Production; see ${KEYS_PAGE}`,
  },
  // Not on Apple's page, but what its servers are seen to say for the same.
  {
    status: 403,
    reason: "BadEnvironmentKeyInToken",
    action: "config",
    words: `the key is not for this environment: make one for Sandbox & Production; see ${KEYS_PAGE}`,
  },
  { status: 404, reason: "BadPath", action: "refused", words: "the token the phone registered is no token" },
  { status: 405, reason: "MethodNotAllowed", action: "refused", words: "is push.apns.server right?" },
  {
    status: 410,
    reason: "ExpiredToken",
    action: "dead",
    words: "the token has expired; the app gets a new one when it is started",
  },
  {
    status: 410,
    reason: "Unregistered",
    action: "dead",
    words: "the app was removed, or has another token now; it must register again",
  },
  { status: 413, reason: "PayloadTooLarge", action: "refused", words: OURS },
  {
    status: 429,
    reason: "TooManyProviderTokenUpdates",
    action: "retry",
    words: "the provider token was changed too often: does another program use the same key?",
  },
  { status: 429, reason: "TooManyRequests", action: "retry", words: "too many pushes to this device" },
  { status: 500, reason: "InternalServerError", action: "retry", words: "a fault at Apple" },
  { status: 503, reason: "ServiceUnavailable", action: "retry", words: "Apple's service is not available" },
  { status: 503, reason: "Shutdown", action: "retry", words: "the server is shutting down" },
];

const BY_REASON: ReadonlyMap<string, ApnsError> = new Map(APNS_ERRORS.map((error) => [error.reason, error]));

/**
 * The row for an answer other than 200. An undocumented reason is judged by its status.
 *
 * @param reason empty if the answer had none.
 */
export function apnsErrorOf(status: number, reason: string): ApnsError {
  const known = BY_REASON.get(reason);
  if (known !== undefined && known.status === status) return known;
  return { status, reason, action: actionOf(status), words: wordsOf(status) };
}

function actionOf(status: number): ApnsAction {
  if (status === 410) return "dead";
  if (status === 429 || status >= 500) return "retry";
  if (status === 401 || status === 403) return "config";
  return "refused";
}

function wordsOf(status: number): string {
  if (status === 410) return "the token is dead";
  if (status < 400) return "this is not APNs: check push.apns.server and sandbox_server";
  return "";
}
