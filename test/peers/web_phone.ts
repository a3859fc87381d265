/**
 * Owns JsSIP as a web page's phone: its stack over Bun's WebSocket. There is no WebRTC here; a stand-in gives it a session
 * description, and nobody hears anything.
 */
import * as JsSIP from "jssip";
import { eventually, within } from "./program.ts";

export interface WebPhoneOptions {
  /** `wss://127.1.2.10:6104/sip` */
  url: string;
  /** PEM of the CA that the certificate is of; empty: ws. */
  ca: string;
  user: string;
  password: string;
  /** Parameters of the Contact's URI, `;pn-provider=acme;...`. */
  push?: string;
  instance: string;
  onInvite?: "answer" | "ring";
}

/** What JsSIP wants of a socket; its own looks for the global WebSocket, which takes no CA. */
class BunSocket {
  via_transport: string;
  readonly sip_uri: string;
  socket: WebSocket | null = null;
  onconnect = () => {};
  ondisconnect = (_error: boolean, _code?: number, _reason?: string) => {};
  ondata = (_data: unknown) => {};

  constructor(readonly url: string, private readonly ca: string) {
    const { protocol, host } = new URL(url);
    this.via_transport = protocol === "wss:" ? "WSS" : "WS";
    this.sip_uri = `sip:${host};transport=ws`;
  }

  connect(): void {
    const tls = this.ca === "" ? {} : { tls: { ca: this.ca } };
    const socket = new WebSocket(this.url, { protocols: ["sip"], ...tls } as unknown as string[]);
    this.socket = socket;
    socket.onopen = () => this.onconnect();
    socket.onclose = ({ code, reason }) => this.ondisconnect(code !== 1000, code, reason);
    socket.onmessage = ({ data }) => this.ondata(data);
  }

  disconnect(): void {
    this.socket?.close();
  }

  send(message: string): boolean {
    if (!this.isConnected()) return false;
    this.socket!.send(message);
    return true;
  }

  isConnected(): boolean {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  isConnecting(): boolean {
    return this.socket?.readyState === WebSocket.CONNECTING;
  }
}

const SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n" +
  "a=rtpmap:0 PCMU/8000\r\n";

/** As much of WebRTC as JsSIP asks for. */
class SilentConnection extends EventTarget {
  readonly iceGatheringState = "complete";
  readonly iceConnectionState = "connected";
  readonly signalingState = "stable";
  readonly localDescription = { type: "answer", sdp: SDP };
  createOffer = () => Promise.resolve({ type: "offer", sdp: SDP });
  createAnswer = () => Promise.resolve({ type: "answer", sdp: SDP });
  setLocalDescription = () => Promise.resolve();
  setRemoteDescription = () => Promise.resolve();
  addTrack(): void {}
  close(): void {}
  getSenders = () => [];
  getReceivers = () => [];
}

const globals = globalThis as unknown as Record<string, unknown>;
globals.window ??= globalThis;
globals.RTCPeerConnection ??= SilentConnection;
globals.RTCSessionDescription ??= class {
  constructor(readonly description: unknown) {}
};

/** What JsSIP tells of a call; its types speak of WebRTC all over. */
interface Session {
  direction: string;
  isEnded(): boolean;
  answer(options: unknown): void;
  terminate(): void;
  on(event: string, listener: (event: { cause?: string }) => void): void;
}

export class WebPhone {
  readonly calls: { session: Session; events: string[] }[] = [];
  private readonly socket: BunSocket;
  private readonly agent: JsSIP.UA;
  private isRegistered = false;
  private failure = "";

  constructor(private readonly options: WebPhoneOptions) {
    this.socket = new BunSocket(options.url, options.ca);
    this.agent = new JsSIP.UA({
      sockets: [this.socket as unknown as JsSIP.Socket],
      uri: `sip:${options.user}@example.com`,
      contact_uri: `sip:${options.user}@${options.instance.slice(-12)}.invalid;transport=ws${options.push ?? ""}`,
      password: options.password,
      instance_id: options.instance,
      register_expires: 120,
      session_timers: false,
    });
    this.agent.on("registered", () => this.isRegistered = true);
    this.agent.on("registrationFailed", ({ cause }: { cause?: string }) => this.failure = String(cause));
    this.agent.on("newRTCSession", ({ session }: { session: unknown }) => this.onSession(session as Session));
    this.agent.start();
  }

  /** Resolves when its REGISTER was taken, digest and all. */
  async registered(): Promise<void> {
    await eventually(`${this.options.user} is registered by WebSocket`, 8000, () => {
      if (this.failure !== "") throw new Error(`JsSIP cannot register: ${this.failure}`);
      return Promise.resolve(this.isRegistered || null);
    });
  }

  /** Until its newest call has said this. */
  async heard(event: string): Promise<void> {
    await eventually(`the call at ${this.options.user} says ${event}`, 8000, () => {
      return Promise.resolve(this.calls.at(-1)?.events.includes(event) || null);
    });
  }

  answer(): void {
    this.calls.at(-1)!.session.answer({ mediaStream: { getTracks: () => [] } });
  }

  hangUp(): void {
    this.calls.at(-1)!.session.terminate();
  }

  dial(uri: string): void {
    this.agent.call(uri, { mediaStream: { getTracks: () => [] } } as unknown as Parameters<JsSIP.UA["call"]>[1]);
  }

  /** As the system ends a page: without a word. */
  kill(): void {
    this.socket.ondisconnect = () => {};
    (this.socket.socket as unknown as { terminate(): void }).terminate();
  }

  /** What it saw, when a test fails. */
  report(): string {
    return JSON.stringify({
      registered: this.isRegistered,
      failure: this.failure,
      calls: this.calls.map(({ events }) => events),
    });
  }

  async end(): Promise<void> {
    this.agent.stop();
    await within(2000, "the end of a web phone", Bun.sleep(0));
    this.kill();
  }

  private onSession(session: Session): void {
    const call = { session, events: ["new " + session.direction] };
    this.calls.push(call);
    for (const event of ["progress", "accepted", "confirmed", "ended", "failed"]) {
      session.on(event, ({ cause }) => call.events.push(event, `${event} ${cause ?? ""}`));
    }
    if (session.direction === "incoming" && this.options.onInvite !== "ring") queueMicrotask(() => this.answer());
  }
}
