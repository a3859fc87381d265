import { expect, test } from "bun:test";
import { CertificateAuthority } from "../../../src/demo/certificate.ts";
import type { StreamFlow } from "../../../src/io/transport/connections.ts";
import { ALL_BYTES, request, response, Rig, TcpPeer } from "./rig.ts";
import { ACCEPT, frame, type Headers, served, upgrade, upgradeRequest, webPeer } from "./web_peer.ts";

const LISTEN = ["ws://127.0.0.1/sip"];
const [CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG] = [0, 1, 2, 8, 9, 10] as const;
const authority = new CertificateAuthority();

/** Status line of the answer to what a client sends first; the connection must end with it. */
async function answerTo(rig: Rig, first: string): Promise<string> {
  using peer = await TcpPeer.connect(rig.listener.port);
  peer.write(first);
  await peer.ended;
  return peer.text;
}

test("T-01 WSS: every byte survives both ways, text and binary, the answer takes the connection of the request", async () => {
  const tls = { pairs: [{ ...authority.issue({ addresses: ["127.0.0.1"] }), names: [] }], clientCa: "" };
  using rig = await Rig.start(["wss://127.0.0.1/sip"], { tls });
  rig.onMessage = (flow, text) => void rig.transports.send(flow, response("1", text));
  using peer = await TcpPeer.secure(rig.listener.port, { ca: authority.cert });
  await upgrade(peer);
  for (const [opcode, body] of [[TEXT, "Grüße"], [BINARY, ALL_BYTES]] as const) {
    const wire = request("1", opcode === TEXT ? Buffer.from(body).toString("latin1") : body);
    peer.write(frame(opcode, wire));
    const { flow, text } = await rig.messages.next();
    expect(text).toBe(wire);
    expect(flow).toMatchObject({ transport: "wss", isReliable: true, state: "open", remoteAddress: "127.0.0.1" });
    const answer = served(opcode, response("1", wire));
    expect(await peer.readUntil(answer.length)).toBe(answer);
    peer.text = "";
  }
  expect(rig.transports.flowSamples()).toContainEqual([["wss", "open"], 1]);
  expect(rig.transports.messageSamples()).toContainEqual([["in", "wss", "request"], 2]);
});

test("T-01 a client that is not ours is let in and told the subprotocol, and talks both ways", async () => {
  using rig = await Rig.start(LISTEN);
  rig.onMessage = (flow, text) => void rig.transports.send(flow, response("1", text));
  const socket = new WebSocket(`ws://127.0.0.1:${rig.listener.port}/sip`, ["other", "sip"]);
  await new Promise((resolve) => socket.onopen = resolve);
  expect(socket.protocol).toBe("sip");
  const large = request("1", "x".repeat(60_000));
  const answer = new Promise((resolve) => socket.onmessage = ({ data }) => resolve(data));
  socket.send(large);
  expect(await answer).toBe(response("1", large));
  const closed = new Promise<CloseEvent>((resolve) => socket.onclose = resolve);
  socket.close(1000);
  expect((await closed).code).toBe(1000);
  expect((await rig.closed.next()).reason).toBe("Closed by its peer");
});

test("T-01 RFC 7118: the upgrade is answered with what its key asks for, and frames may follow at once", async () => {
  using rig = await Rig.start(LISTEN);
  using peer = await TcpPeer.connect(rig.listener.port);
  peer.write(upgradeRequest("/sip?x=1") + frame(TEXT, request("1")));
  expect((await rig.messages.next()).text).toBe(request("1"));
  await peer.readUntil(1);
  expect(peer.text).toBe(
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
      `Sec-WebSocket-Accept: ${ACCEPT}\r\nSec-WebSocket-Protocol: sip\r\n\r\n`,
  );
});

