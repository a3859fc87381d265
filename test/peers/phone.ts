/** Owns the phone made of the npm package `sip`: a {@link Peer} that registers through latefork, with push parameters. */
import { Peer, type PeerOptions, type SipResponse } from "./peer.ts";

export interface PhoneOptions extends PeerOptions {
  /** Further Contact URI parameters: `pn-provider=acme;pn-param=app;pn-prid=token`. */
  push?: string;
  instance?: string;
}

export class Phone extends Peer {
  private seq = 1;
  private readonly registerCallId = `reg-${crypto.randomUUID()}`;
  private readonly push: string;
  private readonly instance: string;

  constructor(options: PhoneOptions) {
    super(options);
    this.push = options.push ?? "";
    this.instance = options.instance ?? crypto.randomUUID();
  }

  override get contactUri(): string {
    return super.contactUri + (this.push ? `;${this.push}` : "");
  }

  /** Registers (0 seconds: de-registers) and resolves to the final answer, with digest if it was challenged. */
  register(expires = 600, headers: Record<string, unknown> = {}): Promise<SipResponse> {
    const seq = this.seq;
    this.seq += 2;
    return this.request("REGISTER", `sip:${this.options.domain ?? "example.com"}`, {
      "call-id": this.registerCallId,
      contact: [{
        uri: this.contactUri,
        params: { expires: String(expires), "+sip.instance": `"<urn:uuid:${this.instance}>"` },
      }],
      "user-agent": "npm-sip phone",
      supported: "path, outbound",
      ...headers,
    }, seq);
  }
}
