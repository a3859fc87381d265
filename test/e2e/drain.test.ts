/** O-04: what becomes of calls and requests when the process is told to go, over real sockets. */
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { answer, calleeSide, callerSide, inDialog, methodOf, request, statusOf } from "../core/proxy/sip_text.ts";

const folder = mkdtempSync(join(tmpdir(), "latefork-drain-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const main = join(import.meta.dir, "../../src/main.ts");

/** A UDP user agent that keeps what it gets. */
async function agent(user: string) {
  const inbox: string[] = [];
  let heard = () => {};
  const socket = await Bun.udpSocket({
    hostname: "127.0.0.1",
    socket: {
      data: (_socket, data) => {
        inbox.push(data.toString("latin1"));
        heard();
      },
    },
  });
  /** Takes the first message of this kind; waits for it. */
  const take = async (kind: string | number): Promise<string> => {
    for (;;) {
      const at = inbox.findIndex((text) => (methodOf(text) || statusOf(text)) === kind);
      if (at >= 0) return inbox.splice(at, 1)[0]!;
      await new Promise<void>((resolve) => heard = resolve);
    }
  };
  const at = `127.0.0.1:${socket.port}`;
  const uri = `sip:${user}@${at}`;
  const from = `<sip:${user}@example.org>;tag=${user}`;
  return { socket, inbox, take, at, uri, from, user };
}

type Agent = Awaited<ReturnType<typeof agent>>;

async function start(name: string, more: string) {
  const file = join(folder, `${name}.yaml`);
  writeFileSync(
    file,
    `domain: example.org
listen: ["udp://127.0.0.1:0"]
store: { path: ${name}.db }
control: { listen: ["http://127.0.0.1:0"] }
${more}`,
  );
  const child = Bun.spawn([process.execPath, main, "serve", "-c", file], {
    cwd: folder,
    stdout: "ignore",
    stderr: "pipe",
  });
  let said = "";
  const reader = child.stderr.getReader();
  const hears = async (words: string) => {
    while (!said.includes(words)) {
      const { done, value } = await reader.read();
      if (done) throw new Error(`Never said "${words}": ${said}`);
      said += new TextDecoder().decode(value);
    }
  };
  await hears("\nready\n");
  const port = Number(/listen {4}udp:\/\/127\.0\.0\.1:(\d+)/.exec(said)![1]);
  const api = /control {3}(http:\S+)/.exec(said)![1]!;
  const send = (by: Agent, text: string) => by.socket.send(text, port, "127.0.0.1");
  return { child, hears, send, api };
}

function registerOf({ at, uri, from, user }: Agent): string {
  return request("REGISTER", "sip:example.org", {
    sentBy: at,
    from,
    to: `<sip:${user}@example.org>`,
    contact: `<${uri}>;expires=600`,
  });
}

test(
  "O-04 SIGTERM in a call: its ACK passes, a loser hears of the end, a BYE is answered; then the process ends",
  async () => {
    const { child, hears, send, api } = await start("call", "security: { trust: [127.0.0.1/32] }\n");
    const [bob, alice, desk] = [await agent("bob"), await agent("alice"), await agent("alice")];
    try {
      for (const one of [bob, alice, desk]) {
        send(one, registerOf(one));
        await one.take(200);
      }
      const invite = request("INVITE", "sip:alice@example.org", {
        sentBy: bob.at,
        from: bob.from,
        to: "<sip:alice@example.org>",
        contact: `<${bob.uri}>`,
      });
      send(bob, invite);
      const [rings, lost] = [await alice.take("INVITE"), await desk.take("INVITE")];
      send(alice, answer(rings, 180, { tag: "a", contact: `<${alice.uri}>` }));
      await bob.take(180);
      child.kill("SIGTERM");
      await hears("waiting for 1 call open");
      const ready = await fetch(api + "/readyz");
      expect([ready.status, (await ready.json() as { reason: string }).reason]).toEqual([
        503,
        expect.stringMatching(/^draining, 1 call open/),
      ]);
      const accepted = answer(rings, 200, { tag: "a", contact: `<${alice.uri}>` });
      send(alice, accepted);
      const ok = await bob.take(200);
      await Bun.sleep(60);
      send(bob, inDialog("ACK", callerSide(invite, ok), { sentBy: bob.at }));
      expect(await alice.take("ACK")).toStartWith("ACK ");
      await Bun.sleep(60);
      send(desk, answer(lost, 180, { tag: "d" }));
      send(desk, answer(await desk.take("CANCEL"), 200));
      send(alice, inDialog("BYE", calleeSide(rings, accepted), { sentBy: alice.at }));
      const bye = await bob.take("BYE");
      send(desk, answer(lost, 487, { tag: "d" }));
      await desk.take("ACK");
      await Bun.sleep(60);
      send(bob, answer(bye, 200));
      await alice.take(200);
      expect(await child.exited).toBe(0);
    } finally {
      child.kill("SIGKILL");
      for (const one of [bob, alice, desk]) one.socket.close();
    }
  },
  20_000,
);

test("O-04 SIGTERM with a REGISTER on its way to the PBX: the phone gets its answer first", async () => {
  const pbx = await agent("pbx");
  const more = `pbx: { uri: "sip:${pbx.at}", qualify: 0s }\n`;
  const { child, hears, send } = await start("register", more);
  const phone = await agent("alice");
  try {
    send(phone, registerOf(phone));
    const forwarded = await pbx.take("REGISTER");
    child.kill("SIGTERM");
    await hears("waiting for 1 request in flight");
    await Bun.sleep(60);
    send(pbx, answer(forwarded, 200, { contact: /Contact: ([^\r]*)/.exec(forwarded)![1]! }));
    expect(await phone.take(200)).toContain("Contact: ");
    expect(await child.exited).toBe(0);
  } finally {
    child.kill("SIGKILL");
    for (const one of [pbx, phone]) one.socket.close();
  }
}, 20_000);

test("O-04 a second signal ends a drain at once", async () => {
  const { child, hears, send } = await start("second", "security: { trust: [127.0.0.1/32] }\n");
  const [bob, alice] = [await agent("bob"), await agent("alice")];
  try {
    send(alice, registerOf(alice));
    await alice.take(200);
    send(bob, request("INVITE", "sip:alice@example.org", { sentBy: bob.at, from: bob.from, contact: `<${bob.uri}>` }));
    await alice.take("INVITE");
    child.kill("SIGTERM");
    await hears("waiting for 1 call open; a signal ends at once");
    child.kill("SIGTERM");
    expect(await child.exited).toBe(0);
  } finally {
    child.kill("SIGKILL");
    for (const one of [bob, alice]) one.socket.close();
  }
}, 20_000);
