/** A random schedule out of one seed: a world, phones and callers, and what they do when. Judges nothing. */
import type { Config } from "../../src/config/schema.ts";
import { removeBranch } from "../../src/core/silo/by_hand.ts";
import type { SimCall } from "./call.ts";
import type { Exchange } from "./exchange.ts";
import type { Phone, PhoneOptions } from "./phone.ts";
import type { Packet } from "./net.ts";
import { DOMAIN, type PbxOptions } from "./pbx.ts";
import { Prng } from "./prng.ts";
import type { PushFate } from "./push_service.ts";
import { World } from "./world.ts";

/** How long things go on happening; after it everybody is left alone. */
const BUSY_MS = 60_000;
/** Ring timeout, Timer C, tombstones and lingering transactions are over by then. */
export const DUST_MS = 400_000;

const USERS = ["alice", "carol"];
const FATES: PushFate[] = ["accept", "accept", "accept", "accept", "slow", "lost", "dead", "refuse", "fail", "mute"];
/** Distances at which things meet: the same moment, one hop, two hops, a push, a hedge, T1. */
const NEAR_MS = [0, 0, 0.5, 1, 4.5, 5, 5.5, 6, 10, 11, 80, 100, 500, 1000, 1500];

/** A phone and what the judge must know of it. */
export interface Actor {
  phone: Phone;
  /** When it was last out of reach, moved, or took itself out. */
  lastDownMs: number;
}

export class Chaos {
  readonly w: World;
  readonly actors: Actor[] = [];
  readonly calls: { call: SimCall; user: string }[] = [];
  /** What the PBX asked outside of calls. */
  readonly requests: Exchange[] = [];
  /** Call-IDs somebody changed by hand. */
  readonly handled = new Set<string>();
  readonly isLanLossy: boolean;
  readonly isInternetLossy: boolean;
  /** What was done, for the story. */
  readonly deeds: string[] = [];
  mode: "aor" | "contact" | "mirror" = "aor";
  ringTimeoutMs = 0;
  /** When new calls began to be refused (O-04). */
  sigtermMs = Infinity;
  private readonly prng: Prng;
  private momentMs = 0;

  constructor(readonly seed: number) {
    const prng = this.prng = new Prng(seed * 2_654_435_761 + 1);
    this.isLanLossy = prng.chance(0.25);
    this.isInternetLossy = prng.chance(0.4);
    const near = prng.between(1, 40);
    const pbx: PbxOptions = {
      transport: prng.chance(0.8) ? "udp" : "tcp",
      isChallenging: prng.chance(0.3),
      answerMs: prng.pick([0, 0, 5, 10, 200]),
      isRewriting: seed % 2 === 1,
    };
    this.w = new World({
      seed,
      pbx,
      lan: { latencyMs: [0.5, prng.pick([0.5, 0.5, 3])], loss: this.isLanLossy ? 0.05 : 0, duplicate: 0.02 },
      internet: {
        latencyMs: prng.chance(0.3) ? [5, 5] : [near, near + prng.pick([0, 5, 60])],
        loss: this.isInternetLossy ? prng.pick([0.05, 0.2]) : 0,
        duplicate: prng.pick([0, 0.1]),
      },
      config: (config) => this.configure(config),
    });
    this.w.timersFirst = () => prng.chance(0.5);
    this.w.net.closeGapMs = prng.pick([0, 0, 0.2, 2]);
    this.w.push.slowMs = prng.pick([300, 2000, 8000]);
    this.w.push.callsPerMinute = prng.pick([Infinity, Infinity, 1, 2]);
    this.people();
    const deeds = 4 + prng.int(24);
    for (let i = 0; i < deeds; i++) this.plan();
    for (let i = prng.int(10); i > 0; i--) this.planRequest();
    if (prng.chance(0.1)) this.do("PBX restarts", this.moment(), () => this.w.pbx.restart());
    if (prng.chance(0.1)) this.do("PBX forgets its contacts", this.moment(), () => this.w.pbx.forgetContacts());
    if (prng.chance(0.1)) this.planShutdown();
    this.w.pbx.answersMs = prng.pick([0, 20, 1000, 8000]);
    for (let i = prng.int(4); i > 0; i--) this.planCallOut();
    for (let i = prng.int(3); i > 0; i--) this.planAway();
    const odds = prng.pick([0, 0.02, 0.1]);
    this.w.net.onPacket = (packet) => {
      if (prng.chance(odds) && this.w.nowMs - START_MS < BUSY_MS) this.meddle(packet);
    };
  }

