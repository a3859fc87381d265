/**
 * `/v1/locations`: who is registered. Tells both sides of each registration, the phone's with us and ours with the PBX,
 * each with what is left of it and who renews it (R-09).
 */
import { aorOutlook, deviceOutlook, type RefreshOutlook } from "../core/registrar/refresh_outlook.ts";
import type { RegistrarMode } from "../core/registrar/settings.ts";
import { hostPort } from "../core/sip/host.ts";
import type { Aor, Contact } from "../core/usrloc/contact.ts";
import type { DeviceKind, TokenState } from "../core/usrloc/model.ts";
import type { Reachability } from "../core/usrloc/usrloc.ts";
import { readable } from "../observe/display.ts";
import { maskSecrets, shortToken } from "../observe/privacy.ts";
import { renderTable, type TableColumn } from "../observe/table.ts";
import { doneAnswer, either, type Page, pageAnswer, type PageQuery, pageQuery } from "./answer.ts";
import { aorParam, registeredAor } from "./aor.ts";
import { asDurableInput, type ControlHost } from "./host.ts";
import { AOR, FORMAT, PAGE, type Route, route } from "./route.ts";
import { duration, pairs } from "./text.ts";

/** Who renews a registration, what comes next and why (R-09). */
export interface RefreshJson {
  /** `latefork`: our own REGISTERs. `push`: the phone, which is woken for it. `phone`: the phone alone. */
  by: "phone" | "latefork" | "push";
  /** What is done next, in words. */
  next: string;
  /** Seconds; null: not planned. */
  next_in: number | null;
  /** Why it is this one that renews, in words. */
  why: string;
  /** The last failure, in words; empty: none since the last success. */
  last_failure: string;
}

export interface DeviceJson {
  id: string;
  kind: DeviceKind;
  contact: string;
  instance: string;
  user_agent: string;
  expires_in: number;
  /**
   * The way back to the device. `live`: it gets the next INVITE at once. `lost`: it must be woken; `remote` is where it was last.
   * `unknown`: UDP, and silent for `wake.idle`: it gets INVITE and push.
   */
  flow: { state: Reachability; transport: string; remote: string };
  /** null: cannot be woken. The token itself is shown by its first and last characters only. */
  push: {
    provider: string;
    param: string;
    token: string;
    token_state: TokenState;
    /** The keys of its Web Push subscription are known: its pushes say who calls. */
    encrypted: boolean;
    registered_at: string;
  } | null;
  /**
   * What the PBX holds for the device. `dropped`: the PBX let go of it when another registered. `lapsed`: not renewed in time.
   * `in_doubt`: the PBX may have lost it.
   */
  upstream_state: "none" | "registered" | "in_doubt" | "lapsed" | "dropped";
  /** Seconds until the end of the binding at the PBX that the device depends on; null: none is known. */
  upstream_expires_in: number | null;
  /** The next call may not reach it: it did not answer a refresh push, or the PBX's binding has lapsed. */
  at_risk: boolean;
  /** Who renews what the PBX holds. */
  refresh: RefreshJson;
  /** Who renews its registration here. `phone`: by itself, within `next_in` seconds. `push`: woken in `next_in` seconds. */
  phone: { by: "phone" | "push"; next_in: number; last_failure: string };
}

/** `GET /v1/locations/{aor}` */
export interface LocationJson {
  aor: string;
  /**
   * What the PBX believes. `mode`: `aor`, one Contact for all devices; `contact`, `mirror`: one for each; null: there is no
   * PBX. `state`: `none`, `registered`, `removed`, `lapsed`: it was not renewed in time, or `in_doubt`: the PBX may have lost it.
   */
  upstream: {
    mode: RegistrarMode | null;
    state: string;
    expires_in: number;
    at_risk: boolean;
    refresh: RefreshJson | null;
  };
  devices: DeviceJson[];
}

