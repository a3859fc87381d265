/** What the tests use of the npm package `sip` 0.0.6, which has no types. */
/** A URI in a Route or Record-Route, which the package parses. */
export interface SipUri {
  schema: string;
  user?: string;
  host: string;
  port?: number;
  params: Record<string, string | null | undefined>;
}

export interface SipRoute {
  uri: string | SipUri;
  params?: Record<string, string | null | undefined>;
}

export interface SipAddress {
  name?: string;
  uri: string;
  params?: Record<string, string | null | undefined>;
}

export interface SipVia {
  version?: string;
  protocol?: string;
  host?: string;
  port?: number;
  params: Record<string, string | null | undefined>;
}

export interface SipHeaders {
  via?: SipVia[];
  to: SipAddress;
  from: SipAddress;
  "call-id": string;
  cseq: { method: string; seq: number };
  contact?: SipAddress[] | "*";
  route?: SipRoute[];
  "record-route"?: SipRoute[];
  reason?: string;
  [name: string]: unknown;
}

export interface SipRequest {
  method: string;
  uri: string;
  version?: string;
  headers: SipHeaders;
  content?: string;
}

export interface SipResponse {
  status: number;
  reason: string;
  version?: string;
  headers: SipHeaders;
  content?: string;
}

export interface SipRemote {
  protocol: string;
  address: string;
  port: number;
}

export interface SipStack {
  send(message: SipRequest | SipResponse, onResponse?: (response: SipResponse) => void): void;
  destroy(): void;
}

export interface SipOptions {
  address: string;
  port: number;
  udp?: boolean;
  tcp?: boolean;
  logger?: {
    send?(message: SipRequest | SipResponse, target: SipRemote): void;
    recv?(message: SipRequest | SipResponse, remote: SipRemote): void;
    error?(error: unknown): void;
  };
}

declare const sip: {
  create(options: SipOptions, onRequest: (request: SipRequest, remote: SipRemote) => void): SipStack;
  makeResponse(
    request: SipRequest,
    status: number,
    reason?: string,
    extension?: { headers?: Record<string, unknown>; content?: string },
  ): SipResponse;
  stringify(message: SipRequest | SipResponse): string;
  parse(text: string): SipRequest | SipResponse | undefined;
};
export default sip;
