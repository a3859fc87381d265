/** who is heard, in virtual time, with a real table of bans. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Cidr, containsAddress } from "../../../src/config/cidr.ts";
import { SourceGuard } from "../../../src/core/guard/source_guard.ts";
import type { ApplianceEvent } from "../../../src/core/port.ts";
import { Htable } from "../../../src/core/htable/htable.ts";

const NOW_MS = 1_800_000_000_000;
const TEN_MINUTES = 600_000;
const PHONE = "192.0.2.7";
const PBX = "10.0.0.1";

interface Options {
  requests?: { count: number; per_ms: number };
  failures?: { count: number; per_ms: number };
  strangers?: { count: number; per_ms: number };
  scanners?: boolean;
  allow?: string[];
  deny?: string[];
  maxBans?: number;
}

class World {
  nowMs = NOW_MS;
  readonly counts = new Map<string, number>();
  readonly lines: string[] = [];
  readonly events: ApplianceEvent[] = [];
  readonly bans: Htable;
  readonly guard: SourceGuard;

  constructor(options: Options = {}) {
    this.bans = new Htable("banned", { ttl: TEN_MINUTES, max: options.maxBans ?? 100, persist: false });
    this.guard = new SourceGuard(this.bans, {
      count: (_, label) => this.counts.set(label, (this.counts.get(label) ?? 0) + 1),
      log: (level, message, fields) => this.lines.push(`${level} ${message} ${fields?.source ?? ""}`.trimEnd()),
      event: (event) => this.events.push(event),
    }, this.settings(options));
  }

  settings({ requests, failures, strangers, scanners, allow = [], deny = [] }: Options) {
    const networks = (texts: string[]) => texts.map((text) => Cidr.parse(text)!);
    const [exempt, denied] = [networks([PBX, ...allow]), networks(deny)];
    return {
      requestsPerSource: requests ?? { count: 50, per_ms: 1000 },
      strangers: strangers ?? { count: 1e9, per_ms: 1000 },
      authFailures: failures ?? { count: 10, per_ms: 60_000 },
      isScannerBanned: scanners ?? true,
      isExempt: (address: string) => containsAddress(exempt, address),
      isDenied: (address: string) => containsAddress(denied, address),
    };
  }

  /** How many of `count` messages pass, evenly over `overMs`. */
  send(address: string, count: number, overMs = 0, isRegistered = false): number {
    let passed = 0;
    const startMs = this.nowMs;
    for (let i = 0; i < count; i++) {
      this.nowMs = startMs + (overMs * i) / count;
      if (this.guard.admits(address, isRegistered, this.nowMs)) passed++;
    }
    this.nowMs = startMs + overMs;
    return passed;
  }

  fail(address: string, count: number, name = ""): void {
    for (let i = 0; i < count; i++) this.guard.authFailed(address, name, this.nowMs);
  }

  ban(address: string): string | undefined {
    return this.bans.get(address, this.nowMs);
  }
}

describe("X-01 requests_per_source", () => {
  const cases: [what: string, count: number, overMs: number, passed: number][] = [
    ["an office of 50 phones after a power cut, 8 messages each in 2 s", 400, 2000, 400],
    ["the same in one millisecond", 400, 1, 400],
    ["at the limit for a minute", 3000, 60_000, 3000],
    ["a burst of more than 10 s have saved", 600, 0, 500],
    ["twice the limit for 20 s", 2000, 20_000, 1500],
    ["twice the limit for five minutes", 30_000, 300_000, 15_500],
  ];
  for (const [what, count, overMs, passed] of cases) {
    test(`${what}: ${passed} of ${count} pass and nobody is banned`, () => {
      const world = new World();
      const heard = world.send(PHONE, count, overMs);
      expect(heard).toBeWithin(passed - 1, passed + 2);
      expect(world.bans.size).toBe(0);
      expect(world.counts.get("rate") ?? 0).toBe(count - heard);
    });
  }

  test("registered phones may send five times as much, and strangers at their address take nothing from them", () => {
    const world = new World();
    world.guard.phoneArrived(PHONE);
    world.send(PHONE, 100_000, 1000);
    expect(world.send(PHONE, 2500, 0, true)).toBe(2500);
    expect(world.send(PHONE, 1000, 0, true)).toBe(0);
    expect(world.send(PHONE, 250, 1000, true)).toBeWithin(248, 251);
  });

  test("a quiet source has everything saved again after 10 s, and no more", () => {
    const world = new World();
    world.send(PHONE, 600);
    world.nowMs += 10_000;
    expect(world.send(PHONE, 600)).toBe(500);
    world.nowMs += TEN_MINUTES;
    expect(world.send(PHONE, 600)).toBe(500);
  });

  test("an IPv6 /64 is one source, the next one another", () => {
    const world = new World();
    for (let i = 0; i < 500; i++) world.send(`2001:db8::${i.toString(16)}`, 1);
    expect(world.send("2001:db8::ffff", 1)).toBe(0);
    expect(world.send("2001:db8:0:1::1", 1)).toBe(1);
  });

  for (const [who, allow] of [["the PBX", []], ["security.allow", ["192.0.2.0/24"]]] as [string, string[]][]) {
    test(`${who} is exempt from everything, its own ban and deny included`, () => {
      const address = who === "the PBX" ? PBX : PHONE;
      const world = new World({ allow, deny: ["0.0.0.0/0"] });
      world.bans.set(address, "by hand", undefined, world.nowMs);
      expect(world.send(address, 100_000)).toBe(100_000);
      world.fail(address, 100);
      expect(world.guard.isScanner(address, "friendly-scanner", world.nowMs)).toBe(false);
      expect(world.guard.isRefused(address, world.nowMs)).toBe(false);
      expect(world.ban(address)).toBe("by hand");
    });
  }
});

