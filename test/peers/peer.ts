/**
 * Owns one SIP endpoint made of the npm package `sip`: a stack that shares no line with ours. What arrives is kept in
 * an inbox that tests wait on; what an endpoint does with an INVITE is chosen beforehand.
 */
// @ts-types="./npm_sip.d.ts"
import sip from "sip";
// @ts-types="./npm_sip_digest.d.ts"
import digest from "sip/digest";
import type { SipAddress, SipHeaders, SipRemote, SipRequest, SipResponse, SipRoute, SipStack } from "./npm_sip.d.ts";
import { within } from "./program.ts";

/** What is done with an INVITE. `ring`: 180 and wait for {@link Peer.answer}. `ignore`: not a single response. */
export type OnInvite = "answer" | "ring" | "busy" | "decline" | "ignore";

export interface PeerOptions {
  address: string;
  port: number;
  transport?: "udp" | "tcp";
  user: string;
  domain?: string;
  password?: string;
  /** `sip:host:port;transport=..;lr`, the outbound proxy; none: requests go where their URI says. */
  route?: string;
  onInvite?: OnInvite;
}

export interface CallOptions {
  sdp?: string;
  headers?: Record<string, unknown>;
  /** Instead of the peer's own route; null: none. */
  route?: string | null;
}

const SDP = (address: string) =>
  `v=0\r\no=- 1 1 IN IP4 ${address}\r\ns=-\r\nc=IN IP4 ${address}\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n`;

let count = 0;
const fresh = (word: string) => `${word}${++count}-${Math.random().toString(36).slice(2, 10)}`;

export class Peer {
  readonly address: string;
  readonly port: number;
  readonly transport: string;
  readonly user: string;
  readonly aor: string;
  /** Every request that arrived, retransmissions aside. */
  readonly requests: SipRequest[] = [];
  onInvite: OnInvite;
  protected readonly stack: SipStack;
  private readonly waiters = new Set<() => void>();
  private readonly inbox: SipRequest[] = [];
  /** INVITEs without final response, by Call-ID. */
  private readonly ringing = new Map<string, { request: SipRequest; tag: string }>();
  /** The callee's side of its dialogs, by Call-ID. */
  private readonly answered = new Map<string, { request: SipRequest; tag: string }>();
  readonly errors: string[] = [];
  private isOver = false;

  constructor(readonly options: PeerOptions) {
    this.address = options.address;
    this.port = options.port;
    this.transport = options.transport ?? "udp";
    this.user = options.user;
    this.aor = `sip:${options.user}@${options.domain ?? "example.com"}`;
    this.onInvite = options.onInvite ?? "answer";
    this.stack = sip.create({
      address: this.address,
      port: this.port,
      udp: this.transport === "udp",
      tcp: this.transport === "tcp",
      logger: { error: (error) => void this.errors.push(String(error)) },
    }, (request) => this.onRequest(request));
  }

  get contactUri(): string {
    return `sip:${this.user}@${this.address}:${this.port}` +
      (this.transport === "udp" ? "" : `;transport=${this.transport}`);
  }

  /** The next request of this method nobody has taken yet, arrived or still to come. */
  next(method: string, withinMs = 5000, fits: (request: SipRequest) => boolean = () => true): Promise<SipRequest> {
    let look = () => {};
    const found = new Promise<SipRequest>((resolve) => {
      look = () => {
        const at = this.inbox.findIndex((request) => request.method === method && fits(request));
        if (at < 0) return;
        this.waiters.delete(look);
        resolve(this.inbox.splice(at, 1)[0]!);
      };
      this.waiters.add(look);
      look();
    });
    const seen = () => this.requests.map((request) => request.method).join(", ") || "nothing";
    return within(withinMs, `${method} at ${this.user} ${this.address}`, found)
      .catch((error) => Promise.reject(new Error(`${error.message} (it got: ${seen()})`)))
      .finally(() => this.waiters.delete(look));
  }

  /** Requests of this method that arrived so far. */
  received(method: string): SipRequest[] {
    return this.requests.filter((request) => request.method === method);
  }

