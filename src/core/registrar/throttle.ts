/**
 * Which REGISTERs are answered here without asking the PBX. Decides from what is known; writes nothing.
 *
 * Two things are asked of an absorbed REGISTER: that the PBX's binding outlives what the phone is granted, and that it
 * comes from the very phone that the PBX accepted. OpenSIPS checks neither in its AoR mode, and both were seen to lose calls.
 */
import type { Flow } from "../sip/flow.ts";
import type { Contact } from "../usrloc/contact.ts";
import type { RegisterRequest } from "./register.ts";

/** What the decision is made from. */
export interface ThrottleFacts {
  readonly nowMs: number;
  /** The flow it came over. */
  readonly flow: Flow;
  /** The contact behind each of the request's, null where it is new. */
  readonly known: readonly (Contact | null)[];
  /** Seconds each of them asks for, within our bounds. */
  readonly asked: readonly number[];
  /** When the PBX's binding for this contact ends, ms; 0: it holds none, or we do not know. */
  upstreamEndsMs(contact: Contact): number;
}

/** margin = max(10 s, 10 %) of what is granted. */
export function marginMs(grantedSeconds: number): number {
  return Math.max(10_000, grantedSeconds * 100);
}

/** True if this REGISTER may be answered here. Whatever is not plainly a refresh goes to the PBX. */
export function isAbsorbable(request: RegisterRequest, facts: ThrottleFacts): boolean {
  if (request.isWildcard || request.contacts.length === 0) return false;
  for (let i = 0; i < request.contacts.length; i++) {
    const wanted = request.contacts[i]!;
    const known = facts.known[i]!;
    const granted = facts.asked[i]!;
    if (wanted.expires === 0 || granted === 0 || known === null) return false;
    // A changed Contact is news for the PBX's admin too: another token, another address, another Path.
    const isSame = wanted.repeats === known || (known.uri === wanted.uriText && known.params === wanted.params);
    if (!isSame || known.path !== request.path) return false;
    if (!isAuthentic(request, known, facts.flow)) return false;
    if (facts.upstreamEndsMs(known) - facts.nowMs - marginMs(granted) < granted * 1000) return false;
  }
  return true;
}

/**
 * known to come from the phone that the PBX accepted: the very connection, or the same source address and port with the
 * same Call-ID and a higher CSeq.
 */
function isAuthentic(request: RegisterRequest, known: Contact, flow: Flow): boolean {
  // Without a Call-ID the contact was set by hand: no phone registered it over this flow.
  if (known.flow !== flow || flow.state !== "open" || known.callId === "") return false;
  const isNext = known.callId === request.callId && request.cseq > known.cseq;
  return flow.isReliable ? isNext || known.callId !== request.callId : isNext;
}

/** REGISTERs whose challenge was relayed: their answer goes to the PBX, whatever flow it comes over. Bounded. */
export class Challenged {
  private readonly callIds = new Set<string>();

  constructor(private readonly max = 10_000) {}

  add(callId: string): void {
    this.callIds.delete(callId);
    this.callIds.add(callId);
    if (this.callIds.size > this.max) this.callIds.delete(this.callIds.values().next().value!);
  }

  /** True once for each challenge relayed. */
  take(callId: string): boolean {
    return this.callIds.delete(callId);
  }

  get size(): number {
    return this.callIds.size;
  }
}
