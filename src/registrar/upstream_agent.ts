/**
 * REGISTERs of our own: ending the PBX's binding when the last device is gone without having said so.
 * Answers a digest challenge where `pbx.credentials_file` has the user; where not, the PBX's binding runs out by itself.
 */
import type { Clock } from "../sip/clock.ts";
import { answerChallenge, parseChallenges } from "../sip/digest.ts";
import { PROXY_AUTHENTICATE, WWW_AUTHENTICATE } from "../sip/header.ts";
import type { Message } from "../sip/message.ts";
import { viaValue } from "../sip/via.ts";
import type { ClientOwner } from "../transaction/client.ts";
import type { Aor } from "../usrloc/model.ts";
import type { Usrloc } from "../usrloc/usrloc.ts";
import type { MidRegistrar } from "./mid_registrar.ts";

export class UpstreamAgent {
  constructor(readonly registrar: MidRegistrar, readonly usrloc: Usrloc, readonly clock: Clock) {}

  /** Takes our Contact with this id off the PBX. */
  end(aor: Aor, id: string): void {
    if (aor.upstream.state !== "registered" || aor.upstream.expiresAtMs <= this.clock.nowMs) return this.over(aor);
    new Removal(this, aor, id).send(null);
  }

  /** The AoR is held no longer for the PBX's sake. */
  over(aor: Aor): void {
    if (aor.contacts.length > 0) return;
    this.usrloc.setUpstream(aor, { ...aor.upstream, state: "removed", expiresAtMs: 0 });
  }
}

/** One de-REGISTER, and its second try with credentials. */
class Removal implements ClientOwner {
  private readonly callId: string;
  private readonly tag: string;
  private cseq = 0;

  constructor(private readonly agent: UpstreamAgent, private readonly aor: Aor, private readonly id: string) {
    const { port } = agent.registrar;
    this.callId = port.token(20);
    this.tag = port.token(10);
  }

  send(authorization: string | null): void {
    const { registrar } = this.agent;
    const flow = registrar.pbx.flow();
    if (flow === null) return this.failed("the PBX is not reachable");
    const branch = registrar.table.newBranch();
    const address = "<sip:" + this.aor.key + ">";
    const wire = "REGISTER sip:" + this.aor.domain + " SIP/2.0\r\n" +
      "Via: " + viaValue(flow, branch) + "\r\nMax-Forwards: 70\r\n" +
      "From: " + address + ";tag=" + this.tag + "\r\nTo: " + address + "\r\n" +
      "Call-ID: " + this.callId + "\r\nCSeq: " + ++this.cseq + " REGISTER\r\n" +
      registrar.upstreamLine(this.aor.user, this.id, flow, 0) +
      (authorization ?? "") + "Expires: 0\r\nContent-Length: 0\r\n\r\n";
    registrar.table.send(wire, "REGISTER", branch, flow, this);
  }

  onResponse(response: Message): void {
    const { status } = response;
    if (status < 200) return;
    if (status < 300) return this.agent.over(this.aor);
    if ((status === 401 || status === 407) && this.cseq === 1) return this.answer(response);
    this.failed(`the PBX answered ${status}`);
  }

  onFailure(): void {
    this.failed("the PBX did not answer");
  }

  private answer(response: Message): void {
    const { registrar } = this.agent;
    const secret = registrar.settings.credentials(this.aor.user);
    if (secret === null) return this.failed("it asks for a password, and pbx.credentials_file has none for this user");
    const isProxy = response.status === 407;
    const challenges = parseChallenges(response.values(isProxy ? PROXY_AUTHENTICATE : WWW_AUTHENTICATE));
    const value = answerChallenge(challenges, secret, {
      method: "REGISTER",
      uri: "sip:" + this.aor.domain,
      cnonce: registrar.port.token(16),
      nc: 1,
    });
    if (value === null) return this.failed("it asks for a kind of authentication we cannot answer");
    this.send((isProxy ? "Proxy-Authorization: " : "Authorization: ") + value + "\r\n");
  }

  private failed(why: string): void {
    const { registrar, clock } = this.agent;
    const { aor } = this;
    const left = Math.max(0, Math.round((aor.upstream.expiresAtMs - clock.nowMs) / 1000));
    registrar.port.log("warn", `Cannot end the PBX's binding, it keeps our Contact for another ${left} s: ${why}`, {
      aor: aor.key,
    });
    registrar.port.count("registrations_total", "upstream_not_ended");
    this.agent.over(aor);
  }
}
