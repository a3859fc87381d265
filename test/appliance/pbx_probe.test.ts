/** `check --live` and the PBX: real sockets that answer OPTIONS, refuse, or say nothing (O-02). */
import { afterEach, expect, test } from "bun:test";
import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { type AddressInfo, createServer, type Server } from "node:net";
import type { resolvePbx } from "../../src/appliance/pbx_names.ts";
import { probePbx } from "../../src/appliance/pbx_probe.ts";
import { loadConfig } from "../../src/config/load.ts";
import type { Config } from "../../src/config/schema.ts";

const stops: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

/** Long enough for loopback, short where nobody answers. */
const SILENCE = { answerMs: 150 };
const PATIENCE = { answerMs: 5000 };

interface FakePbx {
  port: number;
  /** Requests as they came. */
  readonly heard: string[];
  /** Source ports of them. */
  readonly from: number[];
}

/** The answer with this first line to a request. */
function answerTo(request: string, statusLine: string, more: readonly string[]): string {
  const kept = request.split("\r\n").filter((line) => /^(Via|From|To|Call-ID|CSeq):/i.test(line))
    .map((line) => /^To:/i.test(line) ? `${line};tag=pbx` : line);
  return [`SIP/2.0 ${statusLine}`, ...kept, ...more, "Content-Length: 0", "", ""].join("\r\n");
}

/** @param answers status lines, in their order; none: silence */
async function udpPbx(answers: readonly string[], more: readonly string[] = [], lost = 0): Promise<FakePbx> {
  const socket: UdpSocket = createSocket("udp4");
  const pbx: FakePbx = { port: 0, heard: [], from: [] };
  socket.on("message", (bytes, { port, address }) => {
    const request = bytes.toString("latin1");
    pbx.heard.push(request);
    pbx.from.push(port);
    if (pbx.heard.length <= lost) return;
    for (const answer of answers) socket.send(Buffer.from(answerTo(request, answer, more), "latin1"), port, address);
  });
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", () => resolve()));
  stops.push(() => new Promise<void>((resolve) => void socket.close(() => resolve())));
  pbx.port = socket.address().port;
  return pbx;
}

