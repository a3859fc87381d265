/**
 * Locations for a terminal: both sides of each registration, the phone's with us and ours with the PBX, each with what
 * is left of it and who renews it. Must not know HTTP.
 */
import { renderTable, type TableColumn } from "../observe/table.ts";
import { readable } from "../observe/display.ts";
import type { Location, LocationDevice } from "./backend.ts";
import { duration, pairs } from "./text.ts";

/** One row a device; an AoR without devices has a row, too. */
export function locationsText(locations: readonly Location[]): string {
  const rows = locations.flatMap((location) =>
    (location.devices.length === 0 ? [null] : location.devices).map((device) => ({ location, device }))
  );
  return renderTable(rows, COLUMNS, "no locations");
}

/** Everything about one AoR, device by device. */
export function locationText({ aor, upstream, devices }: Location): string {
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

const COLUMNS: readonly TableColumn<{ location: Location; device: LocationDevice | null }>[] = [
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

function deviceText(device: LocationDevice, isShared: boolean): string {
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
function renewalSentence({ by, next, next_in, why, last_failure }: LocationDevice["refresh"]): string {
  const when = next_in === null ? "" : by === "phone" ? ` within ${duration(next_in)}` : ` in ${duration(next_in)}`;
  return `${by}${when}: ${next} (${why})${last_failure === "" ? "" : `; ${last_failure}`}`;
}

/** No phone asks for years: it was set by hand, without an expiry. */
const STATIC_SECONDS = 5 * 365 * 86_400;

function isStatic({ expires_in }: LocationDevice): boolean {
  return expires_in > STATIC_SECONDS;
}

function expiryText(device: LocationDevice): string {
  return isStatic(device) ? "never" : duration(device.expires_in);
}

/** The phone's side: `phone within 9m 59s`, `AT RISK push in 15s: 2 refresh pushes were not answered`. */
function nextText(device: LocationDevice): string | null {
  const { phone, at_risk } = device;
  if (isStatic(device)) return null;
  const when = phone.by === "push" ? `push in ${duration(phone.next_in)}` : `phone within ${duration(phone.next_in)}`;
  return (at_risk ? "AT RISK " : "") + when + (phone.last_failure === "" ? "" : `: ${phone.last_failure}`);
}

/** What the PBX holds: for the device, or, where there is none, for the AoR. */
function heldText({ upstream }: Location, device: LocationDevice | null): string | null {
  if (upstream.mode === null) return null;
  const state = device === null ? upstream.state : device.upstream_state;
  if (state !== "registered") return state;
  return duration(device === null ? upstream.expires_in : device.upstream_expires_in ?? 0);
}

/** The PBX's side: `latefork in 47m`, `its phone: the PBX answered 403`. */
function renewedText({ upstream }: Location, { refresh, phone, upstream_state }: LocationDevice): string | null {
  if (upstream.mode === null) return null;
  const { by, next_in, last_failure } = refresh;
  const who = by === "latefork" ? `latefork${next_in === null ? "" : ` in ${duration(next_in)}`}` : "its phone";
  // What stands in another column need not be said twice.
  const isToldElsewhere = last_failure === "" || last_failure === phone.last_failure || upstream_state === "dropped";
  return isToldElsewhere ? who : `${who}: ${last_failure}`;
}

function flowText({ flow }: LocationDevice): string {
  if (flow.remote === "") return flow.state;
  return `${flow.transport} ${flow.remote}${flow.state === "live" ? "" : ` (${flow.state})`}`;
}

function pushText({ push }: LocationDevice): string | null {
  return push === null ? null : `${push.provider} ${tokenWord(push.token_state)}`;
}

/** No service has judged a token that nothing was sent to. */
function tokenWord(state: NonNullable<LocationDevice["push"]>["token_state"]): string {
  return state === "unknown" ? "untried" : state;
}