  /** Answers an INVITE that is ringing. */
  respond(invite: SipRequest, status: number, reason: string): void {
    const call = this.ringing.get(invite.headers["call-id"]);
    if (call === undefined) throw new Error(`${this.user}: no INVITE ${invite.headers["call-id"]} is ringing`);
    const to = { ...call.request.headers.to, params: { ...call.request.headers.to.params, tag: call.tag } };
    const headers: Record<string, unknown> = { to };
    if (status < 300) {
      headers["record-route"] = call.request.headers["record-route"];
      headers.contact = [{ uri: this.contactUri }];
    }
    const hasBody = status >= 200 && status < 300;
    if (hasBody) headers["content-type"] = "application/sdp";
    const content = hasBody ? SDP(this.address) : "";
    this.stack.send(sip.makeResponse(call.request, status, reason, { headers, content }));
    if (status < 200) return;
    this.ringing.delete(invite.headers["call-id"]);
    if (hasBody) this.answered.set(invite.headers["call-id"], call);
  }

  /** The callee hangs up a call it answered. */
  hangUp(invite: SipRequest): Promise<SipResponse> {
    const call = this.answered.get(invite.headers["call-id"]);
    if (call === undefined) throw new Error(`${this.user}: did not answer ${invite.headers["call-id"]}`);
    const { headers } = call.request;
    return this.ask({
      method: "BYE",
      uri: (headers.contact as SipAddress[])[0]!.uri,
      headers: {
        from: { ...headers.to, params: { ...headers.to.params, tag: call.tag } },
        to: headers.from,
        "call-id": headers["call-id"],
        cseq: { method: "BYE", seq: 1 },
        route: headers["record-route"]?.map((route) => ({ ...route })),
        "max-forwards": 70,
      },
    });
  }

  /** Sends a request and resolves to its final response. */
  ask(request: SipRequest, withinMs = 8000): Promise<SipResponse> {
    const final = new Promise<SipResponse>((resolve) => {
      this.stack.send(request, (response) => {
        if (response.status >= 200) resolve(response);
      });
    });
    return within(withinMs, `a final response to ${request.method} of ${this.user}`, final);
  }

  /** Calls; the handle resolves as the call goes on. Digest challenges are answered if the peer has a password. */
  call(uri: string, options: CallOptions = {}): OutgoingCall {
    return new OutgoingCall(this, this.stack, uri, options);
  }

  /** A request outside a dialog; a challenge is answered once. */
  async request(method: string, uri: string, headers: Record<string, unknown> = {}, seq = 1): Promise<SipResponse> {
    const base: SipHeaders = {
      to: { uri: method === "REGISTER" ? this.aor : uri },
      from: { uri: this.aor, params: { tag: fresh("t") } },
      "call-id": fresh("call"),
      cseq: { method, seq },
      "max-forwards": 70,
      ...headers,
    };
    const make = (at: number): SipRequest => ({
      method,
      uri,
      headers: { ...base, cseq: { method, seq: at }, route: this.routes() },
    });
    const first = await this.ask(make(seq));
    if ((first.status !== 401 && first.status !== 407) || this.options.password === undefined) return first;
    const second = make(seq + 1);
    digest.signRequest({}, second, first, { user: this.user, password: this.options.password });
    return await this.ask(second);
  }

  routes(): SipRoute[] | undefined {
    return this.options.route === undefined ? undefined : [{ uri: this.options.route }];
  }

  end(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.stack.destroy();
  }

  /** Answers what the inbox need not decide. Overridden by the PBX. */
  protected onOther(request: SipRequest): void {
    this.stack.send(sip.makeResponse(request, 200, "OK"));
  }

  private onRequest(request: SipRequest): void {
    this.requests.push(request);
    this.inbox.push(request);
    const callId = request.headers["call-id"];
    if (request.method === "INVITE") this.onCall(request);
    else if (request.method === "CANCEL") {
      const call = this.ringing.get(callId);
      this.stack.send(sip.makeResponse(request, call === undefined ? 481 : 200, call === undefined ? "Gone" : "OK"));
      if (call !== undefined && this.onInvite !== "ignore") this.respond(call.request, 487, "Request Terminated");
    } else if (request.method !== "ACK") this.onOther(request);
    for (const waiter of [...this.waiters]) waiter();
  }

  private onCall(request: SipRequest): void {
    const { headers } = request;
    if (headers.to.params?.tag !== undefined) return this.stack.send(sip.makeResponse(request, 200, "OK"));
    this.ringing.set(headers["call-id"], { request, tag: fresh("callee") });
    if (this.onInvite === "ignore") return;
    if (this.onInvite === "busy") return this.respond(request, 486, "Busy Here");
    if (this.onInvite === "decline") return this.respond(request, 603, "Decline");
    this.respond(request, 180, "Ringing");
    if (this.onInvite === "answer") this.respond(request, 200, "OK");
  }
}

/** A call as its caller sees it. */
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
      content: options.sdp ?? SDP(peer.address),
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

export type { SipRemote, SipRequest, SipResponse };
