/** A machine whose clock is set, or wrong, while the appliance runs and between two runs. */
import { afterEach, expect, setSystemTime, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Appliance } from "../../src/appliance/appliance.ts";
import { loadConfig } from "../../src/config/load.ts";
import { Log } from "../../src/observe/log.ts";

const HOUR = 3_600_000;
const folders: string[] = [];
afterEach(() => {
  setSystemTime();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

/** Runs of one installation, each between a start and a stop at given times of the machine. */
class Box {
  readonly logged: string[] = [];
  private readonly folder = mkdtempSync(join(tmpdir(), "latefork-clock-"));
  appliance!: Appliance;

  constructor() {
    folders.push(this.folder);
  }

  async start(machineMs: number): Promise<void> {
    setSystemTime(new Date(machineMs));
    const { config } = loadConfig(`
domain: example.org
listen: ["udp://127.0.0.1:0"]
control: { listen: ["http://127.0.0.1:0"] }
store: { path: ${this.folder}/latefork.db }
`);
    const output = {
      isTty: false,
      write: (bytes: Uint8Array) => this.logged.push(new TextDecoder().decode(bytes)) && bytes.length,
      nowMs: () => 0,
      later: () => {},
    };
    this.appliance = new Appliance({ config: config!, configFile: null, log: new Log(config!.log, output) });
    await this.appliance.start();
    this.appliance.htables.ensure("kept", { ttl: HOUR, max: 10, persist: true });
  }

  /** The clock of the machine is set, and the appliance comes to look at it. */
  set(machineMs: number): void {
    setSystemTime(new Date(machineMs));
    this.appliance.world.tick(this.appliance.turn.nowMs);
  }

  async register(user: string): Promise<void> {
    const response = await fetch(
      `${this.appliance.controlUrls[0]}/v1/locations/${user}@example.org/devices/${user}1`,
      { method: "PUT", body: JSON.stringify({ contact: "sip:127.0.0.1:9", expires_in: 3600 }) },
    );
    expect([response.status, await response.text()]).toEqual([200, expect.anything()]);
    this.appliance.htables.get("banned")!.set(user, "by hand", HOUR, this.appliance.turn.nowMs);
  }

  /** Minutes that each user, and what was set for it in an htable, still has by the appliance's own clock. */
  left(): Record<string, [device: number, item: number]> {
    const nowMs = this.appliance.turn.nowMs;
    const minutes = (atMs: number | undefined) => Math.round(((atMs ?? nowMs) - nowMs) / 60_000);
    return Object.fromEntries(
      [...this.appliance.core.usrloc.all()].map((aor) => [
        aor.user,
        [
          minutes(aor.contacts[0]?.expiresAtMs),
          minutes(this.appliance.htables.get("banned")!.item(aor.user, nowMs)?.expiresAtMs),
        ],
      ]),
    );
  }
}

const NOW = Date.UTC(2026, 10, 21);

for (
  const [name, startMs] of [["years behind", 0], ["hours behind", NOW - 3 * HOUR], ["ahead", NOW + 3 * HOUR]] as const
) {
  test(`R-18 who registered while the clock was ${name} is there after a restart, for as long as was agreed`, async () => {
    const box = new Box();
    await box.start(startMs);
    await box.register("early");
    box.set(NOW);
    await box.register("late");
    await box.appliance.stop();
    expect(box.logged.join("")).toContain("The clock of the machine was set by");
    await box.start(NOW + 0.25 * HOUR);
    expect(box.left()).toEqual({ early: [45, 45], late: [45, 45] });
    await box.appliance.stop();
    // All is in the new clock by now.
    await box.start(NOW + 0.5 * HOUR);
    expect(box.left()).toEqual({ early: [30, 30], late: [30, 30] });
    await box.appliance.stop();
    await box.start(NOW + 1.1 * HOUR);
    expect(box.left()).toEqual({});
    await box.appliance.stop();
  });
}

test("R-18 a machine that starts in the past keeps its phones no longer than was agreed", async () => {
  const box = new Box();
  await box.start(NOW);
  await box.register("alice");
  await box.appliance.stop();
  await box.start(0);
  expect(box.left()).toEqual({ alice: [60, 60] });
  box.set(NOW + HOUR / 4);
  await box.appliance.stop();
  await box.start(NOW + HOUR / 2);
  expect(box.left()).toEqual({ alice: [45, 45] });
  await box.appliance.stop();
});
