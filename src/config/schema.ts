/**
 * Owns what a config is: its TypeScript shape, the one table of keys (type, default, words, live or restart), and the
 * table of what this version does not have. Must not know how a file is read, checked or printed: load, example,
 * reload and masked all work from these tables. Names are those of the YAML file.
 */
import type { Transport } from "../core/sip/flow.ts";
import type { LogLevel } from "../core/port.ts";
import type { Cidr } from "./cidr.ts";

/** The whole config. Durations are ms, sizes bytes, files absolute or "" (not set). */
export interface Config {
  /** AoR domains we serve, lower-case; empty: any host that is one of our addresses, or the PBX's. */
  domain: string[];
  listen: ListenEntry[];
  /** `host` or `host:port`; "" = the address listened on. */
  advertise: string;
  tls: { cert_file: string; key_file: string; client_ca_file: string };
  /** null: latefork is the registrar itself. */
  pbx: PbxConfig | null;
  users_file: string;
  registration: {
    min_expires: number;
    default_expires: number;
    max_expires: number;
    max_contacts: number;
    overflow: "evict" | "reject";
    reply_contacts: "own" | "all";
  };
  devices: DeviceRule[];
  wake: {
    window: number;
    ring_timeout: number;
    hedge: number;
    idle: number;
    progress: "none" | "180" | "183" | "110";
    /** Upper-case. */
    methods: string[];
    delayed_cancel: "auto" | "true" | "false";
    decline: "device" | "all";
    early_media: "first" | "all" | "none";
    serial: boolean;
    q_step: number;
    single_answer: boolean;
  };
  push: {
    unsupported: "forward" | "555";
    refresh_before: number;
    missed: boolean;
    apns: {
      key_file: string;
      key_id: string;
      team_id: string;
      server: string;
      sandbox_server: string;
      ca_file: string;
    };
    fcm: { service_account_file: string; server: string; ca_file: string };
    webpush: { subject: string; vapid_file: string; ca_file: string; allow_hosts: string[] };
    /** By `pn-provider`, lower-case, or "*". No prototype: safe to index with what a phone sent. */
    webhook: Record<string, WebhookConfig>;
  };
  /** By table name. No prototype. */
  htables: Record<string, HtableConfig>;
  store: { path: string; sync: "full" | "relaxed"; flush: number; cluster: string };
  limits: {
    message: number;
    calls: number;
    calls_per_aor: number;
    connections: number;
    connections_per_source: number;
    requests_per_source: Rate;
    auth_failures: Rate;
    bindings: number;
  };
  security: { allow: Cidr[]; deny: Cidr[]; trust: Cidr[]; scanners: "ban" | "allow" };
  control: { listen: ControlEntry[]; token_file: string };
  log: { level: LogLevel; format: "auto" | "text" | "json"; privacy: "full" | "mask"; overrides: LogOverride[] };
  trace: { messages: number; calls: number; hep: string };
}

export interface ListenEntry {
  /** As written. */
  url: string;
  scheme: Transport;
  /** IP address without brackets. */
  host: string;
  /** 0 = a free one. */
  port: number;
  /** Of ws and wss, "/" if not given; "" otherwise. */
  path: string;
  /** `host` or `host:port`; "" = the top-level `advertise`. */
  advertise: string;
}

export interface PbxConfig {
  /** In order of preference, never empty. */
  uri: PbxUri[];
  /** Empty: the addresses of `uri`. */
  trust: Cidr[];
  mode: "aor" | "contact" | "mirror";
  contact_id: "param" | "user" | "aor";
  expires: number;
  credentials_file: string;
  trusts_us: boolean;
  /** 0 = off. */
  qualify: number;
}

export interface PbxUri {
  /** As written. */
  uri: string;
  /** Name or IP address, without brackets, lower-case. */
  host: string;
  /** 5060 (tls: 5061) if the URI has none; see `has_port`. */
  port: number;
  /** False: DNS SRV may choose the port (RFC 3263 §4.2). */
  has_port: boolean;
  transport: Transport;
}