describe("X-06 all strangers together", () => {
  const address = (i: number) => `198.51.${i >> 8}.${i & 255}`;

  test("share a rate: what a thousand send within their own is busy, what the PBX and phones send is not", () => {
    const world = new World({ strangers: { count: 100, per_ms: 1000 } });
    world.guard.phoneArrived(PHONE);
    const seen: Record<string, number> = { known: 0, stranger: 0, busy: 0, dropped: 0 };
    for (let ms = 0; ms < 10_000; ms++) {
      world.nowMs++;
      seen[world.guard.admission(address(ms % 1000), false, world.nowMs)]!++;
    }
    expect(seen.stranger).toBeWithin(1150, 1251);
    expect([seen.known, seen.dropped]).toEqual([0, 0]);
    expect(world.counts.get("busy")).toBe(seen.busy!);
    // Its own address tells a phone that comes back over another flow, and a registered flow the phone itself.
    expect(world.guard.admission(PBX, false, world.nowMs)).toBe("known");
    expect(world.guard.admission(PHONE, false, world.nowMs)).toBe("known");
    expect(world.guard.admission(address(7), true, world.nowMs)).toBe("known");
    expect(world.bans.size).toBe(0);
  });

  test("have two seconds of it at once, and no source gets more than its own for that", () => {
    const world = new World({ strangers: { count: 1000, per_ms: 1000 } });
    const burst = Array.from({ length: 4000 }, (_, i) => world.guard.admission(address(i % 1000), false, world.nowMs));
    expect(burst.filter((admission) => admission === "stranger")).toHaveLength(2000);
    const greedy = new World({ strangers: { count: 1e6, per_ms: 1000 } });
    const one = Array.from({ length: 600 }, () => greedy.guard.admission(PHONE, false, greedy.nowMs));
    expect(one.filter((admission) => admission === "dropped")).toHaveLength(100);
  });

  test("O-03 a reload changes the rate", () => {
    const world = new World({ strangers: { count: 1, per_ms: 1000 } });
    for (let i = 0; i < 10; i++) world.guard.admission(address(i), false, world.nowMs);
    expect(world.guard.admission(address(0), false, world.nowMs)).toBe("busy");
    world.guard.configure(world.settings({ strangers: { count: 1000, per_ms: 1000 } }));
    world.nowMs += 10;
    expect(world.guard.admission(address(0), false, world.nowMs)).toBe("stranger");
  });
});

