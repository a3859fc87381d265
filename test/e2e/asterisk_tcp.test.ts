/**
 * A PBX on TCP that rewrites what it is told to where it came from, as Asterisk does with `rewrite_contact=yes` (FreePBX's
 * default), and a UDP phone, with real sockets between them and the appliance: host, port and transport of our Contact
 * and of our Record-Route become those of the connection that we opened.
 */
import { afterEach, expect, test } from "bun:test";
import type { Socket } from "bun";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Appliance } from "../../src/appliance/appliance.ts";
import { loadConfigFile } from "../../src/config/files.ts";
import { Log } from "../../src/observe/log.ts";
import { answer, callerSide, inDialog, methodOf, request, statusOf, uriIn, value } from "../core/proxy/sip_text.ts";

const ends: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

/** Not the address of the others: a Request-URI with ours would find alice by her name. */
const PHONE = "127.0.0.2";

/** What came and was not taken yet, with a wait for the next of its kind. */
class Inbox {
  private readonly messages: string[] = [];
  private wake = () => {};

  add(text: string): void {
    this.messages.push(text);
    this.wake();
  }

  async next(kind: string | number): Promise<string> {
    const end = Date.now() + 5000;
    for (;;) {
      const at = this.messages.findIndex((text) => methodOf(text) === kind || statusOf(text) === kind);
      if (at >= 0) return this.messages.splice(at, 1)[0]!;
      if (Date.now() > end) throw new Error(`No ${kind} came; there is:\n${this.messages.join("\n")}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 50);
        this.wake = () => (clearTimeout(timer), resolve());
      });
    }
  }
}

/** Its side of the newest connection. */
class RewritingPbx {
  readonly inbox = new Inbox();
  readonly port: number;
  private socket: Socket | null = null;
  private text = "";

  constructor() {
    const server = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        open: (socket) => {
          this.socket = socket;
          this.text = "";
        },
        data: (_, bytes) => this.received(bytes.toString("latin1")),
      },
    });
    this.port = server.port;
    ends.push(() => server.stop(true));
  }

  /** Where our connection comes from, as it sees it. */
  get source(): string {
    return `${this.socket!.remoteAddress}:${this.socket!.remotePort}`;
  }

  send(text: string): void {
    this.socket!.write(text);
  }

  /** Closes the connection; latefork opens the next one from another port. */
  close(): void {
    this.socket!.end();
  }

  /** `rewrite_uri` of res_pjsip_nat.c. */
  rewritten(uri: string): string {
    const [, user = "", params = ""] = /^<?sip:(?:([^@]*)@)?[^;>]*([^>]*)>?$/.exec(uri)!;
    const text = `sip:${user === "" ? "" : user + "@"}${this.source}${params.replace(/;transport=[^;]*/i, "")}`;
    return uri.startsWith("<") ? `<${text};transport=TCP>` : `${text};transport=TCP`;
  }

  private received(bytes: string): void {
    this.text += bytes;
    for (let end = this.text.indexOf("\r\n\r\n"); end >= 0; end = this.text.indexOf("\r\n\r\n")) {
      const message = this.text.slice(0, end + 4);
      this.text = this.text.slice(end + 4);
      if (methodOf(message) === "OPTIONS") this.send(answer(message, 200));
      else this.inbox.add(message);
    }
  }
}

async function world() {
  const folder = mkdtempSync(join(tmpdir(), "latefork-asterisk-"));
  ends.push(() => rmSync(folder, { recursive: true, force: true }));
  const pbx = new RewritingPbx();
  const file = join(folder, "latefork.yaml");
  writeFileSync(
    file,
    `domain: example.org
listen: ["udp://127.0.0.1:0", "tcp://127.0.0.1:0"]
pbx: { uri: "sip:127.0.0.1:${pbx.port};transport=tcp" }
store: { path: ":memory:" }
control: { listen: [] }
`,
  );
  const { config, problems } = loadConfigFile(file);
  if (config === null) throw new Error(JSON.stringify(problems));
  const output = { isTty: false, write: (bytes: Uint8Array) => bytes.length, nowMs: () => 0, later: () => {} };
  const box = new Appliance({ config, configFile: file, log: new Log(config.log, output) });
  await box.start();
  ends.push(() => box.stop());
  const us = box.transports.listeners().find(({ transport }) => transport === "udp")!.port;

  const atPhone = new Inbox();
  const socket = await Bun.udpSocket({
    hostname: PHONE,
    socket: { data: (_, bytes) => atPhone.add(bytes.toString("latin1")) },
  });
  ends.push(() => socket.close());
  const contact = `sip:alice@${PHONE}:${socket.port}`;
  const phone = { inbox: atPhone, contact, send: (text: string) => void socket.send(text, us, "127.0.0.1") };
  phone.send(request("REGISTER", "sip:example.org", {
    sentBy: `${PHONE}:${socket.port}`,
    from: "<sip:alice@example.org>;tag=r",
    to: "<sip:alice@example.org>",
    contact: `<${contact}>;expires=600`,
  }));
  const register = await pbx.inbox.next("REGISTER");
  const held = pbx.rewritten(uriIn(value(register, "Contact")));
  pbx.send(answer(register, 200, { contact: `<${held}>;expires=600` }));
  await atPhone.next(200);
  return { pbx, phone, held };
}

for (const isReopened of [false, true]) {
  const when = isReopened ? ", also after the connection was closed and opened anew" : "";
  test(`F-03 F-04 a call of a PBX that rewrites over TCP is acknowledged and hung up${when}`, async () => {
    const { pbx, phone, held } = await world();
    expect(held).toContain(pbx.source);
    const invite = request("INVITE", held, {
      transport: "TCP",
      sentBy: `127.0.0.1:${pbx.port}`,
      from: "<sip:bob@example.org>;tag=b",
      contact: `<sip:bob@127.0.0.1:${pbx.port};transport=tcp>`,
    });
    pbx.send(invite);
    phone.inbox.next("INVITE").then((text) => phone.send(answer(text, 200, { contact: `<${phone.contact}>` })));
    const ok = await pbx.inbox.next(200);
    const side = callerSide(invite, ok);
    const route = side.route.map((text, at) =>
      at === 0 ? pbx.rewritten(text).replace("lr;", "").replace(">", ";lr>") : text
    );
    pbx.send(inDialog("ACK", { ...side, route }, { transport: "TCP" }));
    await phone.inbox.next("ACK");
    if (isReopened) {
      const before = pbx.source;
      pbx.close();
      // Whatever a phone sends opens it anew.
      phone.send(request("MESSAGE", "sip:bob@example.org", { from: "<sip:alice@example.org>;tag=m" }));
      await pbx.inbox.next("MESSAGE");
      expect(pbx.source).not.toBe(before);
      pbx.send(request("MESSAGE", held, { transport: "TCP" }));
      await phone.inbox.next("MESSAGE");
    }
    pbx.send(inDialog("BYE", { ...side, route }, { transport: "TCP" }));
    await phone.inbox.next("BYE");
  });
}