test("T-01 T-11 requests that are no upgrade to sip get a web answer that says why, and an end", async () => {
  using rig = await Rig.start(LISTEN, { allowsOrigin: (origin) => origin === "https://phone.example.org" });
  const cases: [path: string, headers: Headers, method: string, status: string, words: string][] = [
    ["/sip", { Upgrade: undefined }, "GET", "200 OK", "SIP over WebSocket"],
    ["/sip", { Upgrade: undefined }, "HEAD", "200 OK", ""],
    ["/", {}, "GET", "404 Not Found", "nothing here"],
    ["/v1/calls", { Upgrade: undefined }, "GET", "404 Not Found", "nothing here"],
    ["/sip", {}, "POST", "405 Method Not Allowed", "Only GET"],
    ["/sip", { "Sec-WebSocket-Protocol": undefined }, "GET", "400 Bad Request", "subprotocol"],
    ["/sip", { "Sec-WebSocket-Protocol": "xmpp, sips" }, "GET", "400 Bad Request", "subprotocol"],
    ["/sip", { "Sec-WebSocket-Version": "8" }, "GET", "426 Upgrade Required", "version 13"],
    ["/sip", { "Sec-WebSocket-Key": "short" }, "GET", "400 Bad Request", "Sec-WebSocket-Key"],
    ["/sip", { Origin: "https://evil.example" }, "GET", "403 Forbidden", "web.allow_origins"],
    ["/sip", { "Bad Name": "x" }, "GET", "400 Bad Request", "header line"],
  ];
  for (const [path, headers, method, status, words] of cases) {
    const text = await answerTo(rig, upgradeRequest(path, headers, method));
    expect(text).toStartWith(`HTTP/1.1 ${status}\r\n`);
    expect(text).toContain(words);
  }
  expect(await answerTo(rig, "GET sip SIP/2.0\r\n\r\n")).toStartWith("HTTP/1.1 400 ");
  expect(await answerTo(rig, "GET /sip HTTP/1.1\r\n" + "X: y\r\n".repeat(2000))).toStartWith("HTTP/1.1 431 ");
  using allowed = await webPeer(rig.listener.port, { Origin: "https://phone.example.org" });
  allowed.write(frame(TEXT, request("1")));
  expect((await rig.messages.next()).text).toBe(request("1"));
});

test("T-02 fragments, pings between them, and a connection torn into bytes give the messages", async () => {
  using rig = await Rig.start(LISTEN);
  using peer = await webPeer(rig.listener.port);
  const wire = request("1", "body");
  const inFragments = frame(TEXT, wire.slice(0, 9), TEXT) + frame(PING, "are you there?") +
    frame(CONTINUATION, "", CONTINUATION) + frame(CONTINUATION, wire.slice(9, 20), CONTINUATION) +
    frame(CONTINUATION, wire.slice(20));
  peer.write(inFragments);
  expect((await rig.messages.next()).text).toBe(wire);
  const pong = served(PONG, "are you there?");
  expect(await peer.readUntil(pong.length)).toBe(pong);
  for (const byte of inFragments + frame(TEXT, request("2", "x".repeat(200)))) peer.write(byte);
  expect((await rig.messages.take(2)).map(({ text }) => text)).toEqual([wire, request("2", "x".repeat(200))]);
});

test("T-02 a CRLF ping in a frame is answered with CRLF, a single CRLF is silent, a message may follow line ends", async () => {
  using rig = await Rig.start(LISTEN);
  using peer = await webPeer(rig.listener.port);
  peer.write(frame(TEXT, "\r\n") + frame(TEXT, "") + frame(TEXT, "\r\n\r\n") + frame(TEXT, "\r\n" + request("1")));
  expect((await rig.messages.next()).text).toBe(request("1"));
  expect(await peer.readUntil(4)).toBe(served(TEXT, "\r\n"));
  expect(rig.transports.messageSamples()).toContainEqual([["in", "ws", "keepalive"], 1]);
});

test("T-02 a silent WebSocket is pinged; who answers stays, who does not is gone", async () => {
  using rig = await Rig.start(LISTEN);
  using alive = await webPeer(rig.listener.port);
  using dead = await webPeer(rig.listener.port);
  for (const peer of [alive, dead]) peer.write(frame(TEXT, request("1")));
  const flows = (await rig.messages.take(2)).map(({ flow }) => flow);
  const flowOf = (peer: TcpPeer) => flows.find((flow) => flow.remotePort === peer.localPort)!;
  const pass = (ms: number) => {
    rig.nowMs += ms;
    rig.transports.tick(rig.nowMs);
    rig.transports.flush();
  };
  pass(49_000);
  expect(alive.text).toBe("");
  pass(1000);
  const ping = served(PING, "");
  expect([await alive.readUntil(2), await dead.readUntil(2)]).toEqual([ping, ping]);
  alive.write(frame(PONG, "") + frame(TEXT, request("2")));
  await rig.messages.next();
  pass(50_000);
  expect(await rig.closed.next()).toEqual({ flow: flowOf(dead), reason: "No answer to a ping" });
  expect(flowOf(alive).state).toBe("open");
});