/** A rule for phones that do not speak RFC 8599; all conditions given must match. */
export interface DeviceRule {
  /** Regular expression on User-Agent; "" = any. */
  user_agent: string;
  /** Another header and a regular expression on its value; null = none. */
  header: { name: string; pattern: string } | null;
  kind: "mobile" | "desk" | "";
  push: { provider: string; token_from: TokenSource } | null;
}

/** Where a rule finds the token: a Contact parameter or a header. */
export interface TokenSource {
  source: "contact" | "header";
  /** Parameter or header name, lower-case. */
  name: string;
}

export interface WebhookConfig {
  url: string;
  token_file: string;
  timeout: number;
}

export interface HtableConfig {
  /** 0 = until deleted. */
  ttl: number;
  max: number;
  persist: boolean;
}

export interface Rate {
  count: number;
  per_ms: number;
}

export interface ControlEntry {
  /** As written. */
  url: string;
  scheme: "http" | "unix";
  /** IP address or name without brackets; "" for unix. */
  host: string;
  /** 0 = a free one; 0 for unix. */
  port: number;
  /** Of the unix socket; "" for http. */
  path: string;
}

/** `aor=alice@example.org -> debug` */
export interface LogOverride {
  text: string;
  field: "aor" | "call" | "device" | "flow";
  value: string;
  level: LogLevel;
}

/** How the text of one value is read (values.ts, endpoint.ts). */
export type ValueType =
  | "advertise"
  | "boolean"
  | "choice"
  | "cidr"
  | "control"
  | "count"
  | "duration"
  | "file"
  | "header_match"
  | "host"
  | "listen"
  | "log_override"
  | "method"
  | "pattern"
  | "pbx_uri"
  | "rate"
  | "size"
  | "text"
  | "token_source"
  | "url";

/** One key of the file. */
export interface KeyRow {
  /** Dotted; `*` stands for a name of a map, `[]` for an item of a list. */
  readonly path: string;
  readonly type: ValueType;
  /** As text of the file; a list for keys that hold one. */
  readonly default: string | readonly string[];
  readonly doc: string;
  readonly applies: "live" | "restart";
  /** Shown in the example file where the default says nothing. */
  readonly example?: string;
  /** Must be given when its section is (unless it has a default), and must not be empty. */
  readonly isRequired?: boolean;
  /** A list key that also takes a single value. */
  readonly takesOne?: boolean;
  readonly choices?: readonly string[];
  /** Bounds of durations (ms), sizes (bytes) and counts. */
  readonly min?: number;
  readonly max?: number;
  /** Of files: `secret` must not be readable by everyone, `database` is created by us. */
  readonly file?: "plain" | "secret" | "database";
}

/** A section: a mapping of keys, of free names (`map`) or a list of mappings. */
export interface SectionRow {
  readonly path: string;
  readonly doc: string;
  readonly kind: "keys" | "map" | "list";
  /** The value is null when the section is not given. */
  readonly isNullable?: boolean;
  /** Names a map holds even if they are not given. */
  readonly names?: readonly string[];
  /** Lines shown in the example file, indented below the section. */
  readonly example?: readonly string[];
}

export const SECTIONS: readonly SectionRow[] = [
  { path: "tls", kind: "keys", doc: "Certificate of the tls and wss listeners." },
  {
    path: "pbx",
    kind: "keys",
    isNullable: true,
    doc: "The PBX behind latefork (mid-registrar). Without this section latefork is the registrar itself.",
  },
  { path: "registration", kind: "keys", doc: "Registration of phones." },
  {
    path: "devices",
    kind: "list",
    doc: "Rules for phones that do not speak RFC 8599; the first match wins.",
    example: ['- { user_agent: "^Acrobits", kind: mobile, push: { provider: acme, token_from: "contact:pn-tok" } }'],
  },
  { path: "devices.[].push", kind: "keys", isNullable: true, doc: "How the matching phone is woken." },
  { path: "wake", kind: "keys", doc: "Calls to sleeping phones." },
  { path: "push", kind: "keys", doc: "Push services." },
  { path: "push.apns", kind: "keys", doc: "Apple (pn-provider apns)." },
  { path: "push.fcm", kind: "keys", doc: "Google (pn-provider fcm)." },
  { path: "push.webpush", kind: "keys", doc: "Web Push and UnifiedPush (pn-provider webpush)." },
  {
    path: "push.webhook",
    kind: "map",
    doc: 'Your own pusher: pn-provider value, and where to POST. "*" takes every provider that has no backend here.',
    example: ['acme: { url: "https://push.example.org/wake", token_file: "", timeout: 5s }'],
  },
  {
    path: "htables",
    kind: "map",
    names: ["banned"],
    doc: "Named tables with expiry; `banned` and `push_limits` are always there.",
  },
  { path: "store", kind: "keys", doc: "Where registrations are kept." },
  { path: "limits", kind: "keys", doc: "Bounds against floods." },
  { path: "security", kind: "keys", doc: "Who may talk to us." },
  { path: "control", kind: "keys", doc: "The HTTP control port." },
  { path: "log", kind: "keys", doc: "Log lines on stderr." },
  { path: "trace", kind: "keys", doc: "What is kept in memory to be looked at." },
];

