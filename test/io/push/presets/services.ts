/**
 * The services of the presets (P-11), each a local server that judges a request as its maker documents it and answers with the
 * errors that are documented. What none of them was asked for is a fault.
 */

/** A request as it came. */
export interface Came {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: Headers;
  readonly body: string;
}

/** Status and body; `fault` is what a sender must never do. */
interface Said {
  readonly status: number;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
  readonly fault?: string;
}

/** What stands in a token file of these tests: 30 characters, as Pushover has it. */
export const KEY = "azGDORePK8gMaC0QOYAMyEEuzJnyUi";

/** How a preset is used with its service. */
export interface Service {
  /** `url` of the sender, and whatever else its admin must write. */
  config(url: string): string;
  /** A phone of it. */
  readonly phone: { readonly param: string; readonly prid: string };
  /** Tokens that make it say what it says of such. Empty: it does not tell. */
  readonly dead: string;
  judge(came: Came): Said;
}

const TOKEN_FILE = "token_file: /token";

function json(came: Came): Record<string, unknown> | null {
  const type = came.headers.get("content-type") ?? "";
  if (came.method !== "POST" || !type.startsWith("application/json")) return null;
  const value = JSON.parse(came.body);
  return typeof value === "object" ? value : null;
}

const lost: Said = { status: 404, body: "404 page not found", fault: "asked for a page that is not there" };
const isText = (value: unknown): value is string => typeof value === "string" && value !== "";
const isBearer = (came: Came): boolean => came.headers.get("authorization") === `Bearer ${KEY}`;

/** doc.acrobits.net: "SIPIS-less push calls", "Push Notifications over HTTP". */
const acrobits: Service = {
  config: (url) => `{ preset: acrobits, url: "${url}/pnm2/send" }`,
  phone: { param: "com.example.phone.ios,com.example.phone.other", prid: "dG9rZW4=,12869E0E:7C3A0D14,b3RoZXI=" },
  dead: "Z29uZQ==,12869E0E:7C3A0D14",
  judge(came) {
    const push = json(came);
    if (came.path !== "/pnm2/send" || push === null) return lost;
    const { verb, AppId, DeviceToken, Selector, Id } = push;
    if (!isText(verb) || !isText(AppId) || !isText(DeviceToken)) return { status: 400, fault: "a field is missing" };
    if (!isText(Selector)) return { status: 400, fault: "Selector is missing" };
    const isCall = verb.startsWith("NotifyIncomingCall");
    if (isCall && !/^NotifyIncomingCall(?:Missed|AnsweredElsewhere)?$/.test(verb)) return { status: 400, fault: verb };
    if (!isCall && verb !== "NotifyTextMessage") return { status: 400, fault: verb };
    if (isCall && !isText(Id)) return { status: 400, fault: "Id is missing" };
    const tokens = isCall ? ["dG9rZW4="] : ["b3RoZXI="];
    if (!tokens.includes(DeviceToken)) return { status: 200, body: { code: 404, response: "Device token not found" } };
    return { status: 200, body: { code: 200, response: "Your message was sent." } };
  },
};

/** As CellBridge and sip-push use it, and what CellBridge saw it answer; the maker documents nothing. */
const yak: Service = {
  config: (url) => `{ preset: yak, url: "${url}/v1/notify" }`,
  phone: { param: "", prid: "0a".repeat(32) },
  dead: "no token",
  judge(came) {
    const push = json(came);
    if (came.path !== "/v1/notify" || push === null) return lost;
    const { token, caller_uri, caller_name, type, message_body } = push;
    if (!isText(token) || !/^[0-9a-f]{64}$/i.test(token)) {
      return { status: 400, body: { error: "invalid token format" } };
    }
    if (!isText(caller_uri) || !caller_uri.startsWith("sip:")) return { status: 400, fault: "caller_uri" };
    if (!isText(caller_name)) return { status: 400, fault: "caller_name" };
    if (type !== "voip" && type !== "missed" && type !== "message") return { status: 400, fault: `type ${type}` };
    if ((type === "message") !== isText(message_body)) return { status: 400, fault: "message_body" };
    return { status: 200, body: { ok: true } };
  },
};