test("T-02 what RFC 6455 does not allow ends the connection with its close code, and disturbs no other", async () => {
  const masked = frame(TEXT, request("1"));
  const cases: [bytes: string, code: number, reason: string][] = [
    ["\x81\x05hello" + "x".repeat(20), 1002, "Frame is not masked"],
    [frame(TEXT, "compressed", 0xc1), 1002, "Frame has reserved bits: no extension was agreed on"],
    [frame(3, ""), 1002, "Unknown frame type 3"],
    [frame(11, ""), 1002, "Unknown frame type 11"],
    [frame(PING, "", PING), 1002, "Control frame is too large"],
    [frame(PING, "x".repeat(126)), 1002, "Control frame is too large"],
    [frame(CONTINUATION, "x"), 1002, "Fragment without a beginning"],
    [frame(TEXT, "a", TEXT) + frame(TEXT, "b"), 1002, "Message begins within another"],
    [frame(TEXT, "x".repeat(2001)), 1009, "Message too large"],
    ["\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x01\x02\x03\x04", 1009, "Message too large"],
    [frame(TEXT, "x".repeat(1500), TEXT) + frame(CONTINUATION, "x".repeat(1500)), 1009, "Message too large"],
  ];
  using rig = await Rig.start(LISTEN, { limits: { maxMessageBytes: 2000 } });
  using good = await webPeer(rig.listener.port);
  for (const [bytes, code, reason] of cases) {
    using bad = await webPeer(rig.listener.port);
    bad.write(bytes + masked);
    expect((await rig.closed.next()).reason).toBe(`Malformed stream: ${reason}`);
    await bad.ended;
    expect(bad.text).toBe(
      served(CLOSE, String.fromCharCode(code >> 8, code & 255) + `Malformed stream: ${reason}`),
    );
  }
  expect(rig.messages.all).toEqual([]);
  good.write(masked);
  expect((await rig.messages.next()).text).toBe(request("1"));
});

test("T-02 a close frame is answered with its code, and the connection ends", async () => {
  using rig = await Rig.start(LISTEN);
  using peer = await webPeer(rig.listener.port);
  peer.write(frame(TEXT, request("1")) + frame(CLOSE, "\x03\xe9going") + frame(TEXT, request("2")));
  const { flow } = await rig.messages.next();
  expect(await rig.closed.next()).toEqual({ flow, reason: "Closed by its peer" });
  await peer.ended;
  expect(peer.text).toBe(served(CLOSE, "\x03\xe9"));
  expect(rig.messages.all.length).toBe(1);
});

test("T-02 stop tells WebSockets that we go away", async () => {
  using rig = await Rig.start(LISTEN);
  using peer = await webPeer(rig.listener.port);
  peer.write(frame(TEXT, request("1")));
  await rig.messages.next();
  rig.transports.stop();
  await peer.ended;
  expect(peer.text).toBe(served(CLOSE, "\x03\xe9"));
});

test("T-04 a page that does not read loses its connection, never the box's memory", async () => {
  using rig = await Rig.start(LISTEN, { limits: { maxQueuedBytes: 300_000 } });
  using peer = await webPeer(rig.listener.port);
  peer.write(frame(TEXT, request("1")));
  const flow = (await rig.messages.next()).flow as StreamFlow;
  peer.stopReading();
  peer.write(frame(PING, "x").repeat(1000));
  for (let count = 0; count < 500 && flow.state === "open"; count++) rig.send(flow, response("1", "x".repeat(60_000)));
  expect(await rig.closed.next()).toEqual({ flow, reason: "Its peer does not read" });
});