export const LOCATIONS: readonly Route[] = [
  route({
    id: "locations",
    method: "GET",
    path: "/v1/locations",
    summary: "registered devices of every AoR",
    query: [{ name: "q", what: "part of the AoR" }, ...PAGE, FORMAT],
    example: "/v1/locations?format=text",
    isList: true,
    answer: (c, host) => pageAnswer(c, locationsPage(host, c.req.query("q") ?? "", pageQuery(c)), locationsText),
  }),
  route({
    id: "location",
    method: "GET",
    path: "/v1/locations/{aor}",
    summary: "devices of one AoR",
    query: [FORMAT],
    example: `/v1/locations/${AOR}`,
    answer(c, host) {
      const aor = registeredAor(host, aorParam(c, host));
      return either(c, locationJson(aor, outlooks(host), host.turn.nowMs), locationText);
    },
  }),
  route({
    id: "deleteLocation",
    method: "DELETE",
    path: "/v1/locations/{aor}",
    summary: "forget an AoR and its devices",
    example: `/v1/locations/${AOR}`,
    async answer(c, host) {
      const aor = registeredAor(host, aorParam(c, host));
      await asDurableInput(host, () => {
        for (const contact of [...aor.contacts]) host.core.usrloc.remove(contact, "control");
      });
      return doneAnswer();
    },
  }),
];

/** @param filter substring of the AoR; empty: all. Sorted by AoR. */
function locationsPage(host: ControlHost, filter: string, { limit, after }: PageQuery): Page<LocationJson> {
  const { usrloc } = host.core;
  const keys: string[] = [];
  for (const aor of usrloc.all()) {
    if (aor.key.includes(filter) && (after === "" || aor.key > after)) keys.push(aor.key);
  }
  keys.sort();
  const page = keys.slice(0, limit);
  return {
    items: page.map((key) => locationJson(usrloc.find(key)!, outlooks(host), host.turn.nowMs)),
    next: keys.length > page.length ? page.at(-1)! : null,
  };
}

/** What the JSON of a location is made from, besides usrloc: who keeps it registered, and whether it can be reached. */
export interface Outlooks {
  readonly upstreamMode: LocationJson["upstream"]["mode"];
  outlookOf(contact: Contact): RefreshOutlook;
  outlookOfAor(aor: Aor): RefreshOutlook | null;
  reachabilityOf(contact: Contact): Reachability;
}

/** Who keeps what registered, as the core knows it now. */
export function outlooks({ core, config }: ControlHost): Outlooks {
  return {
    upstreamMode: core.mid?.policy.mode ?? null,
    outlookOf: (contact) => deviceOutlook(contact, core.mid, core.clock.nowMs),
    outlookOfAor: (aor) => aorOutlook(aor, core.mid, core.clock.nowMs),
    reachabilityOf: (contact) => core.usrloc.reachability(contact, config.wake.idle),
  };
}

/** @param nowMs ms since the epoch. */
export function locationJson(aor: Aor, outlooks: Outlooks, nowMs: number): LocationJson {
  const { upstream } = aor;
  const isRegistered = upstream.state === "registered";
  const outlook = outlooks.outlookOfAor(aor);
  const devices = aor.contacts.map((contact) => deviceJson(contact, outlooks, nowMs));
  return {
    aor: aor.key,
    upstream: {
      mode: outlooks.upstreamMode,
      state: upstreamStateWord(aor, devices, nowMs),
      expires_in: isRegistered ? secondsLeft(upstream.expiresAtMs, nowMs) : 0,
      at_risk: devices.some((device) => device.at_risk),
      refresh: outlook === null ? null : refreshJson(outlook, nowMs),
    },
    devices,
  };
}