const SECOND = 1000;
const HOUR = 3600 * SECOND;
const DAY = 24 * HOUR;

/** The one table of keys, in the order of the file. */
export const KEYS: readonly KeyRow[] = [
  {
    path: "domain",
    type: "host",
    default: [],
    takesOne: true,
    applies: "restart",
    doc:
      "Domain, or list of domains, of the AoRs we serve. Empty: any host that is one of our addresses, or the PBX's.",
    example: "pbx.example.org",
  },
  {
    path: "listen",
    type: "listen",
    default: ["udp://0.0.0.0:5060", "tcp://0.0.0.0:5060"],
    isRequired: true,
    applies: "restart",
    doc: "SIP listeners, as URL or as { url, advertise }. Port 0 takes a free one.",
  },
  {
    path: "advertise",
    type: "advertise",
    default: "",
    applies: "restart",
    doc: "Name or address (and port) to put in Via, Record-Route, Path and Contact. Empty: the address listened on.",
    example: "sip.example.org",
  },

  { path: "tls.cert_file", type: "file", file: "plain", default: "", applies: "live", doc: "Certificate chain (PEM)." },
  { path: "tls.key_file", type: "file", file: "secret", default: "", applies: "live", doc: "Private key (PEM)." },
  {
    path: "tls.client_ca_file",
    type: "file",
    file: "plain",
    default: "",
    applies: "live",
    doc: "Ask clients for a certificate of this CA. Empty: do not ask.",
  },

  {
    path: "pbx.uri",
    type: "pbx_uri",
    default: [],
    takesOne: true,
    isRequired: true,
    applies: "restart",
    doc:
      "Where the PBX is, or a list in order of preference, of which this version tries the first. Names are looked up as A " +
      "and AAAA, not SRV.",
    example: "sip:192.168.1.10:5060;transport=udp",
  },
  {
    path: "pbx.trust",
    type: "cidr",
    default: [],
    applies: "live",
    doc: "Where the PBX's requests come from. Empty: the addresses of uri.",
    example: "[192.168.1.10/32]",
  },
  {
    path: "pbx.mode",
    type: "choice",
    choices: ["aor", "contact", "mirror"],
    default: "aor",
    applies: "restart",
    doc: "Upstream Contacts: one per AoR, one per device, or one per device with every REGISTER forwarded.",
  },
  {
    path: "pbx.contact_id",
    type: "choice",
    choices: ["param", "user", "aor"],
    default: "param",
    applies: "restart",
    doc: "Where our id stands in the Contact the PBX gets: sip:USER@us;lf=ID, sip:ID@us, or nowhere (sip:USER@us).",
  },
  {
    path: "pbx.expires",
    type: "duration",
    default: "1h",
    min: 60 * SECOND,
    max: 30 * DAY,
    applies: "live",
    doc: "Expiry we ask of the PBX.",
  },
  {
    path: "pbx.credentials_file",
    type: "file",
    file: "secret",
    default: "",
    applies: "live",
    doc: 'Lets latefork refresh registrations while phones sleep: "user:password" or "user:realm:ha1" a line.',
  },
  {
    path: "pbx.trusts_us",
    type: "boolean",
    default: "false",
    applies: "live",
    doc: "The PBX takes our REGISTER without a challenge.",
  },
  {
    path: "pbx.qualify",
    type: "duration",
    default: "30s",
    max: HOUR,
    applies: "live",
    doc: "How often the PBX is asked with OPTIONS; 0 = off.",
  },

  {
    path: "users_file",
    type: "file",
    file: "secret",
    default: "",
    applies: "live",
    doc: "Registrar mode: lines of user:realm:ha1-md5[:ha1-sha256], made by `latefork user add`.",
    example: "/etc/latefork/users",
  },

  {
    path: "registration.min_expires",
    type: "duration",
    default: "60s",
    min: SECOND,
    max: 366 * DAY,
    applies: "live",
    doc: "Less is answered 423.",
  },
  {
    path: "registration.default_expires",
    type: "duration",
    default: "1h",
    min: SECOND,
    max: 366 * DAY,
    applies: "live",
    doc: "When the phone asks for nothing.",
  },
  {
    path: "registration.max_expires",
    type: "duration",
    default: "30d",
    min: SECOND,
    max: 366 * DAY,
    applies: "live",
    doc: "More is cut down to it.",
  },
  {
    path: "registration.max_contacts",
    type: "count",
    default: "8",
    min: 1,
    max: 32,
    applies: "live",
    doc: "Devices of one AoR.",
  },
  {
    path: "registration.overflow",
    type: "choice",
    choices: ["evict", "reject"],
    default: "evict",
    applies: "live",
    doc: "One device too many: evict the oldest (lost ones first), or reject with 403.",
  },
  {
    path: "registration.reply_contacts",
    type: "choice",
    choices: ["own", "all"],
    default: "own",
    applies: "live",
    doc: "Contacts in the 200 to a REGISTER: the phone's own, or all of the AoR.",
  },

  {
    path: "devices.[].user_agent",
    type: "pattern",
    default: "",
    applies: "live",
    doc: "Regular expression on User-Agent.",
  },
  {
    path: "devices.[].header",
    type: "header_match",
    default: "",
    applies: "live",
    doc: 'Another header, as "Name: regular expression".',
  },
  {
    path: "devices.[].kind",
    type: "choice",
    choices: ["mobile", "desk", ""],
    default: "",
    applies: "live",
    doc: "mobile: sleeps and may be woken. desk: reachable as long as its flow is.",
  },
  {
    path: "devices.[].push.provider",
    type: "text",
    default: "",
    isRequired: true,
    applies: "live",
    doc: "As pn-provider.",
  },
  {
    path: "devices.[].push.token_from",
    type: "token_source",
    default: "",
    isRequired: true,
    applies: "live",
    doc: '"contact:PARAMETER" or "header:NAME" that carries the token.',
  },

  {
    path: "wake.window",
    type: "duration",
    default: "30s",
    min: 1,
    max: 10 * 60 * SECOND,
    applies: "live",
    doc: "How long a woken phone has to register.",
  },
  {
    path: "wake.ring_timeout",
    type: "duration",
    default: "120s",
    min: 1,
    max: HOUR,
    applies: "live",
    doc: "A call ends unanswered at the latest after this; keep it below the PBX's own.",
  },
  {
    path: "wake.hedge",
    type: "duration",
    default: "1500ms",
    max: 10 * 60 * SECOND,
    applies: "live",
    doc: "A phone that seems awake but gives no sign for this long gets a push too; 0 = at once with the INVITE.",
  },
  {
    path: "wake.idle",
    type: "duration",
    default: "90s",
    min: 1,
    max: DAY,
    applies: "live",
    doc: "A UDP phone not heard of for this long may be asleep: it gets INVITE and push.",
  },
  {
    path: "wake.progress",
    type: "choice",
    choices: ["none", "180", "183", "110"],
    default: "none",
    applies: "live",
    doc: "What the caller gets, once, while phones are being woken. A real 180 is always passed.",
  },
  {
    path: "wake.methods",
    type: "method",
    default: ["INVITE"],
    applies: "live",
    doc: "Requests held for sleeping phones.",
  },
  {
    path: "wake.delayed_cancel",
    type: "choice",
    choices: ["auto", "true", "false"],
    default: "auto",
    applies: "live",
    doc:
      "A phone that wakes after the call is over gets INVITE and CANCEL. auto: for APNs VoIP tokens, as iOS needs it.",
  },
  {
    path: "wake.decline",
    type: "choice",
    choices: ["device", "all"],
    default: "device",
    applies: "live",
    doc: "device: who declines only ends its own branch. all: 603 and other 6xx end the call.",
  },
  {
    path: "wake.early_media",
    type: "choice",
    choices: ["first", "all", "none"],
    default: "all",
    applies: "live",
    doc: "Whose 183 with SDP passes.",
  },
  {
    path: "wake.serial",
    type: "boolean",
    default: "false",
    applies: "live",
    doc: "Try contacts in the order of their q.",
  },
  {
    path: "wake.q_step",
    type: "duration",
    default: "15s",
    min: 1,
    max: HOUR,
    applies: "live",
    doc: "With serial: time for each q.",
  },
  {
    path: "wake.single_answer",
    type: "boolean",
    default: "false",
    applies: "live",
    doc: "A second 200 is ended here with BYE instead of being passed to the caller.",
  },

  {
    path: "push.unsupported",
    type: "choice",
    choices: ["forward", "555"],
    default: "forward",
    applies: "live",
    doc: "A REGISTER whose pn-provider has no backend here: forward it as it is, or answer 555.",
  },
  {
    path: "push.refresh_before",
    type: "duration",
    default: "130s",
    min: 121 * SECOND,
    max: DAY,
    applies: "live",
    doc: "How long before a registration lapses its sleeping phone is woken to refresh it (RFC 8599: over 120 s).",
  },
  {
    path: "push.missed",
    type: "boolean",
    default: "false",
    applies: "live",
    doc:
      "A phone that was pushed in vain gets a push `missed` when the caller gave up or nobody came; never a VoIP push.",
  },
  {
    path: "push.apns.key_file",
    type: "file",
    file: "secret",
    default: "",
    applies: "live",
    doc: "The .p8 key; `latefork keys apns FILE` looks at it.",
    example: "/etc/latefork/AuthKey_ABC123DEFG.p8",
  },
  {
    path: "push.apns.key_id",
    type: "text",
    default: "",
    applies: "live",
    doc: "Its key id, 10 characters.",
    example: "ABC123DEFG",
  },
  {
    path: "push.apns.team_id",
    type: "text",
    default: "",
    applies: "live",
    doc: "Team id of the developer account, 10 characters.",
    example: "DEF123GHIJ",
  },
  {
    path: "push.apns.server",
    type: "url",
    default: "https://api.push.apple.com",
    applies: "live",
    doc: "Production server.",
  },
  {
    path: "push.apns.sandbox_server",
    type: "url",
    default: "https://api.sandbox.push.apple.com",
    applies: "live",
    doc: "Server for development builds.",
  },
  {
    path: "push.apns.ca_file",
    type: "file",
    file: "plain",
    default: "",
    applies: "live",
    doc: "Another CA (PEM). Empty: the system's.",
  },
  {
    path: "push.fcm.service_account_file",
    type: "file",
    file: "secret",
    default: "",
    applies: "live",
    doc: "Service account of the app's Firebase project (JSON); it also names the token server.",
    example: "/etc/latefork/service-account.json",
  },
  { path: "push.fcm.server", type: "url", default: "https://fcm.googleapis.com", applies: "live", doc: "Server." },
  {
    path: "push.fcm.ca_file",
    type: "file",
    file: "plain",
    default: "",
    applies: "live",
    doc: "Another CA (PEM). Empty: the system's.",
  },
  {
    path: "push.webpush.subject",
    type: "text",
    default: "",
    applies: "live",
    doc: "Who the push service may write to: mailto: or https: URL.",
    example: '"mailto:ops@example.org"',
  },
  {
    path: "push.webpush.vapid_file",
    type: "file",
    file: "secret",
    default: "",
    applies: "live",
    doc: "VAPID keys, made by `latefork keys vapid FILE`.",
    example: "/etc/latefork/vapid.json",
  },
  {
    path: "push.webpush.ca_file",
    type: "file",
    file: "plain",
    default: "",
    applies: "live",
    doc: "Another CA (PEM). Empty: the system's.",
  },
  {
    path: "push.webpush.allow_hosts",
    type: "host",
    default: [],
    applies: "live",
    doc:
      "Hosts that phones may name though they are on private addresses, and without TLS: a UnifiedPush server in the LAN.",
    example: "[ntfy.lan]",
  },
  { path: "push.webhook.*.url", type: "url", default: "", isRequired: true, applies: "live", doc: "Where to POST." },
  {
    path: "push.webhook.*.token_file",
    type: "file",
    file: "secret",
    default: "",
    applies: "live",
    doc: "Sent as Authorization: Bearer.",
  },
  {
    path: "push.webhook.*.timeout",
    type: "duration",
    default: "5s",
    min: 1,
    max: 60 * SECOND,
    applies: "live",
    doc: "For one attempt.",
  },

  {
    path: "htables.*.ttl",
    type: "duration",
    default: "10m",
    max: 366 * DAY,
    applies: "restart",
    doc: "How long an entry lives; 0 = until it is deleted.",
  },
  {
    path: "htables.*.max",
    type: "count",
    default: "10000",
    min: 1,
    max: 1_000_000,
    applies: "restart",
    doc: "Entries; beyond it the oldest goes.",
  },
  {
    path: "htables.*.persist",
    type: "boolean",
    default: "true",
    applies: "restart",
    doc: "Kept across restarts.",
  },

  {
    path: "store.path",
    type: "file",
    file: "database",
    default: "/var/lib/latefork/latefork.db",
    applies: "restart",
    doc: 'The SQLite database; ":memory:" keeps nothing.',
  },
  {
    path: "store.sync",
    type: "choice",
    choices: ["full", "relaxed"],
    default: "full",
    applies: "restart",
    doc: "full: a 200 to a REGISTER leaves when its binding is on disk. relaxed: the last moment may be lost.",
  },
  {
    path: "store.flush",
    type: "duration",
    default: "0s",
    max: 60 * SECOND,
    applies: "restart",
    doc: "Collect writes for this long (kinder to flash); 0 = at once.",
  },
  {
    path: "store.cluster",
    type: "text",
    default: "",
    applies: "restart",
    doc: "redis:// URL that several nodes share.",
  },

  {
    path: "limits.message",
    type: "size",
    default: "64k",
    min: 1024,
    max: 16 * 1024 * 1024,
    applies: "restart",
    doc: "Largest SIP message.",
  },
  {
    path: "limits.calls",
    type: "count",
    default: "2000",
    min: 1,
    max: 1_000_000,
    applies: "live",
    doc: "Open calls; more get 503.",
  },
  {
    path: "limits.calls_per_aor",
    type: "count",
    default: "20",
    min: 1,
    max: 10_000,
    applies: "live",
    doc: "Open calls to one AoR; more get 486.",
  },
  {
    path: "limits.connections",
    type: "count",
    default: "4096",
    min: 1,
    max: 1_000_000,
    applies: "live",
    doc: "TCP connections. One too many closes the one that is no registered phone's and was silent longest.",
  },
  {
    path: "limits.connections_per_source",
    type: "count",
    default: "64",
    min: 1,
    max: 1_000_000,
    applies: "live",
    doc: "TCP connections from one address (IPv6: /64).",
  },
  {
    path: "limits.requests_per_source",
    type: "rate",
    default: "50/s",
    applies: "live",
    doc: "Messages from one address (IPv6: /64); registered phones may five times as much, the PBX anything.",
  },
  {
    path: "limits.auth_failures",
    type: "rate",
    default: "10/m",
    applies: "live",
    doc: "Failed logins from one address before it is banned; ten times as many where registered phones are.",
  },
  {
    path: "limits.bindings",
    type: "count",
    default: "200000",
    min: 1,
    max: 10_000_000,
    applies: "live",
    doc: "Registered devices in all.",
  },

  {
    path: "security.allow",
    type: "cidr",
    default: [],
    applies: "live",
    doc: "Networks that are never banned or limited, whatever deny says.",
    example: "[192.168.1.0/24]",
  },
  { path: "security.deny", type: "cidr", default: [], applies: "live", doc: "Networks that are not answered." },
  {
    path: "security.trust",
    type: "cidr",
    default: [],
    applies: "live",
    doc: "Registrar mode: networks believed without digest (a LAN, a test, another proxy).",
  },
  {
    path: "security.scanners",
    type: "choice",
    choices: ["ban", "allow"],
    default: "ban",
    applies: "live",
    doc: "Sources with the User-Agent of a known scanner; ban: no answer, and into the htable banned.",
  },

  {
    path: "control.listen",
    type: "control",
    default: ["http://127.0.0.1:8060"],
    applies: "restart",
    doc: "http://ADDRESS:PORT or unix:/PATH. Beyond loopback only with token_file.",
  },
  {
    path: "control.token_file",
    type: "file",
    file: "secret",
    default: "",
    applies: "live",
    doc: "Clients must send its content as Authorization: Bearer.",
  },

  {
    path: "log.level",
    type: "choice",
    choices: ["debug", "info", "warn", "error"],
    default: "info",
    applies: "live",
    doc: "Least severe line that is written.",
  },
  {
    path: "log.format",
    type: "choice",
    choices: ["auto", "text", "json"],
    default: "auto",
    applies: "restart",
    doc: "auto: text on a terminal, json elsewhere.",
  },
  {
    path: "log.privacy",
    type: "choice",
    choices: ["full", "mask"],
    default: "full",
    applies: "live",
    doc: "mask: numbers, names and tokens are cut.",
  },
  {
    path: "log.overrides",
    type: "log_override",
    default: [],
    applies: "live",
    doc: "Another level for one aor, call, device or flow.",
    example: '["aor=alice@example.org -> debug"]',
  },

  {
    path: "trace.messages",
    type: "count",
    default: "5000",
    min: 0,
    max: 1_000_000,
    applies: "restart",
    doc: "SIP messages.",
  },
  {
    path: "trace.calls",
    type: "count",
    default: "1000",
    min: 1,
    max: 100_000,
    applies: "restart",
    doc: "Ended calls.",
  },
  { path: "trace.hep", type: "text", default: "", applies: "restart", doc: "HEP3 collector (Homer)." },
];

