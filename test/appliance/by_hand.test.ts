/** Branches and devices added through the control port of a running appliance, over real sockets. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { Appliance } from "../../src/appliance.ts";
import { loadConfig } from "../../src/config/load.ts";
import { Log } from "../../src/observe/log.ts";

const AOR = "alice@example.org";
const closers: (() => unknown)[] = [];
let api = "";

/** A UDP socket that notes who writes to it. */
async function party() {
  let seen: (text: string) => void;
  const first = new Promise<string>((resolve) => seen = resolve);
  const socket = await Bun.udpSocket({
    hostname: "127.0.0.1",
    socket: { data: (_socket, data) => seen(new TextDecoder().decode(data)) },
  });
  closers.push(() => socket.close());
  return { socket, first };
}

async function ask(method: string, path: string, body?: unknown) {
  const response = await fetch(api + path, { method, body: body === undefined ? undefined : JSON.stringify(body) });
  // deno-lint-ignore no-explicit-any
  return { status: response.status, body: await response.json() as any };
}

beforeAll(async () => {
  const pusher = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("ok") });
  closers.push(() => pusher.stop(true));
  const pbx = await party();
  const { config } = loadConfig(`listen: ["udp://127.0.0.1:0", "tcp://127.0.0.1:0"]
domain: example.org
pbx: { uri: "sip:127.0.0.1:${pbx.socket.port}", qualify: 0s }
push: { webhook: { acme: { url: "http://127.0.0.1:${pusher.port}/wake" } } }
store: { path: ":memory:" }
control: { listen: ["http://127.0.0.1:0"] }
`);
  const output = { isTty: false, write: (bytes: Uint8Array) => bytes.length, nowMs: () => 0, later: () => {} };
  const appliance = new Appliance({ config: config!, configFile: null, log: new Log(config!.log, output) });
  await appliance.start();
  closers.push(() => appliance.stop());
  api = appliance.controlUrls[0]!;
  const push = { provider: "acme", prid: "token" };
  await ask("PUT", `/v1/locations/${AOR}/devices/phone1`, { contact: "sip:alice@127.0.0.1:9", kind: "mobile", push });
  const { port } = appliance.transports.listeners().find(({ transport }) => transport === "udp")!;
  const invite = [
    `INVITE sip:${AOR} SIP/2.0`,
    `Via: SIP/2.0/UDP 127.0.0.1:${pbx.socket.port};branch=z9hG4bK1`,
    "Max-Forwards: 70",
    "From: <sip:bob@example.org>;tag=b",
    `To: <sip:${AOR}>`,
    "Call-ID: held@pbx",
    "CSeq: 1 INVITE",
    `Contact: <sip:127.0.0.1:${pbx.socket.port}>`,
    "Content-Length: 0",
    "",
    "",
  ].join("\r\n");
  pbx.socket.send(invite, port, "127.0.0.1");
  expect(await pbx.first).toStartWith("SIP/2.0 100 ");
});

afterAll(async () => {
  for (const close of closers.reverse()) await close();
});

test("W-18 an address gets one live branch, and who asks for another is told why there is none", async () => {
  const desk = await party();
  const contact = `sip:desk@127.0.0.1:${desk.socket.port}`;
  const { body: calls } = await ask("GET", "/v1/calls?state=open");
  const branches = `/v1/calls/${calls.items[0].id}/branches`;
  const added = await ask("POST", branches, { contact });
  expect(added.status).toBe(201);
  expect(added.body).toMatchObject({ device: contact, late: true, state: "trying" });
  expect(await desk.first).toStartWith(`INVITE ${contact} SIP/2.0`);
  const again = await ask("POST", branches, { contact });
  expect(again.status).toBe(409);
  expect(again.body.error).toMatchObject({ code: "branch_not_added" });
  expect(again.body.error.hint).toContain("/v1/calls");
});

test.each(["tcp", "TCP"])(
  "RFC 3261 §19.1.4 a device set by hand with transport=%s is reached over TCP",
  async (transport) => {
    const desk = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => {} } });
    closers.push(() => desk.stop(true));
    const contact = `sip:desk@127.0.0.1:${desk.port};transport=${transport}`;
    const { body } = await ask("PUT", "/v1/locations/desk@example.org/devices/desk1", { contact });
    expect(body.flow).toMatchObject({ transport: "tcp", remote: `127.0.0.1:${desk.port}` });
  },
);
