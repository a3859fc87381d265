/**
 * A host for the control port around a real core in virtual time: alice and bob with a phone each, the real tables, trace
 * and log. What would leave the process (pushes, database copies, the end of the process) is noted and answered at once.
 */
import { writeFileSync } from "node:fs";
import type { Config } from "../../src/config/schema.ts";
import type {
  CertificateState,
  ControlHost,
  EventFollower,
  HandEvent,
  HandVerdict,
  HostWorld,
  PushDesk,
  PushToken,
  Readiness,
  ReloadResult,
} from "../../src/control/host.ts";
import type { Core } from "../../src/core/core.ts";
import { Htables } from "../../src/core/htable/htables.ts";
import { Log } from "../../src/observe/log.ts";
import { Metrics } from "../../src/observe/metrics.ts";
import { TraceRing } from "../../src/observe/trace.ts";
import { canonicalAddress } from "../../src/io/transport/address.ts";
import { Rig, type TestFlow, UDP } from "../core/proxy/rig.ts";
import { answer, methodOf, request } from "../core/proxy/sip_text.ts";

export class TestHost implements ControlHost {
  readonly version = "0.1.0";
  readonly configFile = null;
  readonly controlUrls = [];
  readonly config: Config;
  readonly rig: Rig;
  readonly core: Core;
  readonly turn: ControlHost["turn"];
  readonly startedAtMs: number;
  readonly htables = new Htables({
    banned: { ttl: 600_000, max: 10_000, persist: true },
    seen: { ttl: 600_000, max: 10_000, persist: false },
  });
  readonly trace = new TraceRing(100);
  readonly metrics = new Metrics();
  readonly log: Log;
  readonly transports = { listeners: () => [], flowSamples: () => [[["udp", "open"], 2]] as const };
  ready: Readiness = { state: "ready", reason: "" };
  /** What a reload answers, or throws. */
  reloads: () => ReloadResult = () => ({ applied: ["log.level"], restart_required: ["listen"] });
  /** What the push service says. */
  verdict: HandVerdict = { uuid: "u", provider: "acme", status: 200, outcome: "accepted", reason: "", ms: 12 };
  /** Everything that was pushed by hand. */
  readonly pushed: { token: PushToken; event: HandEvent; to: { aor: string; device: string } | null }[] = [];
  readonly logged: string[] = [];
  readonly followers = new Set<EventFollower>();
  /** What a copy of the database holds, and where the copies were made. */
  backupText = "rows";
  readonly backups: string[] = [];
  /** When the open turn is committed. */
  commits: () => Promise<void> = () => Promise.resolve();
  /** The process was asked to end. */
  isEnding = false;

  constructor() {
    let config: Config | null = null;
    this.rig = new Rig({
      config: (defaults) => {
        config = defaults;
        defaults.domain = ["example.org", "pbx.example.org"];
        defaults.advertise = "sip.example.org:5060";
        defaults.control.token_file = "/etc/latefork/token";
        defaults.push.refresh_before = 30_000;
      },
    });
    this.config = config!;
    this.core = this.rig.core;
    this.turn = { ...this.rig.clock, enter: () => {}, committed: () => this.commits() };
    Object.defineProperty(this.turn, "nowMs", { get: () => this.rig.clock.nowMs });
    this.startedAtMs = this.turn.nowMs - 90_061_000;
    this.log = new Log(this.config.log, {
      isTty: false,
      write: (bytes) => bytes.length,
      nowMs: () => this.turn.nowMs,
      later() {},
    });
    this.trace.add(this.turn.nowMs, true, { key: "udp|a|b" }, "OPTIONS sip:x SIP/2.0\r\n\r\n");
    this.phone("alice", "d0");
    this.phone("bob", "d1");
  }

  readonly world: HostWorld = {
    followers: this.followers,
    problems: [],
    log: (level, message) => void this.logged.push(`${level} ${message}`),
    flowTo: (transport, address, port) => this.core.port.flowTo(transport, address, port),
    backup: (path) => {
      this.backups.push(path);
      writeFileSync(path, this.backupText);
      return "";
    },
  };

  readonly certificates = { infos: () => this.certified };
  certified: CertificateState[] = [];

  readonly relay: PushDesk = {
    serves: () => true,
    backends: () => [],
    recent: () => [],
    testPush: (token, event) => this.push(token, event, null),
    pushByHand: (token, event, to) => this.push(token, event, to),
  };

  canonicalAddress(text: string): string | null {
    return canonicalAddress(text);
  }

  readiness(): Readiness {
    return this.ready;
  }

  reload(): Promise<ReloadResult> {
    return Promise.try(this.reloads);
  }

  waitsFor(): string {
    return "1 call open";
  }

  endWhenDrained(): void {
    this.isEnding = true;
  }

  /** An INVITE of the PBX for alice, whose phone has it at once. Silent for long, it is woken, too. @returns our id of the call */
  call({
    isSilent = false,
    callId = "abc@192.0.2.1",
    from = '"Bob" <sip:bob@example.org>;tag=b',
  } = {}): string {
    const { rig } = this;
    rig.flow("192.0.2.7", 40123).lastHeardMs = isSilent ? 0 : rig.clock.nowMs;
    rig.receive(
      rig.pbx,
      request("INVITE", rig.upstreamUri("alice"), {
        sentBy: "10.0.0.10:5060",
        callId,
        from,
        contact: "<sip:10.0.0.10:5060>",
      }),
    );
    return this.core.silo.allRecords()[0]!.id;
  }

  /** Alice's phone answers. */
  answer(): void {
    const flow = this.rig.flow("192.0.2.7", 40123);
    const invite = flow.all().find((text) => methodOf(text) === "INVITE")!;
    this.rig.receive(flow, answer(invite, 200, { contact: "<sip:x@192.0.2.7:40123>" }));
  }

  private push(token: PushToken, event: HandEvent, to: { aor: string; device: string } | null): Promise<HandVerdict> {
    this.pushed.push({ token, event, to });
    return Promise.resolve(this.verdict);
  }

  private phone(user: string, id: string): void {
    const { usrloc, writer } = this.core;
    const { nowMs } = this.turn;
    const key = `${user}@example.org`;
    const aor = usrloc.ensure(key, user, "example.org", writer.aorId(key));
    aor.upstream = { ...aor.upstream, state: "registered", expiresAtMs: nowMs + 3_599_000 };
    const flow: TestFlow = this.rig.flow("192.0.2.7", 40123, UDP);
    flow.lastHeardMs = nowMs;
    usrloc.save(aor, null, id, {
      uri: "sip:x@192.0.2.7:40123",
      params: "",
      instance: "",
      regId: 0,
      q: 1000,
      callId: "c",
      cseq: 1,
      expiresAtMs: nowMs + 61_000,
      registeredAtMs: nowMs,
      path: "",
      userAgent: "Linphone",
      kind: "mobile",
      push: {
        provider: "acme",
        param: "",
        prid: "abcdefghijklmnopqrstuvwxyz",
        tokenState: "valid",
        registeredAtMs: nowMs,
      },
      flowKey: flow.key,
    }, flow);
  }
}
