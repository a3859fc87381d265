/**
 * RFC 8599 as a proxy and registrar (P-02): which push services a REGISTER asks for, what is announced in Feature-Caps,
 * and what is refused. Pure text; must not know how pushes are sent.
 *
 * `pn-purr` is not offered: requests inside a dialog find a sleeping phone by its flow token and its binding.
 */
import { isPushQuery } from "../push/parameters.ts";
import { FEATURE_CAPS } from "../sip/header.ts";
import type { Message } from "../sip/message.ts";
import { paramOf } from "../sip/scan.ts";
import { parseUri, uriParam } from "../sip/uri.ts";
import type { Contact } from "../usrloc/model.ts";
import type { RegisterRequest, WantedContact } from "./register.ts";
import { wakesItself } from "./refresh_push.ts";

/** The push services that can be sent to. */
export interface PushServices {
  /** @param provider a `pn-provider` value in lower case */
  serves(provider: string): boolean;
  /** All of them by name, for a phone that asks. */
  services(): readonly string[];
  /** `sip.vapid` of Web Push; empty: none. */
  readonly vapidKey: string;
}

export const NO_PUSH_SERVICES: PushServices = { serves: () => false, services: () => [], vapidKey: "" };

/** RFC 8599 §5.3: a binding that ends sooner than this cannot be kept alive by pushes. Seconds. */
export const SHORTEST_PUSHED = 120;

/** What a REGISTER asks of push. */
export interface PushWish {
  /** Feature-Caps lines, one for each service that is served; empty: nothing is announced. */
  lines: string;
  /** A service it names is not served here, or it asks for those served and there are none. */
  isUnserved: boolean;
  /** A contact to be pushed asks for less than {@link SHORTEST_PUSHED}. */
  isTooShort: boolean;
}

const NOTHING: PushWish = { lines: "", isUnserved: false, isTooShort: false };

/** True if a proxy between the phone and us announced that it pushes: then we do not (RFC 8599 §5.3). */
export function isPushedByOther(request: Message): boolean {
  return request.has(FEATURE_CAPS) &&
    request.values(FEATURE_CAPS).some((value) => /\+sip\.pns[\s="]/i.test(value + " "));
}

/**
 * @param askedOf seconds a contact asks for, within our bounds
 * @param leadSeconds how long before the end whoever wakes itself has to refresh (`sip.pnsreg`)
 */
export function pushWish(
  request: RegisterRequest,
  services: PushServices,
  askedOf: (wanted: WantedContact) => number,
  leadSeconds: number,
): PushWish {
  if (request.isPushedByOther) return NOTHING;
  let lines: Map<string, string> | null = null;
  let isUnserved = false;
  let isTooShort = false;
  for (const wanted of request.contacts) {
    if (wanted.expires === 0) continue;
    const asked = askedServices(wanted, services);
    if (asked === null) continue;
    if (asked.length === 0) isUnserved = true;
    for (const provider of asked) {
      if (!services.serves(provider)) {
        isUnserved = true;
        continue;
      }
      if (wanted.prid !== "" && askedOf(wanted) < SHORTEST_PUSHED) isTooShort = true;
      (lines ??= new Map()).set(provider, capsLine(provider, services, isSelfWaking(wanted) ? leadSeconds : 0));
    }
  }
  if (lines === null && !isUnserved) return NOTHING;
  return { lines: lines === null ? "" : [...lines.values()].join(""), isUnserved, isTooShort };
}

/** RFC 8599 §5.3: push is not announced for a binding that ends before a push could renew it; a query has none. */
export function isLongEnough(request: RegisterRequest, listed: readonly Contact[], nowMs: number): boolean {
  if (request.contacts.every((wanted) => wanted.prid === "")) return true;
  return listed.some((contact) => contact.push !== null && contact.expiresAtMs - nowMs > SHORTEST_PUSHED * 1000);
}

/** The services a contact names, or asks for; null: push is not its concern. */
function askedServices(wanted: WantedContact, services: PushServices): readonly string[] | null {
  if (wanted.prid !== "") return [wanted.provider];
  if (!/pn-provider/i.test(wanted.uriText)) return null;
  const uri = parseUri(wanted.uriText);
  if (uri === null || !isPushQuery((name) => uriParam(uri, name), (name) => paramOf(wanted.params, name))) return null;
  const provider = (uriParam(uri, "pn-provider") ?? "").toLowerCase();
  return provider === "" ? services.services() : [provider];
}

function isSelfWaking(wanted: WantedContact): boolean {
  return wakesItself(wanted.params);
}

/** RFC 8599 §14: `*` stands for the one who adds it. */
function capsLine(provider: string, services: PushServices, leadSeconds: number): string {
  return `Feature-Caps: *;+sip.pns="${provider}"` +
    (leadSeconds > 0 ? `;+sip.pnsreg="${Math.max(SHORTEST_PUSHED + 1, leadSeconds)}"` : "") +
    (provider === "webpush" && services.vapidKey !== "" ? `;+sip.vapid="${services.vapidKey}"` : "") + "\r\n";
}
