/** The table of keys: every default, and a wrong value for every key. */
import { expect, test } from "bun:test";
import { defaultConfig } from "../../src/config/defaults.ts";
import { loadConfig } from "../../src/config/load.ts";
import type { Config } from "../../src/config/schema.ts";
import { type KeyRow, KEYS, ROOT, type TreeNode } from "../../src/config/tree.ts";

/** Written by hand, so that a change of a default, or of the type of a key, is seen. */
const DEFAULTS: Config = {
  domain: [],
  listen: [
    { url: "udp://0.0.0.0:5060", scheme: "udp", host: "0.0.0.0", port: 5060, path: "", advertise: "" },
    { url: "tcp://0.0.0.0:5060", scheme: "tcp", host: "0.0.0.0", port: 5060, path: "", advertise: "" },
  ],
  advertise: "",
  tls: { cert_file: [], key_file: [], client_ca_file: "" },
  web: { allow_origins: [] },
  pbx: null,
  users_file: "",
  registration: {
    min_expires: 60_000,
    default_expires: 3_600_000,
    max_expires: 2_592_000_000,
    max_contacts: 8,
    overflow: "evict",
    reply_contacts: "own",
  },
  devices: [],
  wake: {
    window: 30_000,
    ring_timeout: 120_000,
    hedge: 1500,
    idle: 90_000,
    progress: "none",
    methods: ["INVITE"],
    delayed_cancel: "auto",
    decline: "device",
    early_media: "all",
    serial: false,
    q_step: 15_000,
    single_answer: true,
  },
  push: {
    unsupported: "forward",
    refresh_before: 130_000,
    missed: false,
    privacy: "full",
    proxy: "",
    apns: {
      key_file: "",
      key_id: "",
      team_id: "",
      server: "https://api.push.apple.com",
      sandbox_server: "https://api.sandbox.push.apple.com",
      ca_file: "",
    },
    fcm: { service_account_file: "", server: "https://fcm.googleapis.com", ca_file: "" },
    webpush: { subject: "", vapid_file: "", ca_file: "", allow_hosts: [] },
    http: {},
    webhook: {},
  },
  htables: { banned: { ttl: 600_000, max: 10_000, persist: true } },
  store: { path: "/var/lib/latefork/latefork.db", sync: "full", flush: 0, cluster: "" },
  limits: {
    message: 65_536,
    calls: 2000,
    calls_per_aor: 20,
    connections: 4096,
    connections_per_source: 64,
    handshakes: 1000,
    requests_per_source: { count: 50, per_ms: 1000 },
    strangers: { count: 1000, per_ms: 1000 },
    strangers_in_flight: 2000,
    transactions: 30_000,
    auth_failures: { count: 10, per_ms: 60_000 },
    bindings: 200_000,
  },
  security: { allow: [], deny: [], trust: [], proxies: [], scanners: "ban" },
  control: {
    listen: [{ url: "http://127.0.0.1:8060", scheme: "http", host: "127.0.0.1", port: 8060, path: "" }],
    token_file: "",
  },
  log: { level: "info", format: "auto", privacy: "full", overrides: [] },
  trace: { messages: 5000, calls: 1000, hep: "" },
};

test("O-02 every key has the default of the manual", () => {
  expect(JSON.parse(JSON.stringify(defaultConfig()))).toEqual(JSON.parse(JSON.stringify(DEFAULTS)));
});

test("O-02 the defaults of a PBX are those of the manual", () => {
  expect(loadConfig("pbx: { uri: 'sip:10.0.0.1' }").config?.pbx).toEqual({
    uri: [{ uri: "sip:10.0.0.1", host: "10.0.0.1", port: 5060, has_port: false, transport: "udp" }],
    ca_file: "",
    trust: [],
    mode: "aor",
    contact_id: "param",
    expires: 3_600_000,
    credentials_file: "",
    trusts_us: false,
    own_port: 0,
    verify: 300_000,
    qualify: 30_000,
  });
});

test("O-02 each default config is a fresh one", () => {
  defaultConfig().wake.window = 1;
  expect(defaultConfig().wake.window).toBe(30_000);
});

/** By kind of value. */
const WRONG: Record<string, string> = {
  advertise: "http://example.org",
  boolean: "maybe",
  choice: "nonsense",
  cidr: "300.1.1.1",
  control: "ftp://127.0.0.1",
  count: "many",
  duration: "soon",
  file: "~/file",
  header_match: "no colon",
  host: "sip:example.org",
  listen: "tpc://0.0.0.0",
  log_override: "debug",
  method: "BYE",
  pattern: "(",
  pbx_uri: "http://10.0.0.1",
  rate: "often",
  sender: "nonsense",
  size: "big",
  text: "a${B}c",
  token_source: "somewhere",
  url: "ftp://example.org",
};

