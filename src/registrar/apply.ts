/** Writing an accepted REGISTER into usrloc: the one path for both modes. */
import type { Clock } from "../sip/clock.ts";
import type { Flow } from "../sip/flow.ts";
import type { Binding } from "../usrloc/binding.ts";
import { findDevice, identityText } from "../usrloc/identity.ts";
import type { Aor, Contact } from "../usrloc/model.ts";
import type { Usrloc } from "../usrloc/usrloc.ts";
import { stableId } from "./ids.ts";
import type { RegisterRequest, WantedContact } from "./register.ts";
import type { RegistrarSettings } from "./settings.ts";

/** What came of one REGISTER. */
export interface Applied {
  /** Contacts of this REGISTER that are now registered, in its order. */
  saved: Binding[];
  removed: number;
  /** Left alone because a later REGISTER was there already. */
  stale: number;
}

export class Bindings {
  constructor(
    private readonly usrloc: Usrloc,
    private readonly clock: Clock,
    public settings: RegistrarSettings,
  ) {}

  aorId(key: string): string {
    return this.usrloc.find(key)?.id ?? stableId(this.settings.idSecret, "a:" + key);
  }

  /** The contact of the AoR that is this device. */
  known(aor: Aor | undefined, wanted: WantedContact): Binding | null {
    return aor === undefined ? null : findDevice(aor.contacts as Binding[], wanted);
  }

  /** Id of the device behind a wanted contact, known or new. */
  deviceId(request: RegisterRequest, wanted: WantedContact): string {
    const known = this.known(this.usrloc.find(request.aorKey), wanted);
    return known?.id ?? stableId(this.settings.idSecret, "d:" + request.aorKey + ":" + identityText(wanted));
  }

  /** True if this contact was written by a later REGISTER of the same sequence. */
  isOutOfOrder(known: Binding | null, request: RegisterRequest, order: number): boolean {
    if (known === null) return false;
    return (known.callId === request.callId && request.cseq < known.cseq) || (order !== 0 && order < known.order);
  }

  /** True if one more device would be too many and nobody may be evicted for it. */
  isFull(request: RegisterRequest): boolean {
    const aor = this.usrloc.find(request.aorKey);
    let left = aor?.contacts.length ?? 0;
    let isNew = false;
    for (const wanted of request.contacts) {
      const known = this.known(aor, wanted);
      if (wanted.expires === 0) left -= known === null ? 0 : 1;
      else if (known === null) {
        left++;
        isNew = true;
      }
    }
    if (!isNew) return false;
    if (this.usrloc.contactCount >= this.settings.maxBindings) return true;
    return this.settings.overflow === "reject" && left > this.settings.maxContacts;
  }

  /**
   * Writes what was accepted.
   * @param grants seconds for each of `request.contacts`; 0 removes
   * @param order sequence number of the REGISTER's arrival, 0 where answers cannot overtake each other
   */
  apply(request: RegisterRequest, grants: readonly number[], flow: Flow, order: number): Applied {
    const applied: Applied = { saved: [], removed: 0, stale: 0 };
    if (request.isWildcard) {
      const aor = this.usrloc.find(request.aorKey);
      for (const contact of [...aor?.contacts ?? []]) {
        this.usrloc.remove(contact, "unregistered");
        applied.removed++;
      }
      return applied;
    }
    for (let i = 0; i < request.contacts.length; i++) {
      const wanted = request.contacts[i]!;
      const aor = this.usrloc.find(request.aorKey);
      const known = this.known(aor, wanted);
      if (this.isOutOfOrder(known, request, order)) {
        applied.stale++;
        if (known !== null && grants[i]! > 0) applied.saved.push(known);
        continue;
      }
      if (grants[i]! > 0) applied.saved.push(this.save(request, wanted, known, grants[i]!, flow, order));
      else if (known !== null && !this.comesBack(request, known, i)) {
        this.usrloc.remove(known, "unregistered");
        applied.removed++;
      }
    }
    return applied;
  }

  /** A phone that moves takes out its old address and adds the new one in one REGISTER: that is no removal. */
  private comesBack(request: RegisterRequest, known: Binding, after: number): boolean {
    if (known.instance === "") return false;
    return request.contacts.some((other, i) =>
      i > after && other.expires !== 0 && other.instance === known.instance && other.regId === known.regId
    );
  }

  private save(
    request: RegisterRequest,
    wanted: WantedContact,
    known: Binding | null,
    granted: number,
    flow: Flow,
    order: number,
  ): Binding {
    const nowMs = this.clock.nowMs;
    const aor = this.usrloc.ensure(request.aorKey, request.user, request.domain, this.aorId(request.aorKey));
    if (known === null && aor.contacts.length >= this.settings.maxContacts) this.evict(aor);
    const id = known?.id ?? stableId(this.settings.idSecret, "d:" + request.aorKey + ":" + identityText(wanted));
    const binding = this.usrloc.save(aor, known, id, {
      uri: wanted.uriText,
      params: wanted.params,
      instance: wanted.instance,
      regId: wanted.regId,
      q: wanted.q,
      callId: request.callId,
      cseq: request.cseq,
      expiresAtMs: nowMs + granted * 1000,
      registeredAtMs: nowMs,
      path: request.path,
      userAgent: request.userAgent,
      kind: wanted.kind,
      push: wanted.prid === "" ? null : {
        provider: wanted.provider,
        param: wanted.param,
        prid: wanted.prid,
        tokenState: "unknown",
        registeredAtMs: nowMs,
      },
      flowKey: flow.key,
    }, flow);
    binding.order = order;
    return binding;
  }

  /** the oldest lost flow first, then the oldest. */
  private evict(aor: Aor): void {
    let victim: Contact | null = null;
    let victimIsLost = false;
    for (const contact of aor.contacts) {
      const isLost = this.usrloc.reachability(contact, this.settings.idleMs) === "lost";
      const isOlder = victim === null || contact.registeredAtMs < victim.registeredAtMs;
      if (victim === null || (isLost && !victimIsLost) || (isLost === victimIsLost && isOlder)) {
        victim = contact;
        victimIsLost = isLost;
      }
    }
    if (victim !== null) this.usrloc.remove(victim, "evicted");
  }
}

/** The Contact lines of a 2xx to a phone: its own contacts, or all of the AoR's, each with what is left of it. */
export function contactLines(contacts: readonly Contact[], nowMs: number): string {
  let lines = "";
  for (const contact of contacts) {
    const left = Math.max(0, Math.ceil((contact.expiresAtMs - nowMs) / 1000));
    lines += "Contact: <" + contact.uri + ">" + contact.params + ";expires=" + left + "\r\n";
  }
  return lines;
}
