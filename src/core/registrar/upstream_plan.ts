/** Which Contacts the PBX is told for a phone's REGISTER, and for how long. Sends and writes nothing. */
import type { Clock } from "../clock.ts";
import type { Flow } from "../sip/flow.ts";
import type { Contact } from "../usrloc/contact.ts";
import type { Usrloc } from "../usrloc/usrloc.ts";
import type { Bindings } from "./apply.ts";
import type { MidRegistrar } from "./mid_registrar.ts";
import type { RegisterRequest, WantedContact } from "./register.ts";
import { askedSeconds } from "./settings.ts";
import { upstreamUri } from "./upstream_contact.ts";

/** What the REGISTER means upstream. */
export interface UpstreamPlan {
  /** Contact header lines; empty: none (fetch), the wildcard as it came. */
  contactLines: string;
  /** Id of our Contact for each of the phone's contacts. */
  ids: string[];
  /** Seconds the PBX is asked for it; 0: to remove it. */
  asked: number[];
  /** What an Expires header has to say, if the phone's own would contradict our Contact: it removes one device of several. */
  contradicted: number | null;
}

/** What each Contact is asked for; one that a phone takes out and adds again is added. */
export function askedOf({ ids, asked }: Pick<UpstreamPlan, "ids" | "asked">): Map<string, number> {
  const seconds = new Map<string, number>();
  ids.forEach((id, i) => seconds.set(id, Math.max(asked[i]!, seconds.get(id) ?? 0)));
  return seconds;
}

export class UpstreamPlanner {
  constructor(
    private readonly registrar: MidRegistrar,
    private readonly usrloc: Usrloc,
    private readonly bindings: Bindings,
    private readonly clock: Clock,
  ) {}

  /** Seconds a phone asks for, within our bounds. */
  asked(wanted: WantedContact): number {
    return askedSeconds(wanted.expires, this.registrar.settings);
  }

  /** Which Contacts the PBX is told. */
  planFor(request: RegisterRequest, flow: Flow): UpstreamPlan {
    if (request.isWildcard || request.contacts.length === 0) {
      return { contactLines: "", ids: [], asked: [], contradicted: null };
    }
    return this.registrar.mode === "aor" ? this.planForAor(request, flow) : this.planForDevices(request, flow);
  }

  private planForAor(request: RegisterRequest, flow: Flow): UpstreamPlan {
    const id = this.bindings.aorId(request.aorKey);
    const aor = this.usrloc.find(request.aorKey);
    const named = new Set(request.contacts.map((wanted) => this.bindings.known(aor, wanted)));
    const staying = (aor?.contacts ?? []).filter((contact) => !named.has(contact));
    let expires = 0;
    for (const wanted of request.contacts) {
      if (wanted.expires !== 0) expires = Math.max(expires, this.askedUpstream(request.user, id, this.asked(wanted)));
    }
    // No device may take from another what it was granted, or asks for right now: the PBX's binding is one for all.
    let needed = this.registrar.inFlight.askedFor(request.aorKey, id);
    for (const contact of staying) {
      needed = Math.max(needed, this.askedUpstream(request.user, id, this.secondsLeft(contact)));
    }
    // digest covers neither Contact nor Expires, so the PBX can judge a removal that leaves the AoR registered.
    const contradicted = expires === 0 && needed > 0 ? Math.max(needed, this.registrar.settings.upstreamExpires) : null;
    expires = contradicted ?? (expires > 0 ? Math.max(expires, needed) : 0);
    return {
      contactLines: this.line(request.user, id, flow, expires),
      ids: request.contacts.map(() => id),
      asked: request.contacts.map((wanted) => wanted.expires === 0 && contradicted === null ? 0 : expires),
      contradicted,
    };
  }

  private planForDevices(request: RegisterRequest, flow: Flow): UpstreamPlan {
    const ids = request.contacts.map((wanted) => this.bindings.deviceId(request.aorKey, wanted));
    const asked = request.contacts.map((wanted, i) => {
      if (wanted.expires === 0) return 0;
      const seconds = this.asked(wanted);
      return this.registrar.mode === "mirror" ? seconds : this.askedUpstream(request.user, ids[i]!, seconds);
    });
    // A device that leaves its old address and comes with a new one is one Contact there.
    let lines = "";
    for (const [id, seconds] of askedOf({ ids, asked })) lines += this.line(request.user, id, flow, seconds);
    return { contactLines: lines, ids, asked, contradicted: null };
  }

  /** What the PBX is asked for, for a device that needs so many seconds: no more than usual where we renew it ourselves. */
  private askedUpstream(user: string, id: string, seconds: number): number {
    const { upstreamExpires } = this.registrar.settings;
    return this.registrar.keeper.isKeeping(user, id) ? upstreamExpires : Math.max(seconds, upstreamExpires);
  }

  private secondsLeft(contact: Contact): number {
    return Math.ceil((contact.expiresAtMs - this.clock.nowMs) / 1000);
  }

  /** One Contact header line for the PBX. */
  line(user: string, id: string, flow: Flow, expires: number): string {
    return "Contact: <" + upstreamUri(this.registrar.settings.placement, user, id, flow) + ">;expires=" + expires +
      "\r\n";
  }
}
