/** X-07 as it is seen from outside: an office of TCP phones behind one address, our restart, and a wrong password. */
import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { formatUser } from "../../src/config/users_file.ts";
import { answerChallenge, digestUser, parseChallenges } from "../../src/core/sip/digest.ts";
import { eventually, within } from "../peers/program.ts";
import { Rig } from "../peers/rig.ts";

const PHONES = 15;
const DOMAIN = "example.com";
const password = (user: string) => `secret of ${user}`;

/** A phone over TCP, as far as REGISTER goes. */
class TcpPhone {
  private socket: Socket | null = null;
  private received = "";
  private cseq = 0;
  private authorization = "";

  constructor(private readonly rig: Rig, readonly user: string, private readonly address: string) {}

  async connect(): Promise<void> {
    this.received = "";
    const socket = this.socket = connect({
      host: this.rig.address("us"),
      port: this.rig.port,
      localAddress: this.address,
    });
    socket.on("data", (bytes) => this.received += bytes.toString("latin1")).on("error", () => {});
    await new Promise<void>((resolve) => socket.once("connect", resolve));
  }

  /** One REGISTER with the credentials it has; learns from a challenge. @returns the status */
  async register(secret = password(this.user)): Promise<number> {
    this.received = "";
    const cseq = ++this.cseq;
    const { user, address } = this;
    this.socket!.write(
      `REGISTER sip:${DOMAIN} SIP/2.0\r\nVia: SIP/2.0/TCP ${address}:5060;branch=z9hG4bK${user}${cseq}\r\n` +
        `Max-Forwards: 70\r\nFrom: <sip:${user}@${DOMAIN}>;tag=1\r\nTo: <sip:${user}@${DOMAIN}>\r\n` +
        `Call-ID: ${user}@office\r\nCSeq: ${cseq} REGISTER\r\nContact: <sip:${user}@${address}>\r\n` +
        `${this.authorization}Expires: 600\r\nContent-Length: 0\r\n\r\n`,
    );
    const head = await eventually(
      `an answer to ${user}`,
      8000,
      () => Promise.resolve(this.received.includes("\r\n\r\n") ? this.received : null),
    );
    const challenges = parseChallenges([...head.matchAll(/^WWW-Authenticate: (.*)\r$/gim)].map(([, value]) => value!));
    const how = { method: "REGISTER", uri: `sip:${DOMAIN}`, cnonce: "c", nc: 1 };
    const value = answerChallenge(challenges, { username: user, password: secret, ha1s: [] }, how);
    if (value !== null) this.authorization = `Authorization: ${value}\r\n`;
    return Number(head.slice(8, 11));
  }

  close(): void {
    this.socket?.destroy();
  }
}

test(
  "X-07 an office that comes back with its old nonces after our restart is not banned, nor for one old password",
  async () => {
    const rig = new Rig();
    try {
      const users = Array.from({ length: PHONES }, (_, i) => `u${i}`);
      const file = join(rig.folder, "users");
      const lines = users.map((user) => formatUser(digestUser(user, DOMAIN, password(user))));
      writeFileSync(file, lines.join("\n") + "\n", { mode: 0o600 });
      const config = rig.config({ pbx: undefined, users_file: file, limits: {} });
      const office = rig.address("phoneA");
      const phones = users.map((user) => new TcpPhone(rig, user, office));
      const first = await rig.appliance(config);
      for (const phone of phones) {
        await phone.connect();
        expect([await phone.register(), await phone.register()]).toEqual([401, 200]);
      }
      await first.kill();
      const appliance = await rig.appliance(config);
      const ban = async (address: string) => {
        const response = await fetch(`${appliance.control}/v1/htables/banned/${address}`);
        return response.ok ? (await response.json() as { value: string }).value : null;
      };
      // All of them first with what they had, then with what they were told.
      for (const phone of phones) await phone.connect();
      for (const phone of phones.slice(1)) expect(await phone.register()).toBe(401);
      for (const phone of phones.slice(1)) expect(await phone.register()).toBe(200);
      const [old] = phones as [TcpPhone];
      for (let i = 0; i < 30; i++) expect(await old.register("the password of last year")).toBe(401);
      expect(await ban(office)).toBeNull();

      const stranger = rig.address("stranger");
      const guesser = new TcpPhone(rig, "u1", stranger);
      await guesser.connect();
      expect(await guesser.register("guess")).toBe(401);
      for (let i = 0; i < 9; i++) expect(await guesser.register("guess")).toBe(401);
      expect(await ban(stranger)).toBeNull();
      guesser.register("guess").catch(() => {});
      await eventually("the ban", 8000, async () => await ban(stranger));
      expect(await ban(stranger)).toBe(`auth_failures: u1@${DOMAIN}`);
      // The log is written behind the table.
      await appliance.program.waitFor(/"message":"Banned [^\n]*"users":"u1@example\.com"/, 4000);
      for (const phone of [...phones, guesser]) phone.close();
    } catch (error) {
      console.error(await rig.report());
      throw error;
    } finally {
      await within(10_000, "the end", rig.end());
    }
  },
  60_000,
);
