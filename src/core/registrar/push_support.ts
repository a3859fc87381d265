/**
 * RFC 8599 as a proxy and registrar (P-02): which push services a REGISTER is offered, who is refused, and whose phones
 * another proxy wakes. Decides from the request and from what is served; writes nothing. Must not know how pushes are
 * sent, nor what Feature-Caps look like.
 *
 * A PURR is announced with every 2xx, and only there: the REGISTER for the PBX is none of the phone's Contact.
 */
import { featureCapsLines, isAnnounceable, type PushCaps } from "../rfc8599/feature_caps.ts";
import { isPushQuery } from "../rfc8599/parameters.ts";
import { parseUri, uriParam } from "../sip/uri.ts";
import type { Contact } from "../usrloc/contact.ts";
import { ROOM_MS, wakesItself } from "./refresh_push.ts";
import type { RegisterRequest, WantedContact } from "./register.ts";
import { askedSeconds, type RegistrarSettings } from "./settings.ts";

/** The push services that can be sent to. */
export interface PushServices {
  /** @param provider a `pn-provider` value in lower case */
  serves(provider: string): boolean;
  /** All of them by name, for a phone that asks. */
  services(): readonly string[];
  /** `sip.vapid` of Web Push; empty: none. */
  readonly vapidKey: string;
  /** True if there is none at all, so that no contact need be asked which it wants. */
  readonly isEmpty?: boolean;
}

export const NO_PUSH_SERVICES: PushServices = { serves: () => false, services: () => [], vapidKey: "" };

/** One service for one contact, or for a phone that asked. */
export interface PushOffer extends PushCaps {
  /** The token it is to be pushed with; empty: the phone only asked. */
  readonly prid: string;
}

/** What a REGISTER is told of push. */
export interface PushAnswer {
  /** 0: it may go on. */
  readonly status: 0 | 423 | 555;
  /** Header lines of a refusal. */
  readonly lines: string;
  readonly offers: readonly PushOffer[];
}

const NOTHING: PushAnswer = { status: 0, lines: "", offers: [] };

/**
 * A refresh push needs two minutes (RFC 8599 §5.5): a phone that asks for less is told so. One that asks for a little more than
 * that registers without an announcement; so does everybody where the admin took `registration.min_expires` below its
 * default, as short registrations are then what he wants.
 */
const TOO_SHORT = 120;
const USUAL_MIN_EXPIRES = 60;

/** What a REGISTER asks of push, and what it is told. */
export function pushAnswer(request: RegisterRequest, services: PushServices, settings: RegistrarSettings): PushAnswer {
  if (request.isPushedByOther || (services.isEmpty && settings.unsupportedPush !== "555")) return NOTHING;
  let offers: PushOffer[] | null = null;
  for (const wanted of request.contacts) {
    // A removal is offered nothing and refused nothing.
    if (wanted.expires === 0) continue;
    const asked = askedServices(wanted, services);
    if (asked === null) continue;
    const served = asked.filter((name) => isAnnounceable(name) && services.serves(name));
    if (served.length === 0) {
      if (settings.unsupportedPush === "555" && speaksRfc8599(wanted)) return { ...NOTHING, status: 555 };
      continue;
    }
    if (wanted.prid !== "") {
      // A rule says that it is not pushed.
      if (wanted.kind !== "mobile") continue;
      const least = leastExpires(settings);
      // Only who asked for too little can ask for more, and only where more is to be had.
      const isTooShort = wanted.expires !== null && wanted.expires < TOO_SHORT &&
        settings.minExpires >= USUAL_MIN_EXPIRES;
      if (isTooShort && least <= settings.maxExpires) {
        return { ...NOTHING, status: 423, lines: `Min-Expires: ${least}\r\n` };
      }
      if (askedSeconds(wanted.expires, settings) * 1000 <= settings.refreshLeadMs) continue;
    }
    // RFC 8599 §4.1.4: only to a phone that says that it wakes itself.
    const refreshBefore = wakesItself(wanted.params) ? Math.ceil(settings.refreshLeadMs / 1000) : 0;
    for (const service of served) {
      (offers ??= []).push({ service, refreshBefore, purr: "", vapid: vapidOf(service, services), prid: wanted.prid });
    }
  }
  return offers === null ? NOTHING : { ...NOTHING, offers };
}

/** Feature-Caps for the forwarded REGISTER: they tell the PBX's side that we push. */
export function upstreamCaps(offers: readonly PushOffer[]): string {
  return offers.length === 0 ? "" : featureCapsLines(eachOnce(offers));
}

/**
 * Feature-Caps for the 2xx. RFC 8599 §5.3: none for a binding that ends before a push could renew it; the answer to a
 * question depends on no binding, and names none.
 * @param purrOf makes a fresh PURR of a device
 */
export function grantedCaps(
  offers: readonly PushOffer[],
  listed: readonly Contact[],
  nowMs: number,
  settings: RegistrarSettings,
  purrOf: (contact: Contact) => string,
): string {
  if (offers.length === 0) return "";
  const untilMs = nowMs + settings.refreshLeadMs;
  const deviceOf = ({ prid, service }: PushOffer) =>
    listed.find(({ push, expiresAtMs }) =>
      push !== null && push.prid === prid && push.provider === service && expiresAtMs > untilMs
    );
  const kept = eachOnce(offers.filter((offer) => offer.prid === "" || deviceOf(offer) !== undefined));
  return featureCapsLines(kept.map((offer) => {
    const device = offer.prid === "" ? undefined : deviceOf(offer);
    return device === undefined ? offer : { ...offer, purr: purrOf(device) };
  }));
}

/**
 * True if another proxy wakes the phone behind this contact: it learns from the Request-URI whom to wake (RFC 8599
 * §5.6), so there the push parameters have to stay. A token that is not ours is one of the proxy that added the Path.
 */
export function isWokenByOther(contact: Contact): boolean {
  return contact.push === null && contact.path !== "" && /;pn-prid=/i.test(contact.uri);
}

/** Shortest expiry of a phone that is to be pushed, seconds. */
function leastExpires({ refreshLeadMs, minExpires }: RegistrarSettings): number {
  return Math.max(Math.ceil((refreshLeadMs + ROOM_MS) / 1000), minExpires);
}

/** The services a contact names, or asks for; null: push is not its concern. */
function askedServices(wanted: WantedContact, services: PushServices): readonly string[] | null {
  if (wanted.prid !== "") return [wanted.provider];
  if (!speaksRfc8599(wanted)) return null;
  const uri = parseUri(wanted.uriText);
  if (uri === null || !isPushQuery((name) => uriParam(uri, name), () => undefined)) return [];
  const provider = uriParam(uri, "pn-provider")!.toLowerCase();
  return provider === "" ? services.services() : [provider];
}

/** The older forms, and phones a rule speaks for, know neither 555 nor queries. */
function speaksRfc8599({ uriText }: WantedContact): boolean {
  return /;pn-(?:provider|prid)(?:[=;]|$)/i.test(uriText);
}

/** RFC 8599 §4.1.1: of Web Push alone, by its names. */
function vapidOf(service: string, services: PushServices): string {
  return service === "webpush" || service === "unifiedpush" ? services.vapidKey : "";
}

/** Two devices of one service are told of it once, with what either of them is told. */
function eachOnce(offers: readonly PushOffer[]): PushOffer[] {
  const byService = new Map<string, PushOffer>();
  for (const offer of offers) {
    const known = byService.get(offer.service);
    if (known === undefined || known.refreshBefore === 0) byService.set(offer.service, offer);
  }
  return [...byService.values()];
}
