/**
 * The whole way with each push service: a phone registers over a real socket, falls asleep, is called, pushed by the
 * local service, wakes and answers; what services refuse reaches the command line in words; keys outlive a restart.
 */
import { afterAll, afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Appliance } from "../../src/appliance/appliance.ts";
import { loadConfigFile } from "../../src/config/files.ts";
import { makeVapidKeys } from "../../src/config/vapid_keys.ts";
import { Log } from "../../src/observe/log.ts";
import { APNS_ERRORS } from "../../src/io/push/apns/errors.ts";
import { FCM_ERRORS } from "../../src/io/push/fcm/errors.ts";
import { WEBPUSH_ERRORS } from "../../src/io/push/webpush/errors.ts";
import { latefork } from "../cli/recorded_io.ts";
import { ApnsServer } from "../io/push/apns/apns_server.ts";
import { FcmServer } from "../io/push/fcm/fcm_server.ts";
import { WebPushService } from "../io/push/webpush/webpush_service.ts";

const folder = mkdtempSync(join(tmpdir(), "latefork-push-services-"));
const write = (name: string, text: string): string => {
  const file = join(folder, name);
  writeFileSync(file, text, { mode: 0o600 });
  return file;
};
const vapid = makeVapidKeys();
/** A new one for each start: APNs counts the provider tokens of a key. */
let apns = await new ApnsServer({ now: Date.now }).start();
const fcm = await new FcmServer(Date.now).start();
const webpush = await new WebPushService(Date.now).start();
afterAll(async () => {
  for (const service of [apns, fcm, webpush]) await service.stop();
  rmSync(folder, { recursive: true, force: true });
});

const APNS_TOKEN = "ab".repeat(32);
const FCM_TOKEN = "dGVzdA:APA91bTest_token-1";
fcm.tokens.add(FCM_TOKEN);

const files = {
  config: join(folder, "latefork.yaml"),
  account: write("account.json", fcm.account()),
  fcmCa: write("fcm.pem", fcm.ca),
  p8: write("key.p8", apns.p8),
  apnsCa: write("apns.pem", apns.ca),
  vapid: write("vapid.json", JSON.stringify(vapid)),
  webpushCa: write("webpush.pem", webpush.ca),
};

function configText(store: string): string {
  return `domain: example.org
listen: ["tcp://127.0.0.1:0"]
security: { trust: [127.0.0.0/8] }
push:
  apns: { key_file: ${files.p8}, key_id: ${apns.keyId}, team_id: ${apns.teamId}, server: "${apns.url}", sandbox_server: "${apns.url}", ca_file: ${files.apnsCa} }
  fcm: { service_account_file: ${files.account}, server: "${fcm.url}", ca_file: ${files.fcmCa} }
  webpush: { vapid_file: ${files.vapid}, subject: "mailto:ops@example.org", ca_file: ${files.webpushCa}, allow_hosts: [127.0.0.1] }
store: { path: "${store}" }
control: { listen: ["http://127.0.0.1:0"] }
`;
}

const stops: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

async function start(store = ":memory:"): Promise<Appliance> {
  await apns.stop();
  apns = await new ApnsServer({ now: Date.now }).start();
  apns.install(APNS_TOKEN, "org.example.phone.voip");
  write("key.p8", apns.p8);
  writeFileSync(files.config, configText(store));
  const { config, problems } = loadConfigFile(files.config);
  expect(problems).toEqual([]);
  const silent = { isTty: false, write: (bytes: Uint8Array) => bytes.length, nowMs: () => 0, later: () => {} };
  const appliance = new Appliance({ config: config!, configFile: files.config, log: new Log(config!.log, silent) });
  await appliance.start();
  stops.push(() => appliance.stop());
  return appliance;
}

/** One end of a SIP connection; messages have no bodies here. */
class Line {
  readonly heard: string[] = [];
  private text = "";
  private readonly watchers: (() => void)[] = [];
  private readonly socket: Socket;