  /** Something that meets a message of a call on its way, or just misses it. */
  private meddle(packet: Packet): void {
    const prng = this.prng;
    const callId = /\r\nCall-ID: ([^\r]*)/.exec(packet.text)?.[1];
    const actor = this.actors.find(({ phone }) => phone === packet.link.peer) ?? prng.pick(this.actors);
    const call = this.calls.findLast(({ call }) => call.callId === callId)?.call ?? this.calls.at(-1)?.call;
    const [name, deed] = prng.pick<readonly [string, () => void]>([
      ["cancel", () => call?.cancel(prng.chance(0.5) ? "" : "Reason: SIP;cause=600\r\n")],
      ["cancel", () => call?.cancel()],
      ["answer " + actor.phone.name, () => actor.phone.pending[0]?.answer()],
      ["decline " + actor.phone.name, () => actor.phone.pending[0]?.decline(prng.pick([486, 603, 600]))],
      ["register " + actor.phone.name, () => this.register(actor)],
      ["sleep " + actor.phone.name, () => this.sleep(actor)],
      ["wake " + actor.phone.name, () => this.wake(actor, false)],
      ["move " + actor.phone.name, () => this.move(actor, prng.chance(0.5))],
      ["restart " + actor.phone.name, () => this.restart(actor)],
      ["all answer", () => this.allAnswer()],
      ["call", () => this.call(actor.phone.user)],
      ["hang up", () => call?.hangUp()],
    ]);
    this.do(name, prng.pick(NEAR_MS), deed);
  }

  private do(name: string, afterMs: number, deed: () => void): void {
    this.w.in(afterMs, () => {
      this.deeds.push(`${((this.w.nowMs - START_MS) / 1000).toFixed(4).padStart(10)}  ${name}`);
      deed();
    });
  }

  /** Lets everything happen, and the dust settle. */
  run(): void {
    this.w.advance(BUSY_MS + DUST_MS);
  }

  private configure(config: Config): void {
    const prng = this.prng;
    const { wake } = config;
    wake.window = prng.pick([3000, 10_000, 30_000]);
    wake.ring_timeout = this.ringTimeoutMs = prng.pick([8000, 30_000, 120_000]);
    wake.hedge = prng.pick([0, 300, 1500]);
    wake.idle = prng.pick([5000, 90_000]);
    wake.progress = prng.pick(["none", "none", "180", "183", "110"]);
    wake.decline = prng.pick(["device", "all"]);
    wake.delayed_cancel = prng.pick(["auto", "true", "false"]);
    wake.single_answer = prng.chance(0.6);
    config.pbx!.mode = this.mode = prng.pick(["aor", "aor", "contact", "mirror"]);
    config.pbx!.contact_id = prng.pick(["param", "param", "user"]);
    config.limits.calls_per_aor = prng.pick([2, 20, 20]);
    config.registration.max_contacts = prng.pick([1, 2, 8]);
    config.registration.overflow = prng.pick(["evict", "evict", "reject"]);
    config.push.missed = prng.chance(0.5);
  }

  private people(): void {
    const prng = this.prng;
    const count = 1 + prng.int(4);
    for (let i = 0; i < count; i++) {
      const options: PhoneOptions = {
        transport: prng.chance(0.6) ? "tcp" : "udp",
        push: prng.chance(0.2)
          ? null
          : prng.chance(0.3)
          ? { provider: "apns", param: "TEAM.app.voip", prid: "voip" + i }
          : undefined,
        instance: prng.chance(0.2) ? "" : undefined,
        expires: prng.pick([7200, 7200, 20, 45]),
        tries: prng.chance(0.3),
        ringMs: prng.pick([null, 0, 20, 20, 200, 1500, 4000]),
        answerMs: prng.pick([null, null, 50, 500, 1505, 5000, 12_000]),
        decline: prng.chance(0.3)
          ? { afterMs: prng.pick([10, 300, 2000, 6000]), status: prng.pick([486, 480, 603, 600, 404, 500, 503]) }
          : null,
        reactMs: prng.pick([0, 0, 50, 600, 5000, 40_000]),
        stutters: prng.chance(0.2),
        wakeMs: prng.pick([null, 50, 500, 2000, 8000]),
      };
      const user = USERS[prng.chance(0.8) ? 0 : 1]!;
      // RFC 5626: another flow of the phone before.
      const other = this.actors.at(-1)?.phone;
      if (other !== undefined && other.instance !== "" && other.user === user && prng.chance(0.3)) {
        const { instance } = other;
        Object.assign(options, {
          instance,
          regId: (other.options.regId ?? 1) + 1,
          push: other.options.push === null ? null : { ...other.options.push, prid: other.prid },
        });
      }
      const phone = this.w.phone(user, options);
      const actor: Actor = { phone, lastDownMs: 0 };
      this.actors.push(actor);
      if (phone.prid !== "") this.w.push.fates.set(phone.prid, prng.pick(FATES));
      if (!prng.chance(0.85)) continue;
      this.w.in(prng.int(50), () => phone.register());
      if (prng.chance(0.6)) this.w.in(1000 + prng.int(50), () => this.sleep(actor));
    }
  }

