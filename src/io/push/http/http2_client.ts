/**
 * Owns HTTP/2 towards one origin: a connection that is kept warm, what waits for a place on it, and a new connection
 * when the old one says goodbye, dies or falls silent. It must not know what is sent, and sends nothing a second time
 * that the peer may have seen: that is for the caller to decide.
 */
import {
  Exchange,
  type Http2Answer,
  Http2Connection,
  type Http2Peer,
  type Http2Post,
  type Http2World,
} from "./http2.ts";

/** A warm connection is opened again at once, after n failures in a row in `RECONNECT_MS · 2^(n-1)`, less a random quarter. */
export const RECONNECT_MS = 1000;
export const MAX_RECONNECT_MS = 60_000;
/** Requests the peer says it did not process go out again so many times before the caller hears of it. */
const MAX_RESENDS = 3;

export class Http2Client {
  private readonly origin: string;
  private ca: string | undefined;
  private readonly lookup: Http2Peer["lookup"];
  private readonly onForeign: () => void;
  private readonly world: Http2World;
  private current: Http2Connection | null = null;
  private readonly retiring = new Set<Http2Connection>();
  private readonly waiting = new Set<Exchange>();
  private failures = 0;
  private isWarm = false;
  private isStopped = false;
  private cancelReconnect = (): void => {};

  /**
   * @param origin scheme, host and port
   * @param options `lookup`: see {@link Http2Peer}; `onForeign`: the peer does not speak HTTP/2, told before the requests hear of it
   */
  constructor(
    origin: string,
    world: Http2World,
    options: { lookup?: Http2Peer["lookup"]; onForeign?: () => void } = {},
  ) {
    this.origin = origin;
    this.world = world;
    this.lookup = options.lookup;
    this.onForeign = options.onForeign ?? (() => {});
  }

  /** @param ca certificates (PEM) to trust instead of the system's, on new connections; one that changes makes a new one. */
  trust(ca: string | undefined): void {
    if (ca === this.ca) return;
    this.ca = ca;
    this.renew();
  }

  /** True if a request would leave at once. */
  get isOpen(): boolean {
    return this.current?.state === "open";
  }

  /** Opens a connection, and keeps one open from now on. */
  warm(): void {
    this.isWarm = true;
    this.connect();
  }

  /** Sends within this call if a connection is open and has a stream left. */
  post(post: Http2Post): void {
    if (this.isStopped) return post.done(null, "latefork is stopping");
    const exchange = new Exchange(post);
    post.signal.addEventListener("abort", () => this.abandon(exchange), { once: true });
    this.waiting.add(exchange);
    this.connect();
    this.fill();
  }

  /** Requests from now on take a new connection; those under way finish on the old one. */
  renew(): void {
    if (this.current?.state === "open") this.retire(this.current);
    if (this.isWarm) this.connect();
  }

  /** Ends all requests and connections. */
  stop(): void {
    this.isStopped = true;
    this.cancelReconnect();
    this.failWaiting("latefork is stopping");
    this.current?.close("latefork is stopping");
    for (const connection of [...this.retiring]) connection.close("latefork is stopping");
  }

  private connect(): void {
    if (this.current !== null || this.isStopped) return;
    this.cancelReconnect();
    const connection: Http2Connection = new Http2Connection(
      {
        origin: this.origin,
        ca: this.ca,
        lookup: this.lookup,
      },
      this.world,
      {
        roomy: () => this.fill(),
        leaving: () => this.retire(connection),
        answered: () => this.failures = 0,
        finished: (exchange, answer, reason) => this.finished(exchange, answer, reason),
        closed: (reason) => this.closed(connection, reason),
      },
    );
    this.current = connection;
  }

  private fill(): void {
    for (const exchange of this.waiting) {
      if (this.current === null || this.current.room <= 0) return;
      this.waiting.delete(exchange);
      this.current.send(exchange);
    }
  }

  /** The connection takes no more requests. */
  private retire(connection: Http2Connection): void {
    if (this.current !== connection) return;
    this.current = null;
    this.retiring.add(connection);
    connection.retire();
    this.replace(connection, `${this.origin} closed the connection`);
  }

  private closed(connection: Http2Connection, reason: string): void {
    this.retiring.delete(connection);
    if (this.current !== connection) return;
    this.current = null;
    if (connection.isForeign) this.onForeign();
    this.replace(connection, reason);
  }

  /** A connection that served is replaced at once. One that never did fails what waits, or we would knock without end. */
  private replace(connection: Http2Connection, reason: string): void {
    if (connection.isProven) return this.isWarm || this.waiting.size > 0 ? this.connect() : undefined;
    this.failures++;
    this.failWaiting(reason);
    if (!this.isWarm || this.isStopped || this.current !== null) return;
    const fullMs = Math.min(MAX_RECONNECT_MS, RECONNECT_MS * 2 ** (this.failures - 1));
    this.cancelReconnect();
    this.cancelReconnect = this.world.schedule(fullMs * (1 - this.world.random() / 4), () => this.connect());
  }

  private finished(exchange: Exchange, answer: Http2Answer | null, reason: string): void {
    const isUntouched = answer === null && exchange.wasRefused && exchange.resends < MAX_RESENDS;
    if (!isUntouched || this.isStopped || exchange.post.signal.aborted) return exchange.post.done(answer, reason);
    exchange.resends++;
    exchange.wasRefused = false;
    this.waiting.add(exchange);
    this.connect();
    this.fill();
  }

  private abandon(exchange: Exchange): void {
    if (this.waiting.delete(exchange)) return exchange.post.done(null, "it was given up");
    const { connection } = exchange;
    if (connection === null) return;
    const isSilent = connection.answeredAtMs < exchange.sentAtMs;
    connection.cancel(exchange);
    // It may answer PINGs and nothing else: the next request is better off elsewhere.
    if (isSilent) this.retire(connection);
  }

  private failWaiting(reason: string): void {
    for (const exchange of [...this.waiting]) {
      this.waiting.delete(exchange);
      exchange.post.done(null, reason);
    }
  }
}