test("X-01 X-06 who is refused by what a web server says of him takes his half frame out of the count once", async () => {
  const banned = "192.0.2.7";
  const options = { isProxy: (address: string) => address === "127.0.1.1", isRefused: (a: string) => a === banned };
  using rig = await Rig.start(LISTEN, { ...options, limits: { maxUnfinishedBytes: 20_000 } });
  const half = frame(TEXT, "x".repeat(12_000)).slice(0, -1);
  for (let n = 0; n < 3; n++) {
    using peer = await TcpPeer.connect(rig.listener.port, "127.0.0.1", "127.0.1.1");
    peer.write(upgradeRequest("/sip", { "X-Forwarded-For": banned }) + half);
    expect((await rig.closed.next()).reason).toBe("Its source gets no connection");
  }
  using first = await webPeer(rig.listener.port);
  using second = await webPeer(rig.listener.port);
  first.write(half);
  second.write(half);
  expect((await rig.closed.next()).reason).toBe("Too much of unfinished messages");
});

test("X-01 who connects and sends no whole request is closed in time, and half a frame counts as unfinished", async () => {
  using rig = await Rig.start(LISTEN, { limits: { maxUnfinishedBytes: 30_000 } });
  using silent = await TcpPeer.connect(rig.listener.port);
  using half = await TcpPeer.connect(rig.listener.port);
  half.write("GET /sip HTTP/1.1\r\nHost:");
  using upgraded = await webPeer(rig.listener.port);
  rig.nowMs += 32_000;
  rig.transports.tick(rig.nowMs);
  await Promise.all([silent.ended, half.ended, upgraded.ended]);
  await rig.closed.take(3);
  using large = await webPeer(rig.listener.port);
  large.write(frame(TEXT, "x".repeat(60_000)).slice(0, 40_000));
  expect((await rig.closed.next()).reason).toBe("Too much of unfinished messages");
});

test("X-06 random bytes after the upgrade end connections and nothing else", async () => {
  using rig = await Rig.start(LISTEN);
  for (let seed = 1; seed <= 60; seed++) {
    using bad = await webPeer(rig.listener.port);
    let state = seed * 2654435761;
    let bytes = "";
    for (let at = 0; at < 3000; at++) {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      bytes += String.fromCharCode(state >>> 24);
    }
    bad.write(bytes);
  }
  using good = await webPeer(rig.listener.port);
  good.write(frame(TEXT, request("good")));
  while (!rig.messages.all.some(({ text }) => text === request("good"))) await rig.messages.next();
});

test("X-01 behind a proxy the address in X-Forwarded-For is the source, and of nobody else is it believed", async () => {
  using rig = await Rig.start(LISTEN, {
    isProxy: (address) => address.startsWith("127.0.1."),
    isRefused: (address) => address === "198.51.100.9",
    limits: { maxConnectionsPerSource: 1 },
    isExempt: (address) => address.startsWith("127.0.1."),
  });
  const cases: [from: string, header: string | undefined, source: string][] = [
    ["127.0.1.1", "192.0.2.1", "192.0.2.1"],
    ["127.0.1.1", "10.9.9.9, 192.0.2.2, 127.0.1.2", "192.0.2.2"],
    ["127.0.1.1", "192.0.2.3:4711", "192.0.2.3"],
    ["127.0.1.1", "[2001:db8::1]:4711", "2001:db8::1"],
    ["127.0.1.1", "unknown", "127.0.1.1"],
    ["127.0.1.1", undefined, "127.0.1.1"],
    ["127.0.0.1", "192.0.2.4", "127.0.0.1"],
  ];
  for (const [from, header, source] of cases) {
    using peer = await webPeer(rig.listener.port, { "X-Forwarded-For": header }, from);
    peer.write(frame(TEXT, request("1")));
    expect([header, (await rig.messages.next()).flow.remoteAddress]).toEqual([header, source]);
    peer.reset();
    await rig.closed.next();
  }
  using first = await webPeer(rig.listener.port, { "X-Forwarded-For": "192.0.2.1" }, "127.0.1.1");
  for (const refused of ["192.0.2.1", "198.51.100.9"]) {
    const second = webPeer(rig.listener.port, { "X-Forwarded-For": refused }, "127.0.1.1");
    second.catch(() => {});
    expect((await rig.closed.next()).reason).toBe("Its source gets no connection");
  }
  first.write(frame(TEXT, request("2")));
  expect((await rig.messages.next()).flow.remoteAddress).toBe("192.0.2.1");
});