/** @param nowMs ms since the epoch. */
export function deviceJson(contact: Contact, outlooks: Outlooks, nowMs: number): DeviceJson {
  const { flow, push } = contact;
  const outlook = outlooks.outlookOf(contact);
  const state = outlooks.reachabilityOf(contact);
  return {
    id: contact.id,
    kind: contact.kind,
    contact: maskSecrets(contact.uri),
    instance: contact.instance,
    user_agent: readable(contact.userAgent),
    expires_in: secondsLeft(contact.expiresAtMs, nowMs),
    flow: flow === null
      ? { state, transport: contact.flowKey.split("|")[0]!, remote: contact.flowKey.split("|")[2] ?? "" }
      : { state, transport: flow.transport, remote: hostPort(flow.remoteAddress, flow.remotePort) },
    push: push === null ? null : {
      provider: push.provider,
      param: push.param,
      token: shortToken(push.prid),
      token_state: push.tokenState,
      encrypted: push.keys !== undefined,
      registered_at: new Date(push.registeredAtMs).toISOString(),
    },
    upstream_state: outlook.held,
    upstream_expires_in: outlook.upstreamEndsMs === 0 ? null : secondsLeft(outlook.upstreamEndsMs, nowMs),
    at_risk: outlook.isAtRisk,
    refresh: refreshJson(outlook, nowMs),
    phone: {
      by: outlook.phone.by,
      next_in: secondsLeft(outlook.phone.nextMs, nowMs),
      last_failure: outlook.phone.lastFailure,
    },
  };
}

function refreshJson({ refreshedBy, next, nextMs, why, lastFailure }: RefreshOutlook, nowMs: number): RefreshJson {
  return {
    by: refreshedBy,
    next,
    next_in: Number.isFinite(nextMs) ? secondsLeft(nextMs, nowMs) : null,
    why,
    last_failure: lastFailure,
  };
}

function secondsLeft(atMs: number, nowMs: number): number {
  return Math.max(0, Math.round((atMs - nowMs) / 1000));
}

/** One row for each device, and one for an AoR without devices. */
export function locationsText(locations: readonly LocationJson[]): string {
  const rows = locations.flatMap((location) =>
    (location.devices.length === 0 ? [null] : location.devices).map((device) => ({ location, device }))
  );
  return renderTable(rows, COLUMNS, "no locations");
}

/** Everything about one AoR, device by device. */
export function locationText({ aor, upstream, devices }: LocationJson): string {
  const { refresh } = upstream;
  const isShared = upstream.mode === "aor";
  const held = upstream.mode === null
    ? "none, we are the registrar"
    : `${upstream.state === "registered" ? `registered, ${duration(upstream.expires_in)} left` : upstream.state}` +
      ` (mode ${upstream.mode}, ${isShared ? "one Contact for all devices" : "one Contact a device"})`;
  const ofAor = pairs([
    [aor, devices.length === 1 ? "1 device" : `${devices.length} devices`],
    ["at the pbx", held],
    ...isShared && refresh !== null ? [["renewed by", renewalSentence(refresh)] as const] : [],
  ]);
  return [ofAor, ...devices.map((device) => deviceText(device, isShared || upstream.mode === null))].join("\n");
}

const COLUMNS: readonly TableColumn<{ location: LocationJson; device: DeviceJson | null }>[] = [
  { title: "aor", value: ({ location }) => location.aor },
  { title: "device", value: ({ device }) => device?.id },
  { title: "kind", value: ({ device }) => device?.kind },
  { title: "expires", value: ({ device }) => device && expiryText(device), align: "right" },
  { title: "next", value: ({ device }) => device && nextText(device), maxWidth: 60 },
  { title: "at pbx", value: ({ location, device }) => heldText(location, device), align: "right" },
  { title: "renewed by", value: ({ location, device }) => device && renewedText(location, device), maxWidth: 60 },
  { title: "flow", value: ({ device }) => device && flowText(device), maxWidth: 44 },
  { title: "push", value: ({ device }) => device && pushText(device) },
  { title: "user agent", value: ({ device }) => device?.user_agent, maxWidth: 30 },
];