/** flexisip-account-manager: PushNotificationController.php and the rules PnProvider, PnParam, PnPrid, CallId. */
const flexiapi: Service = {
  config: (url) => `{ preset: flexiapi, url: "${url}/api/push_notification", ${TOKEN_FILE} }`,
  phone: { param: "929724111839", prid: "cGhvbmU:APA91b_of-this" },
  dead: "",
  judge(came) {
    if (came.headers.get("x-api-key") !== KEY) return { status: 401, body: { message: "Unauthenticated." } };
    if (came.method === "GET" && came.path === "/api/accounts/me") return { status: 200, body: { username: "us" } };
    const push = json(came);
    if (came.path !== "/api/push_notification" || push === null) return lost;
    if (came.headers.get("accept") !== "application/json") return { status: 302, fault: "no JSON is asked for" };
    const errors: Record<string, string[]> = {};
    if (!["apns.dev", "apns", "fcm"].includes(String(push.pn_provider))) errors.pn_provider = ["must be one of them"];
    if (!/^[\w.]+$/.test(String(push.pn_param))) errors.pn_param = ["alphanumeric, dots and underscores"];
    if (!/^[\w:-]+$/.test(String(push.pn_prid))) errors.pn_prid = ["alphanumeric, dashes and colons"];
    if (!["background", "message", "call"].includes(String(push.type))) errors.type = ["is invalid"];
    if (push.call_id !== undefined && !/^[\w~@.-]+$/.test(String(push.call_id))) errors.call_id = ["is invalid"];
    if (Object.keys(errors).length > 0) {
      return { status: 422, body: { message: "The given data was invalid.", errors }, fault: JSON.stringify(errors) };
    }
    return push.pn_prid === "away" ? { status: 503, body: { message: "Push notification not sent" } } : { status: 200 };
  },
};

const NTFY_PRIORITIES = "1 2 3 4 5 min low default high max urgent".split(" ");

/** docs.ntfy.sh/publish, and server/errors.go for what it answers. */
const ntfy: Service = {
  config: (url) => `{ preset: ntfy, url: "${url}/{prid}", ${TOKEN_FILE}, wake_url: "linphone://" }`,
  phone: { param: "", prid: "phone-of-alice" },
  dead: "",
  judge(came) {
    const error = (code: number, message: string, fault?: string): Said => {
      const said = { status: Math.floor(code / 100), body: { code, http: Math.floor(code / 100), error: message } };
      return fault === undefined ? said : { ...said, fault };
    };
    if (!isBearer(came)) return error(40101, "unauthorized");
    if (came.method === "GET" && came.path === "/v1/account") return { status: 200, body: { username: "us" } };
    const [, topic, sequence] = /^\/([-_A-Za-z0-9]{1,64})(?:\/([-_A-Za-z0-9]{1,64}))?$/.exec(came.path) ?? [];
    if (topic === undefined) return error(40401, "page not found", `no topic: ${came.path}`);
    if (topic === "forbidden") return error(40301, "forbidden");
    if (topic === "busy") return error(42901, "limit reached: too many requests, please be nice");
    if (came.method === "DELETE") {
      if (sequence === undefined) return error(40401, "page not found", "nothing is named to delete");
      return { status: 200, body: { event: "message_delete", sequence_id: sequence } };
    }
    if (came.method !== "POST" && came.method !== "PUT") return error(40401, "page not found", came.method);
    const priority = came.headers.get("priority") ?? "";
    if (!NTFY_PRIORITIES.includes(priority)) return error(40007, "invalid priority parameter", priority);
    const id = came.headers.get("x-sequence-id");
    if (id !== null && !/^[-_A-Za-z0-9]{1,64}$/.test(id)) {
      return error(40049, "invalid request: sequence ID invalid", id);
    }
    if (came.body === "" || Buffer.byteLength(came.body) > 4096) return error(41303, "too large", "message");
    if (!isText(came.headers.get("title"))) return error(40000, "title", "no title");
    return { status: 200, body: { id: "x", event: "message", topic, title: came.headers.get("title") } };
  },
};

const BARK_TEXTS = "device_key title body level call sound group url id isArchive delete".split(" ");