  /** Most things happen close to something else. */
  private moment(): number {
    const prng = this.prng;
    if (this.momentMs === 0 || prng.chance(0.4)) this.momentMs = 1500 + prng.between(0, BUSY_MS - 2000);
    else this.momentMs += prng.pick(NEAR_MS);
    return Math.min(this.momentMs, BUSY_MS);
  }

  private plan(): void {
    const prng = this.prng;
    const roll = prng.next();
    const actor = prng.pick(this.actors);
    const index = prng.int(8);
    const [name, deed] = roll < 0.32
      ? ["call", () => this.call(actor.phone.user)] as const
      : roll < 0.42
      ? ["cancel", () =>
        this.calls.at(-1 - index % 3)?.call.cancel(index % 2 === 0 ? "" : "Reason: SIP;cause=200\r\n")] as const
      : roll < 0.46
      ? ["hang up", () =>
        this.calls.at(-1 - index % 3)?.call.hangUp()] as const
      : roll < 0.6
      ? ["register " + actor.phone.name, () => this.register(actor)] as const
      : roll < 0.65
      ? ["burst " + actor.phone.name, () => {
        for (let i = 0; i < 3; i++) if (!actor.phone.isAsleep) actor.phone.register({ callId: `burst-${index}-${i}` });
      }] as const
      : roll < 0.74
      ? ["sleep " + actor.phone.name, () => this.sleep(actor, index < 4 ? "silent" : undefined)] as const
      : roll < 0.83
      ? ["wake " + actor.phone.name, () => this.wake(actor, index < 3)] as const
      : roll < 0.86
      ? ["move " + actor.phone.name, () => this.move(actor, index < 4)] as const
      : roll < 0.875
      ? ["restart " + actor.phone.name, () => this.restart(actor)] as const
      : roll < 0.89
      ? ["all answer", () => this.allAnswer()] as const
      : roll < 0.91
      ? ["dead link of " + actor.phone.name, () => {
        actor.lastDownMs = this.w.nowMs;
        if (actor.phone.link !== null) this.w.net.detectDead(actor.phone.link);
      }] as const
      : roll < 0.94
      ? ["deregister " + actor.phone.name, () => {
        if (actor.phone.isAsleep) return;
        actor.lastDownMs = Infinity;
        actor.phone.deregister();
      }] as const
      : roll < 0.96
      ? ["append all", () => {
        const aor = this.w.core.usrloc.find(`${actor.phone.user}@${DOMAIN}`);
        if (aor !== undefined) this.w.core.silo.appendAll(aor);
      }] as const
      : roll < 0.98
      ? ["remove a branch", () => {
        const [call] = this.w.openCalls(actor.phone.user);
        if (call !== undefined && removeBranch(call, 1 + index % 3)) this.handled.add(call.record.callId);
      }] as const
      : ["end by hand", () => this.w.openCalls(actor.phone.user)[0]?.end("by hand")] as const;
    this.do(name, this.moment(), deed);
  }

  /** What is no new call, inside a dialog or not; and INVITEs and CANCELs as they should not be. */
  private planRequest(): void {
    const prng = this.prng;
    const { user } = prng.pick(this.actors).phone;
    const index = prng.int(3);
    const callAt = () => {
      const call = this.calls.at(-1 - index)?.call;
      return call !== undefined && call.startedAtMs > this.w.pbx.startedAtMs ? call : undefined;
    };
    const [name, deed] = prng.pick<readonly [string, () => void]>([
      ["re-INVITE", () => void callAt()?.ask("INVITE")],
      ["re-INVITE and CANCEL", () => void callAt()?.ask("INVITE", [0, 6, 700][index]!)],
      ["INFO", () => void callAt()?.ask("INFO")],
      ["MESSAGE " + user, () => this.request("MESSAGE", user)],
      ["SUBSCRIBE " + user, () => this.request("SUBSCRIBE", user)],
      ["rude cancel", () => {
        this.call(user);
        this.calls.at(-1)!.call.cancel("", true);
      }],
    ]);
    this.do(name, this.moment(), deed);
  }