function deviceText(device: DeviceJson, isShared: boolean): string {
  const { push, phone, refresh } = device;
  const failure = phone.last_failure === "" ? "" : `; ${phone.last_failure}`;
  const next = phone.by === "push" ? `refresh push in ${duration(phone.next_in)}` : "its phone refreshes by itself";
  const held = device.upstream_state === "registered"
    ? `registered, ${duration(device.upstream_expires_in ?? 0)} left`
    : device.upstream_state;
  return pairs([
    [`device ${device.id}`, `${device.kind}${device.user_agent === "" ? "" : `, ${device.user_agent}`}`],
    ["  contact", readable(device.contact)],
    ...device.instance === "" ? [] : [["  instance", readable(device.instance)] as const],
    [
      "  here",
      isStatic(device) ? "set by hand, until it is deleted" : `${duration(device.expires_in)} left; ${next}${failure}`,
    ],
    ...isShared ? [] : [["  at the pbx", held] as const, ["  renewed by", renewalSentence(refresh)] as const],
    ["  flow", flowText(device)],
    [
      "  push",
      push === null
        ? "none: it cannot be woken"
        : `${push.provider}${push.param === "" ? "" : ` ${readable(push.param)}`}, ` +
          `token ${push.token} ${tokenWord(push.token_state)}`,
    ],
    ...device.at_risk ? [["  AT RISK", "the next call may not reach it"] as const] : [],
  ]);
}

/** `latefork in 47m 53s: our REGISTER to the PBX (pbx.trusts_us)`. */
function renewalSentence({ by, next, next_in, why, last_failure }: DeviceJson["refresh"]): string {
  const when = next_in === null ? "" : by === "phone" ? ` within ${duration(next_in)}` : ` in ${duration(next_in)}`;
  return `${by}${when}: ${next} (${why})${last_failure === "" ? "" : `; ${last_failure}`}`;
}

/** No phone asks for years: it was set by hand, without an expiry. */
const STATIC_SECONDS = 5 * 365 * 86_400;

function isStatic({ expires_in }: DeviceJson): boolean {
  return expires_in > STATIC_SECONDS;
}

/** As the PBX is believed to hold it: in doubt if that is so for any device. */
function upstreamStateWord({ upstream }: Aor, devices: readonly DeviceJson[], nowMs: number): string {
  if (upstream.state !== "registered") return upstream.state;
  if (upstream.expiresAtMs <= nowMs) return "lapsed";
  return devices.some((device) => device.upstream_state === "in_doubt") ? "in_doubt" : "registered";
}

function expiryText(device: DeviceJson): string {
  return isStatic(device) ? "never" : duration(device.expires_in);
}

/** The phone's side: `phone within 9m 59s`, `AT RISK push in 15s: 2 refresh pushes were not answered`. */
function nextText(device: DeviceJson): string | null {
  const { phone, at_risk } = device;
  if (isStatic(device)) return null;
  const when = phone.by === "push" ? `push in ${duration(phone.next_in)}` : `phone within ${duration(phone.next_in)}`;
  return (at_risk ? "AT RISK " : "") + when + (phone.last_failure === "" ? "" : `: ${phone.last_failure}`);
}

/** What the PBX holds for the device, or for an AoR without devices. */
function heldText({ upstream }: LocationJson, device: DeviceJson | null): string | null {
  if (upstream.mode === null) return null;
  const state = device === null ? upstream.state : device.upstream_state;
  if (state !== "registered") return state;
  return duration(device === null ? upstream.expires_in : device.upstream_expires_in ?? 0);
}

/** The PBX's side: `latefork in 47m`, `its phone: the PBX answered 403`. */
function renewedText({ upstream }: LocationJson, { refresh, phone, upstream_state }: DeviceJson): string | null {
  if (upstream.mode === null) return null;
  const { by, next_in, last_failure } = refresh;
  const who = by === "latefork" ? `latefork${next_in === null ? "" : ` in ${duration(next_in)}`}` : "its phone";
  // What another column says is not repeated.
  const isToldElsewhere = last_failure === "" || last_failure === phone.last_failure || upstream_state === "dropped";
  return isToldElsewhere ? who : `${who}: ${last_failure}`;
}

function flowText({ flow }: DeviceJson): string {
  if (flow.remote === "") return flow.state;
  return `${flow.transport} ${flow.remote}${flow.state === "live" ? "" : ` (${flow.state})`}`;
}

function pushText({ push }: DeviceJson): string | null {
  return push === null ? null : `${push.provider} ${tokenWord(push.token_state)}`;
}

/** `untried`: nothing was sent to the token yet, so no service has judged it. */
function tokenWord(state: NonNullable<DeviceJson["push"]>["token_state"]): string {
  return state === "unknown" ? "untried" : state;
}