/** Something the config knows but this version does not do: an error that says what to do instead. */
export interface Unavailable {
  /** As in KEYS, or with a trailing `.*` for all keys of a section. */
  readonly path: string;
  /** Reads before "not available in this version". */
  readonly what: string;
  readonly instead: string;
  /** Which values; for lists it is asked about each item. Not given: every value but the default. */
  readonly when?: (value: never) => boolean;
}

/** What this version does not do. A feature that gets built loses its line here, and nothing else changes. */
export const UNAVAILABLE: readonly Unavailable[] = [
  {
    path: "listen",
    when: (entry: ListenEntry) => entry.scheme !== "udp" && entry.scheme !== "tcp",
    what: "tls, ws and wss listeners are",
    instead: "use udp:// or tcp://",
  },
  {
    path: "pbx.uri",
    when: (uri: PbxUri) => uri.transport !== "udp" && uri.transport !== "tcp",
    what: "tls, ws and wss towards the PBX are",
    instead: "use transport=udp or transport=tcp",
  },
  { path: "tls.*", what: "TLS is", instead: "remove the key" },
  {
    path: "wake.methods",
    when: (method: string) => method !== "INVITE",
    what: "holding requests other than INVITE is",
    instead: "use [INVITE]",
  },
  { path: "wake.early_media", what: "early media other than all is", instead: "use all" },
  { path: "wake.serial", what: "serial forking is", instead: "use false" },
  { path: "wake.q_step", what: "serial forking is", instead: "remove the key" },
  { path: "store.cluster", what: "a cluster is", instead: "remove the key" },
  {
    path: "trace.hep",
    what: "HEP export is",
    instead: "remove the key; `latefork trace` shows the messages",
  },
];

/** The line of UNAVAILABLE that speaks about this key, if any. */
export function unavailableFor(path: string): Unavailable | undefined {
  return UNAVAILABLE.find((row) =>
    row.path === path || (row.path.endsWith(".*") && path.startsWith(row.path.slice(0, -1)))
  );
}