describe("X-02 bans", () => {
  test("ten times the limit for some seconds is a flood: banned for the ttl of the table, then heard again", () => {
    const world = new World();
    world.send(PHONE, 500, 1000);
    expect(world.ban(PHONE)).toBeUndefined();
    world.send(PHONE, 2000, 4000);
    expect(world.ban(PHONE)).toBe("flood");
    expect(world.lines).toEqual([`warn Banned for 600 s: flood ${PHONE}`]);
    expect(world.send(PHONE, 1)).toBe(0);
    expect(world.counts.get("banned")).toBeGreaterThan(0);
    expect(world.guard.isRefused(PHONE, world.nowMs)).toBe(true);
    world.nowMs += TEN_MINUTES;
    expect(world.send(PHONE, 1)).toBe(1);
    expect(world.guard.isRefused(PHONE, world.nowMs)).toBe(false);
  });

  test("where registered phones are a flood is limited, not banned; when the last has left it is banned", () => {
    const world = new World();
    world.guard.phoneArrived(PHONE);
    world.guard.phoneArrived(PHONE);
    world.guard.phoneLeft(PHONE);
    world.send(PHONE, 10_000, 1000);
    expect(world.ban(PHONE)).toBeUndefined();
    expect(world.lines[0]).toContain("limited, not banned");
    expect(world.send(PHONE, 5, 0, true)).toBe(5);
    world.guard.phoneLeft(PHONE);
    world.send(PHONE, 10_000, 1000);
    expect(world.ban(PHONE)).toBe("flood");
  });

  test("a ban by hand holds at once, and its end too; an IPv6 address alone can be banned", () => {
    const world = new World();
    expect(world.send(PHONE, 1)).toBe(1);
    world.bans.set(PHONE, "1", undefined, world.nowMs);
    expect(world.send(PHONE, 1, 0, true)).toBe(0);
    world.bans.delete(PHONE, world.nowMs);
    expect(world.send(PHONE, 1)).toBe(1);
    world.bans.set("2001:db8::5", "1", undefined, world.nowMs);
    expect([world.send("2001:db8::5", 1), world.send("2001:db8::6", 1)]).toEqual([0, 1]);
    world.bans.set("2001:db8::/64", "1", undefined, world.nowMs);
    expect(world.send("2001:db8::6", 1)).toBe(0);
  });

  const failures: [what: string, run: (world: World) => void, ban: string | undefined][] = [
    ["nine failures", (world) => world.fail(PHONE, 9), undefined],
    ["ten failures", (world) => world.fail(PHONE, 10), "auth_failures"],
    ["nine failures, a minute, nine more", (world) => {
      world.fail(PHONE, 9);
      world.nowMs += 60_000;
      world.fail(PHONE, 9);
    }, undefined],
    ["a hundred failures of many phones, each followed by a success", (world) => {
      for (let i = 0; i < 100; i++) {
        world.fail(PHONE, 1);
        world.guard.authPassed(PHONE);
      }
    }, undefined],
    ["99 failures where a phone is registered", (world) => {
      world.guard.phoneArrived(PHONE);
      world.fail(PHONE, 99);
    }, undefined],
    ["100 failures where a phone is registered", (world) => {
      world.guard.phoneArrived(PHONE);
      world.fail(PHONE, 100);
    }, "auth_failures"],
  ];
  for (const [what, run, ban] of failures) {
    test(`auth_failures 10/m, ${what}: ${ban ?? "no ban"}`, () => {
      const world = new World();
      run(world);
      expect(world.ban(PHONE)).toBe(ban);
    });
  }

  test("X-07 a ban names the users that failed, five of them, and nothing in a name breaks a line", () => {
    const world = new World();
    for (const name of ["a@x", "a@x", "b\r\n@x", "", "c@x", "d@x", "e@x", "f@x", "g@x", "a@x"]) {
      world.fail(PHONE, 1, name);
    }
    const users = "a@x, b??@x, c@x, d@x, e@x, and others";
    expect(world.ban(PHONE)).toBe(`auth_failures: ${users}`);
    expect(world.events).toEqual([{ type: "ban", source: PHONE, reason: "auth_failures", users }]);
  });

  test.each([
    ["friendly-scanner", true],
    ["friendly-request", true],
    ["SIPVicious 0.3", true],
    ["sipcli/v1.8", true],
    ["sip-scan", true],
    ["VaxSIPUserAgent/3.1", true],
    ["Linphone/5.2", false],
    ["kiwar phone", false],
    ["", false],
  ])("scanners: %p is one: %p", (agent, isScanner) => {
    const world = new World();
    expect(world.guard.isScanner(PHONE, agent, world.nowMs)).toBe(isScanner);
    expect(world.guard.isScanner(PHONE, agent, world.nowMs)).toBe(isScanner);
    expect(world.ban(PHONE)).toBe(isScanner ? "scanner" : undefined);
    expect(world.counts.get("scanner") ?? 0).toBe(isScanner ? 2 : 0);
    const allowing = new World({ scanners: false });
    expect(allowing.guard.isScanner(PHONE, agent, allowing.nowMs)).toBe(false);
  });

  test("what a scanner calls itself cannot break a log line", () => {
    const world = new World();
    world.guard.isScanner(PHONE, `sipcli\x1b[2J\n${"x".repeat(500)}`, world.nowMs);
    expect(world.lines[0]).toMatch(/^info Banned for 600 s: sipcli\?\[2J\?x{49} 192\.0\.2\.7$/);
  });

  test("where registered phones are a scanner gets no answer, and no ban", () => {
    const world = new World();
    world.guard.phoneArrived(PHONE);
    expect(world.guard.isScanner(PHONE, "sipvicious", world.nowMs)).toBe(true);
    expect(world.ban(PHONE)).toBeUndefined();
  });

  test("denied networks are not heard and get no connection; allow outranks deny", () => {
    const world = new World({ deny: ["192.0.2.0/24"], allow: ["192.0.2.7"] });
    expect([world.send("192.0.2.8", 1), world.send(PHONE, 1), world.send("198.51.100.1", 1)]).toEqual([0, 1, 1]);
    expect(world.counts.get("denied")).toBe(1);
    expect(world.guard.isRefused("192.0.2.8", world.nowMs)).toBe(true);
    expect(world.guard.isRefused(PHONE, world.nowMs)).toBe(false);
  });

  test("bans set by hand are not pushed out by forged addresses, and bans are few in a second", () => {
    const world = new World({ maxBans: 30 });
    world.bans.set("198.51.100.1", "by hand", undefined, world.nowMs);
    for (let i = 0; i < 250; i++) world.guard.isScanner(`203.0.113.${i}`, "sipcli", world.nowMs);
    expect(world.bans.size).toBe(21);
    world.nowMs += 1000;
    for (let i = 0; i < 250; i++) world.guard.isScanner(`203.0.114.${i}`, "sipcli", world.nowMs);
    expect(world.bans.size).toBe(30);
    expect(world.ban("198.51.100.1")).toBe("by hand");
    expect(world.lines).toHaveLength(20);
    world.nowMs += 60_000;
    world.bans.delete("203.0.113.1", world.nowMs);
    world.guard.isScanner("203.0.115.1", "sipcli", world.nowMs);
    expect(world.lines.slice(20)).toEqual(["info Left out 9 lines about floods and bans", expect.any(String)]);
  });
});

describe("O-03 a reload", () => {
  test("deny, allow, scanners and rates count from the next message on", () => {
    const world = new World();
    world.send(PHONE, 500);
    world.guard.configure(world.settings({ deny: [PHONE] }));
    expect(world.guard.isRefused(PHONE, world.nowMs)).toBe(true);
    world.guard.configure(world.settings({ allow: [PHONE] }));
    expect(world.send(PHONE, 10_000)).toBe(10_000);
    world.guard.configure(world.settings({ scanners: false }));
    expect(world.send(PHONE, 1)).toBe(0);
    expect(world.guard.isScanner("192.0.2.8", "sipcli", world.nowMs)).toBe(false);
    world.guard.configure(
      world.settings({ requests: { count: 2, per_ms: 1000 }, failures: { count: 1, per_ms: 1000 } }),
    );
    expect(world.send(PHONE, 1000)).toBe(20);
    world.fail("192.0.2.8", 1);
    expect(world.ban("192.0.2.8")).toBe("auth_failures");
  });

  test("a PBX whose name has another address is exempt at once", () => {
    let pbx = "192.0.2.1";
    const world = new World();
    const settings = { ...world.settings({ deny: ["0.0.0.0/0"] }), isExempt: (address: string) => address === pbx };
    world.guard.configure(settings);
    expect([world.send("192.0.2.1", 1), world.send("192.0.2.2", 1)]).toEqual([1, 0]);
    pbx = "192.0.2.2";
    world.guard.judgeAnew();
    expect([world.send("192.0.2.1", 1), world.send("192.0.2.2", 1)]).toEqual([0, 1]);
  });
});

describe("X-06 bounds", () => {
  const BOUND = 16_384 * 2 + 4096 + 256;

  test("a flood from 300000 forged sources, IPv4 and IPv6, leaves no more than the bound", () => {
    const world = new World();
    let most = 0;
    for (let i = 0; i < 150_000; i++) {
      const tail = `${i >> 16}.${(i >> 8) & 255}.${i & 255}`;
      world.guard.admits(`11.${tail}`, false, world.nowMs);
      world.guard.admits(`2001:db8:${(i >> 8).toString(16)}:${(i & 255).toString(16)}::1`, false, world.nowMs);
      world.guard.authFailed(`12.${tail}`, "", world.nowMs);
      world.guard.isScanner(PHONE, `phone ${i}`, world.nowMs);
      most = Math.max(most, world.guard.remembered);
    }
    expect(most).toBeLessThanOrEqual(BOUND);
    // The bound is near what is held: it does not hold because nothing is.
    expect(most).toBeGreaterThan(BOUND / 2);
    expect(world.bans.size).toBe(0);
  });

  test("property: no source ever gets more than its burst and its rate, whatever it sends when", () => {
    const step = fc.record({
      waitMs: fc.nat(3000),
      count: fc.integer({ min: 1, max: 400 }),
      isRegistered: fc.boolean(),
    });
    fc.assert(fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const world = new World({ maxBans: 1 });
      // Full: nobody is banned, so that the rate alone is seen.
      world.bans.set("198.51.100.1", "by hand", undefined, world.nowMs);
      const passed = { true: 0, false: 0 };
      for (const { waitMs, count, isRegistered } of steps) {
        world.nowMs += waitMs;
        passed[`${isRegistered}`] += world.send(PHONE, count, 0, isRegistered);
      }
      const bound = 500 + (world.nowMs - NOW_MS) * 0.05;
      expect(passed.false).toBeLessThanOrEqual(bound + 1e-6);
      expect(passed.true).toBeLessThanOrEqual(bound * 5 + 1e-6);
    }));
  });
});
