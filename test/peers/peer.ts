/**
 * Owns one SIP endpoint made of the npm package `sip`: a stack that shares no line with ours. What arrives is kept in
 * an inbox that tests wait on; what an endpoint does with an INVITE is chosen beforehand.
 */
// @ts-types="./npm_sip.d.ts"
import sip from "sip";
// @ts-types="./npm_sip_digest.d.ts"
import digest from "sip/digest";
import type { SipAddress, SipHeaders, SipRequest, SipResponse, SipRoute, SipStack } from "./npm_sip.d.ts";
import { type CallOptions, fresh, OutgoingCall, sdpOf } from "./outgoing_call.ts";
import { within } from "./program.ts";

/** What is done with an INVITE. `ring`: 180 and wait for {@link Peer.respond}. `ignore`: not a single response. */
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
    const content = hasBody ? sdpOf(this.address) : "";
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

export type { SipRequest, SipResponse };