  constructor(appliance: Appliance) {
    this.socket = connect(appliance.transports.listeners()[0]!.port, "127.0.0.1");
    this.socket.setEncoding("latin1");
    this.socket.on("data", (text: string) => {
      this.text += text;
      for (let end = this.text.indexOf("\r\n\r\n"); end !== -1; end = this.text.indexOf("\r\n\r\n")) {
        this.heard.push(this.text.slice(0, end));
        this.text = this.text.slice(end + 4).replace(/^(\r\n)+/, "");
      }
      for (const watcher of this.watchers.splice(0)) watcher();
    });
    this.socket.on("error", () => {});
    stops.push(() => this.close());
  }

  say(lines: string[]): void {
    this.socket.write([...lines, "Content-Length: 0", "", ""].join("\r\n"));
  }

  /** Resolves when more was said. */
  next(): Promise<void> {
    return new Promise((resolve) => this.watchers.push(resolve));
  }

  /** The first message that begins so. */
  async hear(start: string): Promise<string> {
    for (;;) {
      const found = this.heard.find((text) => text.startsWith(start));
      if (found !== undefined) return found;
      await this.next();
    }
  }

  close(): void {
    this.socket.destroy();
  }
}

let serial = 0;

/** Registers; resolves when it is accepted. */
async function register(line: Line, push: string): Promise<void> {
  const id = ++serial;
  line.say([
    "REGISTER sip:example.org SIP/2.0",
    `Via: SIP/2.0/TCP 192.0.2.7:40000;branch=z9hG4bKr${id};rport`,
    "Max-Forwards: 70",
    `From: <sip:alice@example.org>;tag=r${id}`,
    "To: <sip:alice@example.org>",
    `Call-ID: reg${id}@192.0.2.7`,
    "CSeq: 1 REGISTER",
    `Contact: <sip:alice@192.0.2.7:40000;transport=tcp;${push}>;+sip.instance="<urn:uuid:1>"`,
    "Expires: 3600",
  ]);
  expect(await line.hear("SIP/2.0 ")).toStartWith("SIP/2.0 200");
}

interface Caller {
  line: Line;
  callId: string;
  cancel(): void;
}

function call(appliance: Appliance): Caller {
  const line = new Line(appliance);
  const id = ++serial;
  const callId = `call${id}@192.0.2.9`;
  const send = (method: string): void =>
    line.say([
      `${method} sip:alice@example.org SIP/2.0`,
      `Via: SIP/2.0/TCP 192.0.2.9:40000;branch=z9hG4bKc${id};rport`,
      "Max-Forwards: 70",
      '"Bob" <sip:bob@example.org>;tag=c1'.replace(/^/, "From: "),
      "To: <sip:alice@example.org>",
      `Call-ID: ${callId}`,
      `CSeq: 1 ${method}`,
      "Contact: <sip:bob@192.0.2.9:40000;transport=tcp>",
    ]);
  send("INVITE");
  return { line, callId, cancel: () => send("CANCEL") };
}

function answered(invite: string): string[] {
  const kept = invite.split("\r\n").filter((line) => /^(Via|From|Call-ID|CSeq|Record-Route):/.test(line));
  const to = /^To: .*$/m.exec(invite)![0].trim();
  return ["SIP/2.0 200 OK", ...kept, `${to};tag=p`, "Contact: <sip:alice@192.0.2.7:40000;transport=tcp>"];
}

async function ask(
  appliance: Appliance,
  method: string,
  path: string,
  body?: unknown,
): Promise<Record<string, unknown>> {
  const init = { method, ...(body === undefined ? {} : { body: JSON.stringify(body) }) };
  const response = await fetch(appliance.controlUrls[0] + path, init);
  expect(response.status).toBe(200);
  return await response.json() as Record<string, unknown>;
}

interface Device {
  id: string;
  push: { encrypted: boolean; token_state: string } | null;
}

