/** Which Contacts the PBX is told for a phone's REGISTER, and for how long. Sends and writes nothing. */
import type { Clock } from "../../clock.ts";
import type { Flow } from "../../sip/flow.ts";
import type { Contact } from "../../usrloc/contact.ts";
import type { Usrloc } from "../../usrloc/usrloc.ts";
import type { ContactWriter } from "../contact_writer.ts";
import type { RegisterRequest } from "../register.ts";
import { upstreamContactLine } from "./contact.ts";
import type { UpstreamPolicy } from "./policy.ts";

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
    private readonly policy: UpstreamPolicy,
    private readonly usrloc: Usrloc,
    private readonly writer: ContactWriter,
    private readonly clock: Clock,
  ) {}

  /** Which Contacts the PBX is told. */
  planFor(request: RegisterRequest, flow: Flow): UpstreamPlan {
    if (request.isWildcard || request.contacts.length === 0) {
      return { contactLines: "", ids: [], asked: [], contradicted: null };
    }
    return this.policy.isOneForAll ? this.planForAor(request, flow) : this.planForDevices(request, flow);
  }

  private planForAor(request: RegisterRequest, flow: Flow): UpstreamPlan {
    const id = this.writer.aorId(request.aorKey);
    const aor = this.usrloc.find(request.aorKey);
    const named = new Set(request.contacts.map((wanted) => this.writer.known(aor, wanted)));
    const staying = (aor?.contacts ?? []).filter((contact) => !named.has(contact));
    let expires = 0;
    for (const wanted of request.contacts) {
      if (wanted.expires !== 0) {
        expires = Math.max(expires, this.policy.askedUpstream(request.user, id, this.policy.asked(wanted)));
      }
    }
    // No device may take from another what it was granted, or asks for right now: the PBX's binding is one for all.
    let needed = this.writer.inFlight.askedFor(request.aorKey, id);
    for (const contact of staying) {
      needed = Math.max(needed, this.policy.askedUpstream(request.user, id, this.secondsLeft(contact)));
    }
    // digest covers neither Contact nor Expires, so the PBX can judge a removal that leaves the AoR registered.
    const contradicted = expires === 0 && needed > 0 ? Math.max(needed, this.policy.settings.upstreamExpires) : null;
    expires = contradicted ?? (expires > 0 ? Math.max(expires, needed) : 0);
    return {
      contactLines: this.line(request.user, id, flow, expires),
      ids: request.contacts.map(() => id),
      asked: request.contacts.map((wanted) => wanted.expires === 0 && contradicted === null ? 0 : expires),
      contradicted,
    };
  }

  private planForDevices(request: RegisterRequest, flow: Flow): UpstreamPlan {
    const ids = request.contacts.map((wanted) => this.writer.deviceId(request.aorKey, wanted));
    const asked = request.contacts.map((wanted, i) => {
      if (wanted.expires === 0) return 0;
      const seconds = this.policy.asked(wanted);
      return this.policy.mode === "mirror" ? seconds : this.policy.askedUpstream(request.user, ids[i]!, seconds);
    });
    // A device that leaves its old address and comes with a new one is one Contact there.
    let lines = "";
    for (const [id, seconds] of askedOf({ ids, asked })) lines += this.line(request.user, id, flow, seconds);
    return { contactLines: lines, ids, asked, contradicted: null };
  }

  private secondsLeft(contact: Contact): number {
    return Math.ceil((contact.expiresAtMs - this.clock.nowMs) / 1000);
  }

  private line(user: string, id: string, flow: Flow, expires: number): string {
    return upstreamContactLine(this.policy.settings.placement, user, id, flow, expires);
  }
}
