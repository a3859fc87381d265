/**
 * Owns the ways to the push services that phones named: for each a warm HTTP/2 connection, or HTTP/1.1 where a service
 * has nothing else, and never one to an address that is not public. It must not know messages or what answers mean.
 */
import { postHttp1 } from "../http/http1.ts";
import type { Http2Post } from "../http/http2.ts";
import { Http2Client } from "../http/http2_client.ts";
import { publicLookup } from "../http/public_address.ts";
import { notPublic, type WebPushTarget } from "./target.ts";
import { VapidHeader, type VapidKeys } from "./vapid.ts";
import type { PushWorld } from "../world.ts";

/** Services known at a time; the one used longest ago is forgotten first. */
export const MAX_HOSTS = 64;
/** Of them, how many are connected to ahead of the first push: phones choose them. */
export const MAX_WARM_HOSTS = 16;

/** The way to one service. */
export class WebPushHost {
  /** Our VAPID identity towards this service. */
  vapid: VapidHeader;
  /** Why nothing may be sent there, as of the last time its name was asked for. */
  refusal = "";
  /** Requests under way. */
  active = 0;
  isWarm = false;
  private client: Http2Client | null = null;
  private isHttp1: boolean;
  private readonly lookup;
  private ca: string | undefined;

  constructor(readonly target: WebPushTarget, vapid: VapidHeader, ca: string | undefined, private world: PushWorld) {
    this.vapid = vapid;
    this.ca = ca;
    this.isHttp1 = target.origin.startsWith("http:");
    this.lookup = target.isAllowed ? undefined : publicLookup(world.lookup, (isPublic) => {
      this.refusal = isPublic ? "" : notPublic(new URL(target.origin).hostname);
    });
  }

  trust(ca: string | undefined): void {
    this.ca = ca;
    this.client?.trust(ca);
  }

  warm(): void {
    this.isWarm = true;
    if (!this.isHttp1) this.http2().warm();
  }

  /** Sends within this call if a connection is open. @param isFresh on a connection of its own, where there is a choice. */
  post(post: Http2Post, isFresh: boolean): void {
    this.active++;
    const done = (...said: Parameters<Http2Post["done"]>): void => {
      this.active--;
      post.done(...said);
    };
    if (this.isHttp1) return this.postHttp1({ ...post, done }, isFresh);
    this.http2().post({
      ...post,
      done: (answer, reason) => {
        // Nothing has left: the service was found out to speak HTTP/1.1 only.
        const isElsewhere = answer === null && this.isHttp1 && !post.signal.aborted;
        if (isElsewhere) this.postHttp1({ ...post, done }, isFresh);
        else done(answer, reason);
      },
    });
  }

  stop(): void {
    this.client?.stop();
  }

  private postHttp1(post: Http2Post, isFresh: boolean): void {
    postHttp1({ origin: this.target.origin, ca: this.ca, lookup: this.lookup }, post, isFresh);
  }

  private http2(): Http2Client {
    if (this.client !== null) return this.client;
    const client: Http2Client = new Http2Client(this.target.origin, this.world, {
      lookup: this.lookup,
      onForeign: () => {
        this.isHttp1 = true;
        // What waits hears of it first.
        queueMicrotask(() => client.stop());
      },
    });
    client.trust(this.ca);
    this.client = client;
    return client;
  }
}

export class WebPushHosts {
  /** By origin; the one used longest ago stands first. */
  private readonly hosts = new Map<string, WebPushHost>();
  private readonly subject: string;
  private readonly world: PushWorld;
  private keys: VapidKeys;
  private ca: string | undefined;

  constructor(keys: VapidKeys, subject: string, world: PushWorld) {
    this.keys = keys;
    this.subject = subject;
    this.world = world;
  }

  /** Another key pair from now on. */
  identify(keys: VapidKeys): void {
    if (keys.publicKey === this.keys.publicKey) return;
    this.keys = keys;
    for (const host of this.hosts.values()) host.vapid = this.vapidFor(host.target.origin);
  }

  /** The way to the service of this subscription. */
  of(target: WebPushTarget): WebPushHost {
    const known = this.hosts.get(target.origin);
    const host = known ?? new WebPushHost(target, this.vapidFor(target.origin), this.ca, this.world);
    this.hosts.delete(target.origin);
    this.hosts.set(target.origin, host);
    if (this.hosts.size > MAX_HOSTS) this.forgetOne(host);
    return host;
  }

  /** A phone of this service exists: connects. The caller sees to it that it is not asked for more than {@link MAX_WARM_HOSTS}. */
  expect(target: WebPushTarget): void {
    const host = this.of(target);
    if (!host.isWarm) host.warm();
  }

  trust(ca: string | undefined): void {
    if (ca === this.ca) return;
    this.ca = ca;
    for (const host of this.hosts.values()) host.trust(ca);
  }

  /** Those connected to ahead of the first push. */
  get warmOrigins(): readonly string[] {
    return [...this.hosts].filter(([, { isWarm }]) => isWarm).map(([origin]) => origin);
  }

  stop(): void {
    for (const host of this.hosts.values()) host.stop();
    this.hosts.clear();
  }

  private vapidFor(origin: string): VapidHeader {
    return new VapidHeader(this.keys, this.subject, origin);
  }

  /** One that is busy stays. */
  private forgetOne(newest: WebPushHost): void {
    for (const [origin, host] of this.hosts) {
      if (host.active > 0 || host === newest) continue;
      host.stop();
      this.hosts.delete(origin);
      return;
    }
  }
}