async function device(appliance: Appliance): Promise<Device | undefined> {
  return (await ask(appliance, "GET", "/v1/locations/alice") as unknown as { devices: Device[] }).devices[0];
}

/** What each service was last told, brought to one form. */
const SERVICES: Record<
  string,
  {
    push: () => string;
    last: () => Record<string, unknown> | undefined;
    until: () => Promise<void>;
    event: (name: string) => boolean;
  }
> = {
  apns: service(
    () => `pn-provider=apns;pn-param=${apns.teamId}.org.example.phone.voip;pn-prid=${APNS_TOKEN}`,
    () => apns.received.map(({ payload }) => payload),
    (isSo) => apns.until(isSo),
  ),
  fcm: service(
    () => `pn-provider=fcm;pn-param=${fcm.projectNumber};pn-prid=${FCM_TOKEN}`,
    () => fcm.received.map(({ message }) => message.data),
    (isSo) => fcm.until(isSo),
  ),
  webpush: service(
    () => `pn-provider=webpush;pn-prid=${encodeURIComponent(webpush.subscribe(vapid.publicKey).endpoint)}`,
    () => webpush.received.map(({ payload }) => payload ?? {}),
    (isSo) => webpush.until(isSo),
  ),
};

function service(
  push: () => string,
  said: () => Record<string, unknown>[],
  until: (isSo: () => boolean) => Promise<void>,
) {
  let seen = 0;
  return {
    push,
    last: () => said().at(-1),
    /** One push more than when it was last asked. */
    until: async () => {
      // A new server has seen nothing.
      seen = Math.min(seen, said().length);
      await until(() => said().length > seen);
      seen = said().length;
    },
    event: (name: string) => said().some(({ event }) => event === name),
  };
}

const FAULTS = (): string[] => [...apns.faults, ...fcm.faults, ...webpush.faults];

test.each(["apns", "fcm", "webpush"])(
  "W-04 P-01 a phone asleep behind %s is pushed, wakes, and gets the call",
  async (name) => {
    const service = SERVICES[name]!;
    const appliance = await start();
    const push = service.push();
    const before = new Line(appliance);
    await register(before, push);
    before.close();
    const { line, callId } = call(appliance);
    await service.until();
    // A phone known by its subscription URI alone hears no more than that something happens.
    if (name === "webpush") expect(service.last()).toEqual({});
    else {expect(service.last()).toMatchObject({
        event: "call",
        call_id: callId,
        from_name: "Bob",
        aor: "alice@example.org",
      });}
    const awake = new Line(appliance);
    await register(awake, push);
    const invite = await awake.hear("INVITE ");
    expect(invite).not.toContain("pn-prid");
    awake.say(answered(invite));
    expect(await line.hear("SIP/2.0 200")).toContain(`Call-ID: ${callId}`);
    expect(await device(appliance)).toMatchObject({ push: { token_state: "valid" } });
    expect(FAULTS()).toEqual([]);
  },
);

test("P-03 P-06 a browser with keys learns who calls and that the call is over, and R-18 keeps its keys over a restart", async () => {
  const service = SERVICES.webpush!;
  const store = join(folder, "keys.db");
  const first = await start(store);
  const { endpoint, keys } = webpush.subscribe(vapid.publicKey);
  const push = `pn-provider=webpush;pn-prid=${encodeURIComponent(endpoint)}`;
  const before = new Line(first);
  await register(before, push);
  const { id } = (await device(first))!;
  const body = { push: { provider: "webpush", prid: endpoint, ...keys } };
  expect(await ask(first, "PUT", `/v1/locations/alice/devices/${id}`, body)).toMatchObject({
    push: { encrypted: true },
  });
  before.close();
  await first.stop();

  const connections = webpush.connections;
  const second = await start(store);
  expect(await device(second)).toMatchObject({ id, push: { encrypted: true } });
  // P-05: nobody has called yet.
  await webpush.until(() => webpush.connections === connections + 1);
  const caller = call(second);
  await service.until();
  expect(service.last()).toMatchObject({ event: "call", call_id: caller.callId, from_name: "Bob" });
  caller.cancel();
  await service.until();
  expect(service.last()).toMatchObject({ event: "cancel", call_id: caller.callId, reason: "caller_gave_up" });
  const [callPush, cancelPush] = webpush.received.slice(-2);
  expect(cancelPush!.headers.topic).toBe(callPush!.headers.topic!);
  expect(await caller.line.hear("SIP/2.0 487")).toContain(caller.callId);
  expect(FAULTS()).toEqual([]);
});