/** bark.day.app "Request Parameters", bark-server route_push.go. */
const bark: Service = {
  config: (url) => `{ preset: bark, url: "${url}/push", wake_url: "linphone://" }`,
  phone: { param: "", prid: "ynJ5Ft4atkMkWeo2PAvFhF" },
  dead: "nobody",
  judge(came) {
    const failed = (status: number, message: string, fault?: string): Said => {
      const said = { status, body: { code: status, message, timestamp: 1 } };
      return fault === undefined ? said : { ...said, fault };
    };
    if (came.method === "GET" && came.path === "/ping") return { status: 200, body: { code: 200, message: "pong" } };
    const push = json(came);
    if (came.path !== "/push" || push === null) return lost;
    for (const [name, value] of Object.entries(push)) {
      if (!BARK_TEXTS.includes(name) || !isText(value)) return failed(400, "request bind failed", `${name}: ${value}`);
    }
    if (push.device_key === "gone") return failed(500, "push failed: APNS push failed: Unregistered");
    if (push.device_key !== this.phone.prid) {
      const words = `failed to get [${push.device_key}] device token from database`;
      return failed(400, `failed to get device token: ${words}`);
    }
    if (push.delete !== undefined) {
      return push.id === undefined ? failed(400, "", "no id") : { status: 200, body: { code: 200 } };
    }
    if (!["active", "timeSensitive", "passive", "critical"].includes(String(push.level))) {
      return failed(400, "", "level");
    }
    if (push.title === undefined || push.body === undefined) return failed(400, "", "no words");
    return { status: 200, body: { code: 200, message: "success", timestamp: 1 } };
  },
};

/** gotify.net/docs: POST /message, message extras. */
const gotify: Service = {
  config: (url) => `{ preset: gotify, url: "${url}/message", wake_url: "linphone://" }`,
  phone: { param: "", prid: "AKsjdf83hh_.dss" },
  dead: "nobody",
  judge(came) {
    const failed = (status: number, error: string, errorDescription: string, fault?: string): Said => {
      const said = { status, body: { error, errorCode: status, errorDescription } };
      return fault === undefined ? said : { ...said, fault };
    };
    if (came.method === "GET" && came.path === "/health") {
      return { status: 200, body: { health: "green", database: "green" } };
    }
    const push = json(came);
    if (came.path !== "/message" || push === null) return lost;
    if (came.headers.get("x-gotify-key") !== this.phone.prid) {
      return failed(
        401,
        "Unauthorized",
        "you need to provide a valid access token or user credentials to access this api",
      );
    }
    const { title, message, priority, extras } = push;
    if (!isText(message) || !isText(title)) {
      return failed(400, "Bad Request", "Field 'message' is required", "no words");
    }
    if (!Number.isInteger(priority)) return failed(400, "Bad Request", "priority", "priority is no number");
    for (const [name, extra] of Object.entries(extras ?? {})) {
      if (!/^\w+::\w+$/.test(name) || typeof extra !== "object") return failed(400, "Bad Request", name, name);
    }
    return { status: 200, body: { id: 25, appid: 5, message, title, priority, extras, date: "2026-01-02T03:04:05Z" } };
  },
};

const SOUNDS = "pushover bike bugle persistent echo none".split(" ");

