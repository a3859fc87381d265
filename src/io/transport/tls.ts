/**
 * TLS of accepted connections: which certificate a name gets, the handshakes that wait for their turn, and what went
 * wrong with one in words. Certificates are given as text; who reads files is elsewhere.
 */
import type { Socket, SocketHandler, TLSUpgradeOptions } from "bun";
import { createSecureContext } from "node:tls";
import type { Connections, StreamFlow } from "./connections.ts";
import type { TransportContext } from "./sink.ts";
import { established } from "./stream_socket.ts";

/** One certificate with its chain, its key, and the names it is for (`sip.example.org`, `*.example.org`). */
export interface TlsPair {
  readonly cert: string;
  readonly key: string;
  readonly names: readonly string[];
}

/** The certificates that tls and wss listeners show, and the CA of those they ask for. */
export interface TlsSettings {
  /** The first is shown to a client that asks for no name, or for a name that no certificate has. */
  readonly pairs: readonly TlsPair[];
  /** PEM; empty: no client is asked for a certificate. */
  readonly clientCa: string;
}

/** Whom we expect at the other end of a connection that we make. */
export interface TlsPeer {
  /** Name or IP address that its certificate must be for. */
  readonly name: string;
  /** PEM of the CA; empty: the well-known ones. */
  readonly ca: string;
}

/** A connection whose handshake may begin. */
interface Waiting {
  startTls(): void;
}

/** What Bun's own `node:tls` hands to its sockets; the types do not tell of it. */
type NativeContext = object;
interface ServerUpgrade extends TLSUpgradeOptions<StreamFlow | null> {
  isServer: true;
  initialData: Buffer;
}
interface ServerHandler extends SocketHandler<StreamFlow | null, "buffer"> {
  /** Asked for the certificate of a name that the client sent; undefined: the usual one. */
  serverName(socket: unknown, name: string): NativeContext | undefined;
}

/**
 * A handshake costs 0.3 ms of signing, a thousand of them 0.3 s. With so many in one turn, what calls have to say waits
 * 2 ms at most, however many phones come back at once.
 */
const HANDSHAKES_PER_TURN = 8;

/** See the file header. */
export class TlsServer {
  private usual: NativeContext | null = null;
  private byName = new Map<string, NativeContext>();
  private asksClients = false;
  private waiting: Waiting[] = [];
  private handler: ServerHandler | null = null;

  constructor(private readonly context: TransportContext) {}

  /**
   * Takes new certificates, for handshakes from now on; connections that are there stay.
   * @throws Error in words if one cannot be used; the old ones stay then
   */
  configure(settings: TlsSettings): void {
    const byName = new Map<string, NativeContext>();
    let usual: NativeContext | null = null;
    for (const { cert, key, names } of settings.pairs) {
      const options = settings.clientCa === "" ? { cert, key } : { cert, key, ca: settings.clientCa };
      const made = contextOf({ ...options, minVersion: "TLSv1.2" });
      usual ??= made;
      for (const name of names) if (!byName.has(name.toLowerCase())) byName.set(name.toLowerCase(), made);
    }
    if (usual === null) throw new Error("there is no certificate: set tls.cert_file and tls.key_file");
    this.usual = usual;
    this.byName = byName;
    this.asksClients = settings.clientCa !== "";
  }

  get nowMs(): number {
    return this.context.now();
  }

  /** Has a handshake begin when its turn comes. */
  enqueue(arrival: Waiting): void {
    this.waiting.push(arrival);
    this.context.onInput();
  }

  /** Lets some of those that wait begin; asks for another turn if there are more. */
  flush(): void {
    if (this.waiting.length === 0) return;
    const now = this.waiting.splice(0, HANDSHAKES_PER_TURN);
    for (const arrival of now) arrival.startTls();
    if (this.waiting.length > 0) this.context.onInput();
  }