async function tcpPbx(statusLine: string | "hang up" | ""): Promise<FakePbx & { server: Server }> {
  const pbx: FakePbx = { port: 0, heard: [], from: [] };
  const server = createServer((socket) => {
    stops.push(() => void socket.destroy());
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      const request = bytes.toString("latin1");
      pbx.heard.push(request);
      if (statusLine === "hang up") socket.destroy();
      else if (statusLine !== "") socket.write(answerTo(request, statusLine, []));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
  stops.push(() => new Promise<void>((resolve) => void server.close(() => resolve())));
  pbx.port = (server.address() as AddressInfo).port;
  return Object.assign(pbx, { server });
}

function configOf(uris: readonly string[], listen = '"udp://127.0.0.1:5060", "tcp://127.0.0.1:5060"'): Config {
  const text = `listen: [${listen}]\npbx: { uri: [${uris.map((uri) => `"${uri}"`).join(", ")}] }\n`;
  const { config, problems } = loadConfig(text);
  expect(problems.filter(({ severity }) => severity === "error")).toEqual([]);
  return config!;
}

test("O-02 a PBX that answers is alive, whatever it answers", async () => {
  const cases: [string, string][] = [
    ["200 OK", ""],
    ["403 Forbidden", "wants to know who asks"],
    ["401 Unauthorized", "wants to know who asks"],
    ["404 Not Found", "OPTIONS without a user is not served"],
    ["503 Service Unavailable", "something is wrong with it"],
  ];
  for (const [statusLine, hint] of cases) {
    const { port } = await udpPbx(["100 Trying", statusLine], ["Server: Asterisk PBX 20.5"]);
    const [found, ...others] = await probePbx(configOf([`sip:127.0.0.1:${port}`]), PATIENCE);
    expect(others).toEqual([]);
    expect(found).toMatchObject({ part: "pbx", state: "ok" });
    expect(found!.words).toBe(`udp 127.0.0.1:${port} answered OPTIONS with ${statusLine} (Asterisk PBX 20.5)`);
    expect(found!.hint).toContain(hint);
    expect(found!.ms).toBeGreaterThan(0);
  }
});

test("O-02 the OPTIONS leaves from a free port, and its Via says so", async () => {
  const { port, heard, from } = await udpPbx(["200 OK"]);
  await probePbx({ ...configOf([`sip:127.0.0.1:${port}`]), advertise: "sip.example.org:5060" }, PATIENCE);
  expect(heard.length).toBe(1);
  expect(heard[0]).toStartWith(
    `OPTIONS sip:127.0.0.1:${port} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:${from[0]};branch=`,
  );
  expect(from[0]).not.toBe(5060);
});

test("O-02 over TCP too, and a lost datagram is sent again", async () => {
  const tcp = await tcpPbx("200 OK");
  const lossy = await udpPbx(["200 OK"], [], 1);
  const uris = [`sip:127.0.0.1:${tcp.port};transport=tcp`, `sip:127.0.0.1:${lossy.port}`];
  const found = await probePbx(configOf(uris), PATIENCE);
  expect(found.map(({ state, words }) => [state, words])).toEqual([
    ["ok", `tcp 127.0.0.1:${tcp.port} answered OPTIONS with 200 OK`],
    ["ok", `udp 127.0.0.1:${lossy.port} answered OPTIONS with 200 OK`],
  ]);
  expect([tcp.heard.length, lossy.heard.length]).toEqual([1, 2]);
});

test("O-02 a PBX that says nothing is given up with what to look at", async () => {
  const silent = await udpPbx([]);
  const mute = await tcpPbx("");
  const found = await probePbx(
    configOf([`sip:127.0.0.1:${silent.port}`, `sip:127.0.0.1:${mute.port};transport=tcp`]),
    SILENCE,
  );
  expect(found.map(({ state }) => state)).toEqual(["failed", "failed"]);
  expect(found[0]!.words).toBe(`udp 127.0.0.1:${silent.port} did not answer OPTIONS within 0.15 s`);
  expect(found[0]!.hint).toContain(`does it listen on udp ${silent.port}`);
  expect(found[1]!.hint).toContain(`tcpdump -ni any tcp port ${mute.port}`);
});

test("O-02 a PBX that refuses or hangs up says so at once", async () => {
  const closed = await tcpPbx("200 OK");
  await new Promise<void>((resolve) => void closed.server.close(() => resolve()));
  const rude = await tcpPbx("hang up");
  const uris = [closed.port, rude.port].map((port) => `sip:127.0.0.1:${port};transport=tcp`);
  const found = await probePbx(configOf(uris), { answerMs: 60_000 });
  expect(found.map(({ state }) => state)).toEqual(["failed", "failed"]);
  expect(found[0]!.words).toBe(`tcp 127.0.0.1:${closed.port} cannot be reached: refused`);
  expect(found[0]!.hint).toContain("nothing listens there: is the PBX running, and tcp switched on in it?");
  expect(found[1]!.words).toStartWith(`tcp 127.0.0.1:${rude.port} cannot be reached: `);
});

test("O-02 names are looked up, and each address of them asked", async () => {
  const { port } = await udpPbx(["200 OK"]);
  const found = await probePbx(configOf([`sip:localhost:${port}`]), PATIENCE);
  expect(found[0]).toMatchObject({ part: "dns", state: "ok", hint: "" });
  expect(found[0]!.words).toMatch(/^localhost → .*127\.0\.0\.1/);
  expect(found.find(({ words }) => words.startsWith("udp 127.0.0.1"))!.state).toBe("ok");
});

test("O-02 of a name with several addresses those no listener leads to are passed over", async () => {
  const { port } = await udpPbx(["200 OK"]);
  const resolve: typeof resolvePbx = ({ uri: [first] }) => {
    const { uri, transport } = first!;
    const at = (address: string) => ({ uri, transport, address, port });
    return Promise.resolve({ addresses: [at("127.0.0.1"), at("::1")], problems: [] });
  };
  const found = await probePbx(configOf([`sip:pbx.example.org:${port}`]), { ...PATIENCE, resolve });
  expect(found.map(({ part, state }) => [part, state])).toEqual([["dns", "ok"], ["pbx", "ok"], ["pbx", "warning"]]);
  expect(found[0]!.words).toBe("pbx.example.org → 127.0.0.1, ::1");
  expect(found[2]!.words).toBe(`udp [::1]:${port} is out of reach`);
});

test("O-02 a DNS that says nothing is given up", async () => {
  const resolve: typeof resolvePbx = () => new Promise(() => {});
  const found = await probePbx(configOf(["sip:pbx.example.org"]), { ...PATIENCE, dnsMs: 20, resolve });
  expect(found.map(({ part, state }) => [part, state])).toEqual([["dns", "failed"]]);
  expect(found[0]!.words).toBe("no answer about pbx.example.org (pbx.uri sip:pbx.example.org) within 0.02 s");
});

test("O-02 a name that is none fails, and its like is asked no further", async () => {
  const found = await probePbx(configOf(["sip:no-such-name.invalid:5060"]), PATIENCE);
  expect(found.map(({ part, state }) => [part, state])).toEqual([["dns", "failed"]]);
  expect(found[0]!.words).toContain("no-such-name.invalid");
  expect(found[0]!.hint).toContain("getent ahosts no-such-name.invalid");
});

test("O-02 a PBX that no listener leads to says what is missing", async () => {
  const cases: [uri: string, listen: string, place: string, hint: string][] = [
    ["sip:127.0.0.1:5999;transport=tcp", "udp://127.0.0.1:5060", "tcp 127.0.0.1:5999", "listen has no tcp:// entry"],
    ["sip:[2001:db8::1]", "udp://127.0.0.1:5060", "udp [2001:db8::1]:5060", "listen has no IPv6 address for udp"],
    ["sip:192.0.2.1", "udp://127.0.0.1:5060", "udp 192.0.2.1:5060", "no way leads there from 127.0.0.1 (listen)"],
  ];
  for (const [uri, listen, place, hint] of cases) {
    const [found] = await probePbx(configOf([uri], `"${listen}"`), PATIENCE);
    expect(found).toMatchObject({ part: "pbx", state: "failed", words: `${place} is out of reach`, ms: null });
    expect(found!.hint).toStartWith(hint);
  }
});

test("O-02 what is no SIP, or nobody's answer, is no answer; control characters do not reach the terminal", async () => {
  const rubbish = createSocket("udp4");
  rubbish.on("message", (_, { port, address }) => {
    rubbish.send("SIP/2.0 200 OK\r\nnonsense\r\n\r\n", port, address);
    rubbish.send(Buffer.from([0, 255, 13, 10]), port, address);
  });
  await new Promise<void>((resolve) => rubbish.bind(0, "127.0.0.1", () => resolve()));
  stops.push(() => new Promise<void>((resolve) => void rubbish.close(() => resolve())));
  const odd = await udpPbx(["200 \u001b[31mred"], [`Server: \u001b[2J${"x".repeat(200)}`]);
  const found = await probePbx(
    configOf([`sip:127.0.0.1:${rubbish.address().port}`, `sip:127.0.0.1:${odd.port}`]),
    { answerMs: 400 },
  );
  expect(found.map(({ state }) => state)).toEqual(["failed", "ok"]);
  // deno-lint-ignore no-control-regex
  expect(found[1]!.words).not.toMatch(/[\u0000-\u001f]/);
  expect(found[1]!.words.length).toBeLessThan(200);
});

test("O-02 without a PBX nobody is asked", async () => {
  expect(await probePbx(loadConfig("").config!, PATIENCE)).toEqual([]);
});