const REQUIRED: Record<string, object> = {
  pbx: { uri: "sip:10.0.0.1" },
  "push.webhook.*": { url: "http://a.example" },
  "devices.[]": { user_agent: "x", kind: "mobile" },
  "devices.[].push": { provider: "acme", token_from: "contact:x" },
};

/** A file (JSON is YAML) with this one key, and what its sections need. */
function fileWith(path: string, value: unknown): string {
  let built = value;
  const names = path.split(".");
  for (let depth = names.length - 1; depth >= 0; depth--) {
    const name = names[depth]!;
    const section = names.slice(0, depth).join(".");
    built = name === "[]" ? [built] : { ...REQUIRED[section], [name === "*" ? "acme" : name]: built };
  }
  const users = path === "users_file" || path.startsWith("pbx") ? {} : { users_file: "u" };
  return JSON.stringify({ ...users, ...built as object });
}

function shownPath(row: KeyRow, isItem: boolean): string {
  return row.path.replace("*", "acme").replace(".[]", "[0]") + (isItem ? "[0]" : "");
}

test.each(KEYS.map((row) => [row.path, row] as const))("O-02 %s refuses a wrong value, at its place", (_path, row) => {
  const wrong = WRONG[row.kind.name]!;
  const isList = typeof row.default !== "string";
  const text = fileWith(row.path, isList ? [wrong] : wrong);
  const { config, problems } = loadConfig(text);
  const errors = problems.filter(({ severity }) => severity === "error");
  expect(config).toBeNull();
  expect(errors.map(({ path }) => path)).toEqual([shownPath(row, isList)]);
  const begin = text.indexOf(JSON.stringify(wrong)) + 1;
  expect(errors[0]!.line).toBe(1);
  expect(errors[0]!.column).toBeGreaterThanOrEqual(begin);
  expect(errors[0]!.column).toBeLessThanOrEqual(begin + wrong.length);
});

const PLAIN = KEYS.filter(({ kind }) => kind.whole === undefined);

test.each(PLAIN.map((row) => [row.path, row] as const))("O-02 %s refuses a mapping", (_path, row) => {
  const { problems } = loadConfig(fileWith(row.path, { a: "b" }));
  expect(problems.filter(({ severity }) => severity === "error").map(({ path }) => path)).toEqual([
    shownPath(row, false),
  ]);
});

test.each(KEYS.filter((row) => row.default !== "").map((row) => [row.path, row] as const))(
  "O-02 %s accepts its default when it is written",
  (_path, row) => {
    const value = row.default.length === 0 && row.isRequired === true ? ["sip:10.0.0.1"] : row.default;
    const { problems } = loadConfig(fileWith(row.path, value));
    expect(problems.filter(({ severity }) => severity === "error")).toEqual([]);
  },
);

test.each(KEYS.filter((row) => row.min !== undefined || row.max !== undefined).map((row) => [row.path, row] as const))(
  "O-02 %s keeps its bounds",
  (_path, row) => {
    const unit = row.kind.name === "duration" ? "ms" : "";
    const errorsOf = (value: number) =>
      loadConfig(fileWith(row.path, `${value}${unit}`)).problems.filter(({ message }) =>
        message.startsWith("must be at")
      );
    if (row.min !== undefined && row.min > 0) expect(errorsOf(row.min - 1).length).toBe(1);
    if (row.max !== undefined) expect(errorsOf(row.max + 1).length).toBe(1);
    expect(errorsOf(row.min ?? 0)).toEqual([]);
    expect(errorsOf(row.max ?? row.min!)).toEqual([]);
  },
);

/** Paths of the sections that have words. */
function sectionsBelow({ path, section, children }: TreeNode): string[] {
  const below = [...children.values()].flatMap(sectionsBelow);
  return section === null || section.doc === "" ? below : [path, ...below];
}

test("O-02 every section of a key is described, every description is of a section, and no key is there twice", () => {
  const sections = new Set(KEYS.flatMap(({ path }) => {
    const names = path.split(".");
    return names.slice(1).map((_name, index) => names.slice(0, index + 1).join("."));
  }));
  const described = sectionsBelow(ROOT);
  const items = described.filter((path) => sections.has(`${path}.*`) || sections.has(`${path}.[]`));
  expect([...sections].filter((path) => !path.endsWith("*") && !path.endsWith("[]")).sort()).toEqual(
    [...described].sort(),
  );
  expect(items.sort()).toEqual(["devices", "htables", "push.webhook"]);
  expect(new Set(KEYS.map(({ path }) => path)).size).toBe(KEYS.length);
});
