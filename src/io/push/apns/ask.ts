/**
 * Owns how APNs is asked without a phone (O-02): what is sent, and what the answer shows of key and team. It must not know
 * how a push to a phone is sent.
 */
import type { ApnsError } from "./errors.ts";
import { type ApnsNotification, apnsNotificationOf } from "./notification.ts";
import { type ApnsTarget, apnsTargetOf } from "./target.ts";
import { pushForNobody, type ServiceAnswer } from "../ask.ts";
import type { Http2Answer } from "../http/http2.ts";
import type { Http2Client } from "../http/http2_client.ts";
import type { PushWorld } from "../world.ts";

/** A token that no phone has and an app that is ours by its name: Apple refuses one of the two. */
const NOBODYS_TOKEN = "0".repeat(64);
const NOBODYS_BUNDLE = "org.latefork.check";
/** The answers that show that key and team are right: Apple judges these first. */
const KEY_IS_TAKEN: ReadonlySet<string> = new Set([
  "BadDeviceToken",
  "BadTopic",
  "DeviceTokenNotForTopic",
  "ExpiredToken",
  "TooManyRequests",
  "TopicDisallowed",
  "Unregistered",
]);
const REACH = "does a firewall let this machine out to it, or does push.apns.server name another port (2197)?";
const UNVERIFIED = "whether the key may push to your app: that takes a phone (latefork push test AOR)";

/** One environment, and how to reach it. */
export interface ApnsQuestion {
  readonly environment: "production" | "sandbox";
  /** Scheme, host and port. */
  readonly host: string;
  readonly client: Http2Client;
  readonly authorization: string;
  readonly teamId: string;
  readonly world: PushWorld;
  readonly signal: AbortSignal;
  /** The row for an answer other than 200, and all there is to say about it. */
  judge(answer: Http2Answer, target: ApnsTarget): { error: ApnsError; words: string };
}

/** Asks one environment; it never rejects. */
export function askApns(question: ApnsQuestion): Promise<ServiceAnswer> {
  const { environment, host, client, world, signal } = question;
  const push = pushForNobody(crypto.randomUUID(), "apns", `${question.teamId}.${NOBODYS_BUNDLE}`, NOBODYS_TOKEN);
  const target = apnsTargetOf(push.provider, push.param, push.prid);
  if (typeof target === "string") return Promise.resolve({ state: "failed", words: target, unverified: "", ms: 0 });
  const notification = apnsNotificationOf(push, target, world.systemNow(), push.ttlMs) as ApnsNotification;
  const sentAtMs = world.now();
  return new Promise((resolve) => {
    client.post({
      path: `/3/device/${notification.token}`,
      headers: { ...notification.headers, authorization: question.authorization },
      body: notification.body,
      signal,
      onStatus() {},
      done: (answer, reason) => {
        const { state, words } = answer === null
          ? {
            state: "failed" as const,
            words: `${signal.aborted ? `${host} did not answer in time` : reason}; ${REACH}`,
          }
          : shownBy(answer, target, question);
        const unverified = state === "ok" ? UNVERIFIED : "";
        resolve({ state, words: `${environment}: ${words}`, unverified, ms: world.now() - sentAtMs });
      },
    });
  });
}

/** What an answer shows. */
function shownBy(
  answer: Http2Answer,
  target: ApnsTarget,
  { environment, host, judge }: ApnsQuestion,
): Pick<ServiceAnswer, "state" | "words"> {
  if (answer.status === 200) return { state: "ok", words: `${host} takes the key` };
  const { error, words } = judge(answer, target);
  const said = `${answer.status} ${error.reason}`;
  if (KEY_IS_TAKEN.has(error.reason)) {
    return { state: "ok", words: `${host} takes the key (${said} to a token nobody has)` };
  }
  // Apple makes keys for one environment alone, and few have apps for both.
  if (environment === "sandbox" && error.reason.startsWith("BadEnvironmentKey")) {
    return {
      state: "warning",
      words: `${host} does not take the key (${said}): right if no app is a development build`,
    };
  }
  if (error.reason === "TooManyProviderTokenUpdates") {
    return {
      state: "warning",
      words:
        `${host} has had enough new provider tokens of this key (${said}): each check brings one, and Apple takes ` +
        "one in 20 minutes; ask again later",
    };
  }
  return { state: "failed", words };
}
