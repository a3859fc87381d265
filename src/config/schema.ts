/**
 * Owns what a config is: the table of keys, a file for each section, and the types that follow from it. Must not know how a
 * file is read, checked or printed. Names are those of the YAML file.
 */
import { advertise, host, listen, secretFile } from "./kinds.ts";
import { CONTROL } from "./sections/control.ts";
import { DEVICES } from "./sections/devices.ts";
import { HTABLES } from "./sections/htables.ts";
import { LIMITS } from "./sections/limits.ts";
import { LOG } from "./sections/log.ts";
import { PBX } from "./sections/pbx.ts";
import { PUSH } from "./sections/push.ts";
import { REGISTRATION } from "./sections/registration.ts";
import { SECURITY } from "./sections/security.ts";
import { STORE } from "./sections/store.ts";
import { TLS } from "./sections/tls.ts";
import { TRACE } from "./sections/trace.ts";
import { WAKE } from "./sections/wake.ts";
import { WEB } from "./sections/web.ts";
import { type ConfigOf, key, list } from "./table.ts";

export type { ControlEntry, ListenEntry, PbxUri } from "./endpoint.ts";
export type { LogOverride, Rate, TokenSource } from "./values.ts";

/** Every key, in the order of the file. */
export const TABLE = {
  domain: list(host, {
    default: [],
    takesOne: true,
    applies: "restart",
    doc:
      "Domain, or list of domains, of the AoRs we serve. Empty: any host that is one of our addresses, or the PBX's.",
    example: "pbx.example.org",
  }),
  listen: list(listen, {
    default: ["udp://0.0.0.0:5060", "tcp://0.0.0.0:5060"],
    isRequired: true,
    applies: "restart",
    doc: "SIP listeners, as URL or as { url, advertise }. Port 0 takes a free one.",
  }),
  advertise: key(advertise, {
    default: "",
    applies: "restart",
    doc: "Name or address (and port) to put in Via, Record-Route, Path and Contact. Empty: the address listened on.",
    example: "sip.example.org",
  }),
  tls: TLS,
  web: WEB,
  pbx: PBX,
  users_file: key(secretFile, {
    default: "",
    applies: "live",
    doc: "Registrar mode: lines of user:realm:ha1-md5[:ha1-sha256], made by `latefork user add`.",
    example: "/etc/latefork/users",
  }),
  registration: REGISTRATION,
  devices: DEVICES,
  wake: WAKE,
  push: PUSH,
  htables: HTABLES,
  store: STORE,
  limits: LIMITS,
  security: SECURITY,
  control: CONTROL,
  log: LOG,
  trace: TRACE,
};

/** The whole config. Durations are ms, sizes bytes, files absolute or "" (not set). `pbx` is null in registrar mode. */
export type Config = ConfigOf<typeof TABLE>;

export type PbxConfig = NonNullable<Config["pbx"]>;

/** A rule for phones that do not speak RFC 8599; all conditions given must match. */
export type DeviceRule = Config["devices"][number];

export type WebhookConfig = Config["push"]["webhook"][string];
