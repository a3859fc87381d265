/** Branches and devices added through the control port of a running appliance, over real sockets. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { Appliance } from "../../src/appliance/appliance.ts";
import { loadConfig } from "../../src/config/load.ts";
import { Log } from "../../src/observe/log.ts";

const AOR = "alice@example.org";
const closers: (() => unknown)[] = [];
let api = "";
/** Sends an INVITE of the PBX for a user of example.org. */
let call: (user: string, callId: string) => void;

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
  call = (user, callId) => {
    const invite = [
      `INVITE sip:${user}@example.org SIP/2.0`,
      `Via: SIP/2.0/UDP 127.0.0.1:${pbx.socket.port};branch=z9hG4bK${callId}`,
      "Max-Forwards: 70",
      "From: <sip:bob@example.org>;tag=b",
      `To: <sip:${user}@example.org>`,
      `Call-ID: ${callId}@pbx`,
      "CSeq: 1 INVITE",
      `Contact: <sip:127.0.0.1:${pbx.socket.port}>`,
      "Content-Length: 0",
      "",
      "",
    ].join("\r\n");
    pbx.socket.send(invite, port, "127.0.0.1");
  };
  call("alice", "held");
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
  expect(await (await fetch(api + "/metrics")).text()).toContain("\nlatefork_late_branches_total 1\n");
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

test.each(["sips:desk@127.0.0.1", "sip:desk@127.0.0.1;transport=tls", "sip:desk@127.0.0.1;transport=ws"])(
  "what is to go over another transport is refused, and does not go over UDP instead: %s",
  async (contact) => {
    const { body: calls } = await ask("GET", "/v1/calls?state=open");
    const asked: [string, string][] = [
      ["PUT", "/v1/locations/safe@example.org/devices/safe1"],
      ["POST", `/v1/calls/${calls.items[0].id}/branches`],
    ];
    for (const [method, path] of asked) {
      const { status, body } = await ask(method, path, { contact });
      expect([path, status, body.error?.code]).toEqual([path, 409, "no_route"]);
    }
    expect((await ask("GET", "/v1/locations/safe@example.org")).status).toBe(404);
  },
);

test("W-18 a device without a connection gets no branch; a branch is taken out once; then the call is ended", async () => {
  const [{ id }] = (await ask("GET", `/v1/calls?aor=${AOR}&state=open`)).body.items;
  expect((await ask("POST", `/v1/silo/${AOR}/append`)).body).toEqual({ calls: 1, branches: 0 });
  const noWay = await ask("POST", `/v1/calls/${id}/branches`, { device: "phone1" });
  expect([noWay.status, noWay.body.error.code]).toEqual([409, "branch_not_added"]);
  const branches = await Promise.all([1, 2].map(async () => {
    const response = await fetch(`${api}/v1/calls/${id}/branches/1`, { method: "DELETE" });
    return response.status;
  }));
  expect(branches).toEqual([204, 404]);
  expect((await ask("GET", `/v1/calls/${id}`)).body).toMatchObject({ state: "open" });
  expect((await fetch(`${api}/v1/calls/${id}`, { method: "DELETE" })).status).toBe(204);
  // Its silent branch keeps it for another 100 ms.
  const over = await ask("POST", `/v1/calls/${id}/branches`, { device: "phone1" });
  expect([over.status, over.body.error.code]).toEqual([409, "call_ended"]);
  expect(over.body.error.message).toMatch(/ is over: (it is ending|Ended by hand)/);
});

test("W-08 W-22 a call for nobody is found by its AoR, with the reason, and cannot be changed", async () => {
  call("nobody", "refused");
  let items: { id: string; outcome: string; result: string }[] = [];
  while (items.length === 0) items = (await ask("GET", "/v1/calls?aor=nobody@example.org")).body.items;
  const [{ id, ...found }] = items as [(typeof items)[0]];
  expect(found).toMatchObject({ result: "refused", outcome: "nobody is registered (480)", state: "ended" });
  const ladder = await (await fetch(`${api}/v1/calls/${id}/ladder`)).text();
  expect(ladder).toContain("nobody@example.org   nobody is registered (480)");
  expect((await ask("DELETE", `/v1/calls/${id}`)).status).toBe(409);
});
