/** Owns a call as its caller sees it: responses, ACK, BYE, CANCEL, digest; made of the npm package `sip`. */
// @ts-types="./npm_sip_digest.d.ts"
import digest from "sip/digest";
import type { SipAddress, SipRequest, SipResponse, SipStack } from "./npm_sip.d.ts";
import type { Peer } from "./peer.ts";
import { within } from "./program.ts";

export interface CallOptions {
  sdp?: string;
  headers?: Record<string, unknown>;
  /** Instead of the peer's own route; null: none. */
  route?: string | null;
}

/** An offer or answer of this address. */
export const sdpOf = (address: string) =>
  `v=0\r\no=- 1 1 IN IP4 ${address}\r\ns=-\r\nc=IN IP4 ${address}\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n`;

let count = 0;
/** A text nobody else has. */
export const fresh = (word: string) => `${word}${++count}-${Math.random().toString(36).slice(2, 10)}`;

export class OutgoingCall {
  readonly callId = fresh("invite");
  /** Status of every response, in order. */
  readonly statuses: number[] = [];
  readonly responses: SipResponse[] = [];
  private invite: SipRequest;
  private final: SipResponse | null = null;
  private readonly waiters = new Set<() => void>();
  private seq = 1;

  constructor(
    readonly peer: Peer,
    private readonly stack: SipStack,
    readonly uri: string,
    private readonly options: CallOptions,
  ) {
    this.invite = this.make({});
    this.send();
  }

  /** The first response with this status (or the first final one), arrived or to come. */
  response(status: number | "final", withinMs = 8000): Promise<SipResponse> {
    const fits = (response: SipResponse) => status === "final" ? response.status >= 200 : response.status === status;
    let look = () => {};
    const found = new Promise<SipResponse>((resolve) => {
      look = () => {
        const response = this.responses.find(fits);
        if (response !== undefined) resolve(response);
      };
      this.waiters.add(look);
      look();
    });
    return within(withinMs, `${status} for the caller`, found)
      .catch((error) => Promise.reject(new Error(`${error.message} (so far: ${this.statuses.join(" ") || "nothing"})`)))
      .finally(() => this.waiters.delete(look));
  }

  /** Waits for the 200 and acknowledges it end to end. */
  async answered(withinMs = 8000): Promise<SipResponse> {
    const ok = await this.response("final", withinMs);
    if (ok.status !== 200) throw new Error(`Expected the call to be answered, got ${ok.status} ${ok.reason}`);
    this.stack.send(this.inDialog("ACK", ok, this.invite.headers.cseq.seq));
    return ok;
  }

  /** The caller hangs up an answered call. */
  hangUp(): Promise<SipResponse> {
    if (this.final === null || this.final.status >= 300) throw new Error("The call was not answered");
    return this.peer.ask(this.inDialog("BYE", this.final, ++this.seq));
  }

  /** The caller gives up; resolves to the answer to the CANCEL. */
  cancel(headers: Record<string, unknown> = {}): Promise<SipResponse> {
    const { via, to, from, cseq, route } = this.invite.headers;
    return this.peer.ask({
      method: "CANCEL",
      uri: this.invite.uri,
      headers: {
        via: [structuredClone(via![0]!)],
        to,
        from,
        "call-id": this.callId,
        cseq: { method: "CANCEL", seq: cseq.seq },
        route,
        "max-forwards": 70,
        ...headers,
      },
    });
  }

  private make(extra: Record<string, unknown>): SipRequest {
    const { peer, options } = this;
    return {
      method: "INVITE",
      uri: this.uri,
      headers: {
        to: { uri: this.uri },
        from: { name: peer.user, uri: peer.aor, params: { tag: this.callId.replace("invite", "caller") } },
        "call-id": this.callId,
        cseq: { method: "INVITE", seq: this.seq },
        contact: [{ uri: peer.contactUri }],
        "content-type": "application/sdp",
        route: options.route === null
          ? undefined
          : options.route !== undefined
          ? [{ uri: options.route }]
          : peer.routes(),
        "max-forwards": 70,
        ...options.headers,
        ...extra,
      },
      content: options.sdp ?? sdpOf(peer.address),
    };
  }

  private send(): void {
    this.stack.send(this.invite, (response) => {
      const { password } = this.peer.options;
      if (response.status === 407 && password !== undefined && this.seq === 1) {
        this.seq++;
        const again = this.make({});
        digest.signRequest({}, again, response, { user: this.peer.user, password });
        this.invite = again;
        return this.send();
      }
      this.statuses.push(response.status);
      this.responses.push(response);
      if (response.status >= 200) this.final ??= response;
      for (const waiter of [...this.waiters]) waiter();
    });
  }

  private inDialog(method: string, ok: SipResponse, seq: number): SipRequest {
    const route = ok.headers["record-route"]?.map((one) => ({ ...one })).reverse();
    return {
      method,
      uri: (ok.headers.contact as SipAddress[])[0]!.uri,
      headers: {
        to: ok.headers.to,
        from: ok.headers.from,
        "call-id": this.callId,
        cseq: { method, seq },
        route,
        "max-forwards": 70,
      },
    };
  }
}