test("P-06 a call that ends before its phone came is told to an Android phone, and never to an iPhone by VoIP push", async () => {
  for (const [name, isTold] of [["fcm", true], ["apns", false]] as const) {
    const service = SERVICES[name]!;
    const appliance = await start();
    const phone = new Line(appliance);
    await register(phone, service.push());
    phone.close();
    const caller = call(appliance);
    await service.until();
    caller.cancel();
    await caller.line.hear("SIP/2.0 487");
    if (isTold) await service.until();
    // Whatever was to be sent left before the 487 did.
    expect(service.event("cancel")).toBe(isTold);
    await appliance.stop();
  }
  expect(FAULTS()).toEqual([]);
});

test.each(["fcm", "webpush"])(
  "P-04 W-07 a token that %s calls dead is forgotten, and the call ends at once",
  async (name) => {
    const appliance = await start();
    const phone = new Line(appliance);
    await register(phone, SERVICES[name]!.push());
    phone.close();
    if (name === "fcm") fcm.orders.push({ status: 404, errorCode: "UNREGISTERED" });
    else webpush.orders.push({ status: 410 });
    const { line } = call(appliance);
    expect(await line.hear("SIP/2.0 480")).toStartWith("SIP/2.0 480");
    expect(await (await fetch(`${appliance.controlUrls[0]}/v1/locations/alice`)).text()).not.toContain(
      '"token_state":"valid"',
    );
    await SERVICES[name]!.until();
  },
);

test("P-07 W-21 the eleventh call within a minute is not pushed, and comes with the others when the phone wakes", async () => {
  const service = SERVICES.fcm!;
  const appliance = await start();
  const push = service.push();
  const phone = new Line(appliance);
  await register(phone, push);
  phone.close();
  const before = fcm.received.length;
  const callers = Array.from({ length: 11 }, () => call(appliance));
  await fcm.until(() => fcm.received.length === before + 10);
  await callers[10]!.line.hear("SIP/2.0 100");
  const counts = await ask(appliance, "GET", "/v1/htables/push_limits") as { items: { key: string; value: string }[] };
  expect(counts.items).toMatchObject([{ key: expect.stringMatching(/^call:\w+$/), value: "11" }]);
  const awake = new Line(appliance);
  await register(awake, push);
  const invited = (): string[] => awake.heard.filter((text) => text.startsWith("INVITE "));
  while (invited().length < 11) await awake.next();
  const callIds = invited().map((invite) => /^Call-ID: (.*)$/m.exec(invite)![1]!.trim());
  expect(callIds.sort()).toEqual(callers.map(({ callId }) => callId).sort());
  expect(callers.flatMap(({ line }) => line.heard).filter((text) => text.startsWith("SIP/2.0 4"))).toEqual([]);
  await service.until();
  expect(FAULTS()).toEqual([]);
});

test.each([[true, -60_000], [false, 60_000]])(
  "P-04 a token that APNs saw dead is forgotten, unless it was registered since: kept %p",
  async (isKept, sinceMs) => {
    const appliance = await start();
    const phone = new Line(appliance);
    await register(phone, SERVICES.apns!.push());
    phone.close();
    apns.orders.push({ status: 410, reason: "Unregistered", timestamp: Date.now() + sinceMs });
    const { line } = call(appliance);
    expect(await line.hear("SIP/2.0 480")).toStartWith("SIP/2.0 480");
    const left = await device(appliance).catch(() => undefined);
    expect(left?.push?.token_state).toBe(isKept ? "unknown" : undefined);
  },
);

