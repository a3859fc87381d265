/**
 * Owns what FCM's answers mean: one row for each documented code, and what we do about it (P-04). The README shows this
 * table. It must not know how a push is sent.
 */

/**
 * `dead`: the token is dead. `token`: a new access token, once. `retry`: later, within the window. `refused`: this push
 * cannot be sent. `config`: no push can be sent until the admin changes something; shown as the backend's health.
 */
export type FcmAction = "dead" | "token" | "retry" | "refused" | "config";

export interface FcmError {
  readonly status: number;
  /** `errorCode` of FCM's own detail, else `reason` of Google's ErrorInfo, else the canonical `status`. */
  readonly code: string;
  /** The row holds only for an error that is about the registration token, as the answer's words or fields say. */
  readonly isAboutToken?: boolean;
  readonly action: FcmAction;
  /** What it means and what to do about it. Behind "403 SENDER_ID_MISMATCH from https://fcm.googleapis.com; ". */
  readonly words: string;
}

const ACCOUNTS_PAGE = "Firebase console → Project settings → Service accounts";

/** firebase.google.com, "FCM ErrorCode", and what Google's front door says before FCM is asked. */
export const FCM_ERRORS: readonly FcmError[] = [
  {
    status: 400,
    code: "INVALID_ARGUMENT",
    isAboutToken: true,
    action: "dead",
    words: "the token is none: the app must register the whole one that FCM gave it",
  },
  {
    status: 400,
    code: "INVALID_ARGUMENT",
    action: "config",
    words: "FCM does not take the message: a fault of latefork, please report it",
  },
  {
    status: 401,
    code: "THIRD_PARTY_AUTH_ERROR",
    action: "refused",
    words:
      "the token is of an iOS or web app, for which this Firebase project has no APNs or Web Push key: add it under " +
      "Firebase console → Project settings → Cloud Messaging, or let the app register its APNs token",
  },
  {
    status: 401,
    code: "UNAUTHENTICATED",
    action: "token",
    words: "a fresh access token is not taken: is push.fcm.server right, and the account still enabled?",
  },
  {
    status: 403,
    code: "SENDER_ID_MISMATCH",
    action: "refused",
    words: "the token belongs to another Firebase project: the app's google-services.json and " +
      "push.fcm.service_account_file must be of one project",
  },
  {
    status: 403,
    code: "SERVICE_DISABLED",
    action: "config",
    words:
      "the project does not use the Firebase Cloud Messaging API (V1): enable it under Firebase console → Project " +
      "settings → Cloud Messaging",
  },
  {
    status: 403,
    code: "PERMISSION_DENIED",
    action: "config",
    words:
      `the service account may not send: take a key of ${ACCOUNTS_PAGE}, or give it the role Firebase Cloud Messaging ` +
      "API Admin",
  },
  {
    status: 404,
    code: "UNREGISTERED",
    action: "dead",
    words: "the app was removed, or has another token now; it must register again",
  },
  {
    status: 404,
    code: "NOT_FOUND",
    action: "config",
    words: `there is no such project: take a new service account file from ${ACCOUNTS_PAGE}`,
  },
  {
    status: 429,
    code: "QUOTA_EXCEEDED",
    action: "retry",
    words: "too many messages, to this device or from this project",
  },
  { status: 500, code: "INTERNAL", action: "retry", words: "a fault at Google" },
  { status: 503, code: "UNAVAILABLE", action: "retry", words: "Google's service is not available" },
];

/**
 * The row for an answer other than 200. An undocumented code, and `UNSPECIFIED_ERROR`, is judged by its status.
 *
 * @param code empty if the answer had none.
 */
export function fcmErrorOf(status: number, code: string, isAboutToken: boolean): FcmError {
  const known = FCM_ERRORS.find((row) =>
    row.status === status && row.code === code && (isAboutToken || row.isAboutToken !== true)
  );
  return known ?? { status, code, action: actionOf(status), words: wordsOf(status) };
}

function actionOf(status: number): FcmAction {
  if (status === 401) return "token";
  if (status === 429 || status >= 500) return "retry";
  return status < 400 || status === 403 || status === 404 ? "config" : "refused";
}

function wordsOf(status: number): string {
  if (status < 400 || status === 404) return "this is not FCM: check push.fcm.server";
  return "";
}

/** What of an answer's body matters. */
export interface FcmSaid {
  readonly code: string;
  readonly isAboutToken: boolean;
  /** Google's own words, as they came; empty if there are none. */
  readonly message: string;
}

/** Reads the JSON of an answer. Anything other than an error of Google's gives empty fields. */
export function fcmSaid(body: string): FcmSaid {
  const error = objectOf(objectOf(parsed(body)).error);
  const details = Array.isArray(error.details) ? error.details.map(objectOf) : [];
  const message = typeof error.message === "string" ? error.message : "";
  const ofFcm = details.find((detail) => /fcm\.v1\.FcmError(Code)?$/.test(String(detail["@type"])))?.errorCode;
  const ofGoogle = details.find((detail) => String(detail["@type"]).endsWith("google.rpc.ErrorInfo"))?.reason;
  // An ErrorInfo names much; only what has a row says more than the canonical status.
  const reason = FCM_ERRORS.some(({ code }) => code === ofGoogle) ? ofGoogle : undefined;
  const fields = details.flatMap((detail) => Array.isArray(detail.fieldViolations) ? detail.fieldViolations : [])
    .map((violation) => objectOf(violation).field);
  return {
    code: wordOf(ofFcm ?? reason ?? error.status),
    // FCM names the field, or, as its own detail, says it in words alone.
    isAboutToken: fields.includes("message.token") || (fields.length === 0 && /registration token/i.test(message)),
    message,
  };
}

/** A word of Google's; anything else in its place is not shown. */
function wordOf(code: unknown): string {
  return typeof code === "string" && /^\w{1,64}$/.test(code) ? code : "";
}

function objectOf(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? value as Record<string, unknown> : {};
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