  /** Begins the handshake on an accepted socket, which has sent `first` already. */
  upgrade(socket: Socket<null>, flow: StreamFlow, first: Buffer, connections: Connections): void {
    const tls = { secureContext: this.usual, requestCert: this.asksClients, rejectUnauthorized: this.asksClients };
    const options: ServerUpgrade = {
      data: flow,
      isServer: true,
      initialData: first,
      tls: tls as TLSUpgradeOptions<null>["tls"],
      socket: this.handler ??= this.handlerFor(connections),
    };
    try {
      const [raw, secure] = socket.upgradeTLS<StreamFlow | null>(options);
      raw.data = null;
      flow.stream = secure;
    } catch (error) {
      connections.failHandshake(flow, handshakeReason(error));
    }
  }

  private handlerFor(connections: Connections): ServerHandler {
    return {
      ...established(connections),
      serverName: (_socket, name) => this.contextFor(name),
      handshake: (socket, isDone, error) => {
        const flow = socket.data;
        if (!flow) return;
        // Without a CA for clients none is verified, and the error says no more than that.
        if (!isDone || (this.asksClients && error !== null)) connections.failHandshake(flow, handshakeReason(error));
        else {
          this.context.counts.handshakes++;
          connections.opened(flow, socket);
        }
      },
    };
  }

  private contextFor(name: string): NativeContext | undefined {
    const asked = name.toLowerCase().replace(/\.$/, "");
    // RFC 6125 §6.4.3: the star stands for one label.
    return this.byName.get(asked) ?? this.byName.get("*" + asked.slice(Math.max(0, asked.indexOf("."))));
  }
}

function contextOf(options: Parameters<typeof createSecureContext>[0]): NativeContext {
  return (createSecureContext(options) as unknown as { context: NativeContext }).context;
}

/** Part of what the TLS library says, and what it means, of a phone's handshake. */
const HANDSHAKE_WORDS: readonly (readonly [part: string, words: string])[] = [
  ["WRONG_VERSION_NUMBER", "what came is no TLS; is it a phone that is set to TCP?"],
  ["HTTP_REQUEST", "a web request without TLS came"],
  ["UNSUPPORTED_PROTOCOL", "it speaks no TLS above 1.1"],
  ["NO_SHARED_CIPHER", "there is no cipher both sides know"],
  ["ALERT_UNKNOWN_CA", "it does not trust the CA of our certificate"],
  ["ALERT_CERTIFICATE_UNKNOWN", "it does not take our certificate"],
  ["ALERT_BAD_CERTIFICATE", "it does not take our certificate"],
  ["ALERT_CERTIFICATE_EXPIRED", "it says that our certificate has expired"],
  ["DID_NOT_RETURN_A_CERTIFICATE", "it shows no certificate, and tls.client_ca_file asks for one"],
  ["ECONNRESET", "the peer ended it"],
  ["CERT_HAS_EXPIRED", "its certificate has expired"],
  ["SELF_SIGNED", "its certificate is of no CA in tls.client_ca_file"],
  ["UNABLE_TO_", "its certificate is of no CA in tls.client_ca_file"],
];

function handshakeReason(error: unknown): string {
  const text = errorText(error);
  const known = HANDSHAKE_WORDS.find(([part]) => text.includes(part));
  return known === undefined ? text : known[1];
}

/** Why the certificate of a peer that we dialled is not taken, and what to do. */
export function peerReason(error: unknown, peer: TlsPeer): string {
  const text = errorText(error);
  if (text.includes("ALTNAME")) return `its certificate is not for ${peer.name}, the name in pbx.uri`;
  if (text.includes("CERT_HAS_EXPIRED")) return "its certificate has expired";
  if (text.includes("CERT_NOT_YET_VALID")) return "its certificate is not valid yet: is the clock right?";
  if (text.includes("SELF_SIGNED") || text.includes("UNABLE_TO_")) {
    const what = peer.ca === "" ? "no well-known CA: name its CA in pbx.ca_file" : "no CA in pbx.ca_file";
    return `its certificate is of ${what}`;
  }
  if (text.includes("WRONG_VERSION_NUMBER")) return "what it sends is no TLS: is it the right port?";
  if (text.includes("ECONNRESET")) return "the peer ended it";
  return text;
}

function errorText(error: unknown): string {
  const { code = "", message = "" } = (error ?? {}) as { code?: string; message?: string };
  return `${code} ${message}`.trim().replace(/error:[0-9a-f]+:SSL routines:OPENSSL_internal:/, "") ||
    "no reason was given";
}
