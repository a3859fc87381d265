/** The push services of the story, each a local server that checks what the real one checks, in one shape. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeVapidKeys } from "../../src/config/vapid_keys.ts";
import { Receiver } from "../../src/demo/receiver.ts";
import type { Stage } from "../../src/demo/stage.ts";
import { ApnsServer } from "../io/push/apns/apns_server.ts";
import { FcmServer } from "../io/push/fcm/fcm_server.ts";
import { type Came, KEY, RunningService, SERVICES } from "../io/push/presets/services.ts";
import { type PushProtocol, WebPushService } from "../io/push/webpush/webpush_service.ts";

/** What the app is told by a push; all absent where it has no payload. */
export interface Told {
  event?: string;
  call_id?: string;
  from_name?: string;
  reason?: string;
}

export interface StoryService {
  /** Value of `push:` in the config. */
  readonly config: string;
  /** Push parameters of the phone but for its token. */
  readonly phone: string;
  readonly token: string;
  /** Of its Web Push subscription, where latefork is to know them. */
  readonly keys?: { p256dh: string; auth: string };
  told(): Told[];
  /** Resolves once it is so; asked again after each push. */
  until(isSo: () => boolean): Promise<void>;
  /** What no sender must do. */
  faults(): string[];
  stop(): Promise<void> | void;
}

/** What is different from service to service, as the app sees it. */
export interface Manner {
  start(folder: string, stage: Stage): Promise<StoryService>;
  /** `pn-provider`, and the column of the ladder. */
  provider: string;
  /** False: RFC 8599 §4.1.2, a push without payload. */
  isTold: boolean;
  /** What a phone hears by push when its call is over before it came. */
  atEnd: string[];
  /** W-13: it gets INVITE and CANCEL when it comes after the end. */
  isRungLate: boolean;
}

/** For `push.webhook`, which has its token in a file beside the config. */
export const BEARER = "bearer-of-the-story";

async function webhook(_folder: string, stage: Stage): Promise<StoryService> {
  const receiver = new Receiver({ stage, token: BEARER, onPush: () => {}, onCallWanted: () => "" });
  return await Promise.resolve({
    config: `{ missed: true, webhook: { acme: { url: "${receiver.url}/wake", token_file: push.token } } }`,
    phone: "pn-provider=acme;pn-param=org.example.phone",
    token: "token:of&the-phone",
    told: () => receiver.pushes.map(({ body }) => body),
    until: (isSo) => stage.until("a push", 2 ** 31 - 1, () => isSo() || undefined).then(() => {}),
    faults: () => receiver.pushes.filter(({ body }) => body.prid !== "token:of&the-phone").map(({ body }) => body.prid),
    stop: () => receiver.stop(),
  });
}

function apns(topic: string): Manner["start"] {
  return async (folder) => {
    const server = await new ApnsServer({ now: Date.now }).start();
    const token = "0a".repeat(32);
    server.install(token, topic);
    const file = files(folder, { "key.p8": server.p8, "apns.pem": server.ca });
    const { keyId, teamId, url } = server;
    return {
      config: `{ missed: true, apns: { key_file: ${file("key.p8")}, key_id: ${keyId}, team_id: ${teamId}, ` +
        `server: "${url}", sandbox_server: "${url}", ca_file: ${file("apns.pem")} } }`,
      phone: `pn-provider=apns;pn-param=${teamId}.${topic}`,
      token,
      told: () => server.received.map(({ payload }) => payload),
      until: (isSo) => server.until(isSo),
      faults: () => server.faults,
      stop: () => server.stop(),
    };
  };
}

async function fcm(folder: string): Promise<StoryService> {
  const server = await new FcmServer(Date.now).start();
  const token = "dGVzdA:APA91bOf_the-story";
  server.tokens.add(token);
  const file = files(folder, { "account.json": server.account(), "fcm.pem": server.ca });
  return {
    config: `{ missed: true, fcm: { service_account_file: ${file("account.json")}, server: "${server.url}", ` +
      `ca_file: ${file("fcm.pem")} } }`,
    phone: `pn-provider=fcm;pn-param=${server.projectId}`,
    token,
    told: () => server.received.map(({ message }) => message.data),
    until: (isSo) => server.until(isSo),
    faults: () => server.faults,
    stop: () => server.stop(),
  };
}

