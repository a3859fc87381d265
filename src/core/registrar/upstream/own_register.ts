/**
 * REGISTERs in our own name: as text, on their way, and what they need to get there. Renewals and removals send them.
 */
import type { Flow } from "../../sip/flow.ts";
import { viaValue } from "../../sip/via.ts";
import type { ClientOwner, ClientTransaction } from "../../transaction/client.ts";
import type { Transactions } from "../../transaction/table.ts";
import type { Aor } from "../../usrloc/contact.ts";
import type { Port } from "../../port.ts";
import type { InFlight } from "../in_flight.ts";
import { upstreamContactLine } from "./contact.ts";
import type { UpstreamPolicy } from "./policy.ts";

/** A question: which Contacts does the PBX have for the AoR? (RFC 3261 §10.2.3) */
export interface OwnQuestion {
  readonly aor: Aor;
  readonly flow: Flow;
  readonly callId: string;
  readonly tag: string;
  readonly cseq: number;
  /** Further header lines with their CRLF: credentials. */
  readonly lines: string;
}

export interface OwnRegister extends OwnQuestion {
  /** Of the upstream Contact. */
  readonly id: string;
  /** Seconds; 0 removes. */
  readonly expires: number;
}

/** The PBX, as the registrar sees it. */
export interface UpstreamSide {
  /** The way to it; null: there is none now. */
  flow(): Flow | null;
  /** The way to it for REGISTERs of our own; null: there is none now. */
  ownFlow(): Flow | null;
}

/** The way of our own REGISTERs to the PBX. */
export class UpstreamLink {
  constructor(
    readonly port: Port,
    readonly table: Transactions,
    readonly pbx: UpstreamSide,
    readonly policy: UpstreamPolicy,
    readonly inFlight: InFlight,
  ) {}

  /** Sends it; the answer comes to `owner`. The Contact names where the PBX's calls are to come, however this leaves. */
  send(owner: ClientOwner, what: OwnRegister): ClientTransaction {
    const { aor, id, flow, expires } = what;
    const from = this.pbx.flow() ?? flow;
    const contact = upstreamContactLine(this.policy.settings.placement, aor.user, id, from, expires);
    return this.register(owner, what, contact, "Expires: " + expires + "\r\n");
  }

  /** Asks; the answer comes to `owner`. */
  ask(owner: ClientOwner, what: OwnQuestion): ClientTransaction {
    return this.register(owner, what, "", "");
  }

  private register(owner: ClientOwner, what: OwnQuestion, contact: string, expires: string): ClientTransaction {
    const { aor, flow } = what;
    const branch = this.table.newBranch();
    const address = "<sip:" + aor.key + ">";
    const wire = "REGISTER sip:" + aor.domain + " SIP/2.0\r\n" +
      "Via: " + viaValue(flow, branch) + "\r\nMax-Forwards: 70\r\n" +
      "From: " + address + ";tag=" + what.tag + "\r\nTo: " + address + "\r\n" +
      "Call-ID: " + what.callId + "\r\nCSeq: " + what.cseq + " REGISTER\r\n" +
      contact + what.lines + expires + "Content-Length: 0\r\n\r\n";
    return this.table.send(wire, "REGISTER", branch, flow, owner);
  }
}