  /** SIGTERM (O-04): new calls are refused, open ones may end by themselves for a while, then they are ended. */
  private planShutdown(): void {
    const { core } = this.w;
    const atMs = this.moment();
    const graceMs = this.prng.pick([0, 500, 5000, 20_000]);
    this.do("SIGTERM", atMs, () => {
      core.isDraining = true;
      this.sigtermMs = this.w.nowMs;
    });
    this.do("the grace is over", atMs + graceMs, () => {
      for (const calls of core.silo.openByAor().values()) for (const call of calls) call.end("Shutting down");
    });
  }

  /** A phone that has answered is out of reach for a moment, in which its caller hangs up, or we let it go. */
  private planAway(): void {
    const prng = this.prng;
    const actor = prng.pick(this.actors);
    const { phone } = actor;
    const [index, gapMs] = [prng.int(3), prng.pick([6, 100, 2000, 12_000])];
    const isHungUp = prng.chance(0.7);
    const atMs = this.moment();
    this.do("all answer", atMs - 20, () => this.allAnswer());
    this.do("away " + phone.name, atMs, () => this.sleep(actor));
    if (isHungUp) this.do("hang up", atMs + gapMs / 2, () => this.calls.at(-1 - index)?.call.hangUp());
    this.do("back " + phone.name, atMs + gapMs, () => this.wake(actor, false));
  }

  /** A phone calls, and may lose its connection before it is answered. */
  private planCallOut(): void {
    const prng = this.prng;
    const actor = prng.pick(this.actors);
    const { phone } = actor;
    const isClean = prng.chance(0.5);
    const atMs = this.moment();
    this.do("call of " + phone.name, atMs, () => {
      const { link } = phone;
      const isThere = phone.isRegistered && link !== null && link === phone.registeredLink;
      if (!phone.isAsleep && isThere && link.state === "open" && !link.isClosedByPeer) phone.callOut();
    });
    if (prng.chance(0.6)) this.do("move " + phone.name, atMs + prng.pick(NEAR_MS), () => this.move(actor, isClean));
  }

  private request(method: string, user: string): void {
    const { pbx } = this.w;
    this.requests.push(pbx.request(method, pbx.contacts.get(user)?.[0]?.uri ?? `sip:${user}@10.0.0.5`, user));
  }

  private call(user: string): void {
    const calls = this.w.pbx.contacts.has(user) && this.w.pbx.contacts.get(user)!.length > 1
      ? this.w.pbx.callAll(user)
      : [this.w.pbx.call(user)];
    for (const call of calls) this.calls.push({ call, user });
  }

  private register(actor: Actor): void {
    if (!actor.phone.isAsleep) actor.phone.register();
  }

  private sleep(actor: Actor, how?: "silent"): void {
    if (actor.phone.isAsleep) return;
    actor.lastDownMs = this.w.nowMs;
    actor.phone.sleep(how);
  }

  private wake(actor: Actor, thaws: boolean): void {
    const { phone } = actor;
    if (!phone.isAsleep) return;
    actor.lastDownMs = this.w.nowMs;
    if (thaws && phone.link !== null && phone.link.state === "open" && !phone.link.isClosedByPeer) phone.thaw();
    else phone.wake();
  }

  /** The app is started anew, as another Contact. */
  private restart(actor: Actor): void {
    actor.lastDownMs = this.w.nowMs;
    actor.phone.restart();
  }

  /** W-12: every phone that rings is answered in one moment. */
  private allAnswer(): void {
    for (const { phone } of this.actors) for (const call of phone.pending) call.answer();
  }

  /** Another network: a new flow, the old one closed or just gone. */
  private move(actor: Actor, isClean: boolean): void {
    const { phone } = actor;
    if (phone.isAsleep) return;
    actor.lastDownMs = this.w.nowMs;
    const old = phone.link;
    phone.connect();
    phone.register();
    if (old === null) return;
    if (isClean) this.w.net.close(old);
    else old.isUp = false;
  }
}

const START_MS = Date.parse("2026-01-02T03:04:05Z");