function webpush(provider: string, protocol: PushProtocol, hasKeys: boolean): Manner["start"] {
  return async (folder) => {
    const server = await new WebPushService(Date.now, protocol).start();
    const vapid = makeVapidKeys();
    const file = files(folder, { "vapid.json": JSON.stringify(vapid), "webpush.pem": server.ca });
    const { endpoint, keys } = server.subscribe(vapid.publicKey);
    return {
      config: `{ missed: true, webpush: { vapid_file: ${file("vapid.json")}, subject: "mailto:ops@example.org", ` +
        `ca_file: ${file("webpush.pem")}, allow_hosts: [127.0.0.1] } }`,
      phone: `pn-provider=${provider}`,
      token: endpoint,
      ...(hasKeys ? { keys } : {}),
      told: () => server.received.map(({ payload }) => payload ?? {}),
      until: (isSo) => server.until(isSo),
      faults: () => server.faults,
      stop: () => server.stop(),
    };
  };
}

/** A sender of `push.http` with a preset, and its service. @param tell what the app is told by a request */
function preset(name: string, tell: (came: Came) => Told): Manner["start"] {
  return async (folder) => {
    const running = new RunningService(SERVICES[name]!);
    const file = files(folder, { key: KEY });
    const { param, prid } = running.service.phone;
    const sender = running.service.config(running.url).replace("/token", file("key"));
    return await Promise.resolve({
      config: `{ missed: true, http: { own: ${sender} } }`,
      phone: `pn-provider=own${param === "" ? "" : `;pn-param=${param}`}`,
      token: prid,
      told: () => running.came.map(tell),
      until: (isSo) => running.until(isSo),
      faults: () => running.faults,
      stop: () => running.stop(),
    });
  };
}

/** Acrobits' verbs; the one that ends the ringing says that the call was missed. */
function acrobitsTold({ body }: Came): Told {
  const { verb, Id, UserDisplayName } = JSON.parse(body);
  const isCall = verb === "NotifyIncomingCall";
  const told = { event: isCall ? "call" : "cancel", call_id: Id, from_name: UserDisplayName };
  return isCall ? told : { ...told, reason: verb === "NotifyIncomingCallMissed" ? "caller_gave_up" : verb };
}

function files(folder: string, texts: Record<string, string>): (name: string) => string {
  for (const [name, text] of Object.entries(texts)) writeFileSync(join(folder, name), text, { mode: 0o600 });
  return (name) => join(folder, name);
}

const bothTold = { isTold: true, atEnd: ["cancel", "missed"], isRungLate: false };

export const MANNERS: Record<string, Manner> = {
  "a webhook": { start: webhook, provider: "acme", ...bothTold },
  "APNs with a VoIP token": {
    start: apns("org.example.phone.voip"),
    provider: "apns",
    isTold: true,
    atEnd: [],
    isRungLate: true,
  },
  // The alert about the missed call takes the place of that about the call.
  "APNs with a plain token": {
    start: apns("org.example.phone"),
    provider: "apns",
    isTold: true,
    atEnd: ["missed"],
    isRungLate: false,
  },
  "FCM": { start: fcm, provider: "fcm", ...bothTold },
  "Web Push with payload": { start: webpush("webpush", "h2", true), provider: "webpush", ...bothTold },
  "Web Push without payload": {
    start: webpush("webpush", "h2", false),
    provider: "webpush",
    isTold: false,
    atEnd: [""],
    isRungLate: false,
  },
  "the preset acrobits": {
    start: preset("acrobits", acrobitsTold),
    provider: "own",
    isTold: true,
    atEnd: ["cancel"],
    isRungLate: false,
  },
  // A notification to tap: it says who calls, to people. It is taken away, and says that the call was missed.
  "the preset ntfy": {
    start: preset("ntfy", () => ({})),
    provider: "own",
    isTold: false,
    atEnd: ["", ""],
    isRungLate: false,
  },
  // Its service has nothing for the end of a call: the phone gets INVITE and CANCEL.
  "the preset yak": {
    start: preset("yak", () => ({})),
    provider: "own",
    isTold: false,
    atEnd: [""],
    isRungLate: true,
  },
  "UnifiedPush on the LAN": { start: webpush("unifiedpush", "http", true), provider: "unifiedpush", ...bothTold },
};
