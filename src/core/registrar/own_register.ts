/** A REGISTER in our own name for an AoR, as text and on its way. */
import type { Flow } from "../sip/flow.ts";
import { viaValue } from "../sip/via.ts";
import type { ClientOwner, ClientTransaction } from "../transaction/client.ts";
import type { Aor } from "../usrloc/contact.ts";
import type { MidRegistrar } from "./mid_registrar.ts";

export interface OwnRegister {
  readonly aor: Aor;
  /** Of the upstream Contact. */
  readonly id: string;
  readonly flow: Flow;
  readonly callId: string;
  readonly tag: string;
  readonly cseq: number;
  /** Seconds; 0 removes. */
  readonly expires: number;
  /** Further header lines with their CRLF: credentials. */
  readonly lines: string;
}

/** Sends it; the answer comes to `owner`. */
export function ownRegister(registrar: MidRegistrar, owner: ClientOwner, what: OwnRegister): ClientTransaction {
  const { aor, flow, expires } = what;
  const branch = registrar.table.newBranch();
  const address = "<sip:" + aor.key + ">";
  const wire = "REGISTER sip:" + aor.domain + " SIP/2.0\r\n" +
    "Via: " + viaValue(flow, branch) + "\r\nMax-Forwards: 70\r\n" +
    "From: " + address + ";tag=" + what.tag + "\r\nTo: " + address + "\r\n" +
    "Call-ID: " + what.callId + "\r\nCSeq: " + what.cseq + " REGISTER\r\n" +
    registrar.planner.line(aor.user, what.id, flow, expires) +
    what.lines + "Expires: " + expires + "\r\nContent-Length: 0\r\n\r\n";
  return registrar.table.send(wire, "REGISTER", branch, flow, owner);
}