/** pushover.net/api */
const pushover: Service = {
  config: (url) => `{ preset: pushover, url: "${url}/1/messages.json", ${TOKEN_FILE}, wake_url: "linphone://" }`,
  phone: { param: "", prid: "uQiRzpo4DXghDmr9QzzfQu27cmVRsG" },
  dead: "nobody",
  judge(came) {
    const failed = (field: string, error: string, fault?: string): Said => {
      const said = { status: 400, body: { [field]: "invalid", errors: [error], status: 0, request: "5042853c" } };
      return fault === undefined ? said : { ...said, fault };
    };
    if (came.method === "GET" && came.path === "/1/apps/limits.json") {
      const isKnown = came.query.get("token") === KEY;
      return isKnown
        ? { status: 200, body: { limit: 10_000, remaining: 9_999, status: 1 } }
        : failed("token", "invalid");
    }
    const isForm = came.headers.get("content-type") === "application/x-www-form-urlencoded";
    if (came.path !== "/1/messages.json" || came.method !== "POST" || !isForm) return lost;
    const form = new URLSearchParams(came.body);
    const of = (name: string): string => form.get(name) ?? "";
    if (of("token") !== KEY) return failed("token", "application token is invalid");
    if (of("user") === "spent") {
      return { status: 429, body: { user: "ok", errors: ["application is over its quota"], status: 0 } };
    }
    if (of("user") !== this.phone.prid) {
      return failed("user", "user identifier is not a valid user, group, or subscribed user key");
    }
    if (of("message") === "" || of("message").length > 1024) return failed("message", "cannot be blank", "message");
    if (of("title").length > 250) return failed("title", "is too long", "title");
    if (of("url").length > 512) return failed("url", "is too long", "url");
    if (!/^(?:-?[12]|0)$/.test(of("priority"))) return failed("priority", "is invalid", "priority");
    if (of("priority") === "2" && form.get("retry") === null) return failed("retry", "must be supplied", "retry");
    if (form.has("sound") && !SOUNDS.includes(of("sound"))) return failed("sound", "is unknown", "sound");
    if (form.has("ttl") && !/^[1-9]\d*$/.test(of("ttl"))) return failed("ttl", "is invalid", "ttl");
    if (!/^\d{10}$/.test(of("timestamp"))) return failed("timestamp", "is invalid", "timestamp");
    return { status: 200, body: { status: 1, request: "647d2300" } };
  },
};

/** developers.home-assistant.io REST API, companion.home-assistant.io "Notification Commands". */
const homeassistant: Service = {
  config: (url) => `{ preset: homeassistant, url: "${url}/api/services/notify/{prid}", ${TOKEN_FILE} }`,
  phone: { param: "org.linphone", prid: "mobile_app_pixel_7" },
  dead: "",
  judge(came) {
    if (!isBearer(came)) return { status: 401, body: "401: Unauthorized" };
    if (came.method === "GET" && came.path === "/api/") return { status: 200, body: { message: "API running." } };
    const [, service] = /^\/api\/services\/notify\/([^/]+)$/.exec(came.path) ?? [];
    const push = json(came);
    if (service === undefined || push === null) return lost;
    // aiohttp's words for ServiceNotFound and for data that does not fit.
    if (service !== this.phone.prid) return { status: 400, body: "400: Bad Request" };
    if (!isText(push.message)) return { status: 400, fault: "no message" };
    const data = (push.data ?? {}) as Record<string, unknown>;
    if (push.message === "command_launch_app" && !isText(data.package_name)) {
      return { status: 400, fault: "package_name" };
    }
    if (data.priority !== "high" || data.ttl !== 0) return { status: 400, fault: "would wait for the phone to wake" };
    return { status: 200, body: [] };
  },
};

export const SERVICES: Readonly<Record<string, Service>> = {
  acrobits,
  yak,
  flexiapi,
  ntfy,
  bark,
  gotify,
  pushover,
  homeassistant,
};

/** A service that runs: what came, and what no sender must do. */
export class RunningService {
  readonly came: Came[] = [];
  readonly faults: string[] = [];
  private readonly server;
  private watchers: (() => void)[] = [];

  constructor(readonly service: Service) {
    this.server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: (request) => this.answer(request) });
  }

  get url(): string {
    return `http://127.0.0.1:${this.server.port}`;
  }

  /** Resolves once it is so; asked again after each request. */
  async until(isSo: () => boolean): Promise<void> {
    while (!isSo()) await new Promise<void>((resolve) => this.watchers.push(resolve));
  }

  stop(): void {
    void this.server.stop(true);
    this.changed();
  }

  private async answer(request: Request): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    const { method, headers } = request;
    const came = {
      method,
      path: decodeURIComponent(pathname),
      query: searchParams,
      headers,
      body: await request.text(),
    };
    const { status, body, fault } = this.service.judge(came);
    if (fault !== undefined) this.faults.push(fault);
    this.came.push(came);
    this.changed();
    if (typeof body === "string" || body === undefined) return new Response(body ?? "", { status });
    return Response.json(body, { status });
  }

  private changed(): void {
    for (const watcher of this.watchers.splice(0)) watcher();
  }
}