const push = async (appliance: Appliance, aor: string): Promise<{ code: number; out: string }> =>
  await latefork(["push", "test", aor, "--control", appliance.controlUrls[0]!]);

test("P-08 push test prints what the service said and what to do about it, for every error of the tables", async () => {
  const appliance = await start();
  const { endpoint, keys } = webpush.subscribe(vapid.publicKey);
  const phones = {
    ios: { provider: "apns", param: `${apns.teamId}.org.example.phone.voip`, prid: APNS_TOKEN },
    android: { provider: "fcm", param: "", prid: FCM_TOKEN },
    browser: { provider: "webpush", prid: endpoint, ...keys },
  };
  const renewed = async (): Promise<void> => {
    for (const [user, push] of Object.entries(phones)) {
      await ask(appliance, "PUT", `/v1/locations/${user}/devices/${user}`, { contact: "sip:x@127.0.0.1", push });
    }
  };
  await renewed();
  const metrics = async (): Promise<string> => await (await fetch(`${appliance.controlUrls[0]}/metrics`)).text();
  expect(await metrics()).toContain('latefork_push_backends{provider="fcm",state="unused"} 1\n');
  for (const user of Object.keys(phones)) {
    const { code, out } = await push(appliance, user);
    expect([code, out]).toEqual([
      0,
      expect.stringMatching(/^\w+, device \w+: accepted, status 20[01], \d+ ms: 20[01] from https:/),
    ]);
  }
  expect(await metrics()).toContain('latefork_push_backends{provider="fcm",state="ok"} 1\n');
  // A bare token will do, too.
  expect(await ask(appliance, "POST", "/v1/push", { ...phones.browser, event: "call" })).toMatchObject({
    provider: "webpush",
    accepted: true,
    status: 201,
  });
  expect(webpush.received.at(-1)!.payload).toMatchObject({ event: "call" });
  // A wait that is longer than the push's window ends one that would be tried again.
  const headers = { "retry-after": "3600" };
  const told = async (user: string, status: number, code: string, words: string): Promise<void> => {
    const { code: exit, out } = await push(appliance, user);
    expect(exit).toBe(1);
    expect(out).toContain(`not accepted, status ${status}`);
    expect(out).toContain(`${status}${code === "" ? "" : ` ${code}`} from https:`);
    expect(out).toContain(words);
    await renewed();
  };
  for (const { status, reason, action, words } of APNS_ERRORS) {
    const order = { status, reason, headers };
    apns.orders.push(
      order,
      ...(action === "environment" || action === "token" || action === "connection" ? [order] : []),
    );
    const isNowhere = action === "environment";
    await told("ios", status, reason, isNowhere ? "neither production nor sandbox knows the token" : words);
  }
  for (const { status, code, isAboutToken, action, words } of FCM_ERRORS) {
    const order = {
      status,
      ...(code === "SERVICE_DISABLED" ? { info: code } : { canonical: code }),
      ...(isAboutToken ? { field: "message.token" } : {}),
      headers,
    };
    fcm.orders.push(order, ...(action === "token" ? [order] : []));
    await told("android", status, code, words);
  }
  for (const { status, action, words } of WEBPUSH_ERRORS) {
    if (action === "accepted") continue;
    webpush.orders.push({ status, headers }, ...(action === "smaller" ? [{ status }] : []));
    await told("browser", status, "", words);
  }
  expect(await ask(appliance, "GET", "/v1/push")).toMatchObject({
    items: [{ provider: "apns", kind: "apns" }, { provider: "fcm", kind: "fcm" }, {
      provider: "webpush",
      kind: "webpush",
    }],
  });
  expect(FAULTS()).toEqual([]);
}, 30_000);
