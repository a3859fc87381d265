import { afterAll, expect, test } from "bun:test";
import { connect as nodeConnect } from "node:tls";
import { CertificateAuthority, type CertificateOptions } from "../../../src/demo/certificate.ts";
import type { StreamFlow } from "../../../src/io/transport/connections.ts";
import type { TransportContext } from "../../../src/io/transport/sink.ts";
import { TlsServer, type TlsSettings } from "../../../src/io/transport/tls.ts";
import type { TransportsOptions } from "../../../src/io/transport/transports.ts";
import { ALL_BYTES, request, response, Rig, TcpPeer } from "./rig.ts";

const LISTEN = ["tls://127.0.0.1"];
const DAY_MS = 86_400_000;
const authority = new CertificateAuthority();
const stranger = new CertificateAuthority("A CA nobody knows");

function pair(names: string[], options: CertificateOptions = {}, by = authority) {
  return { ...by.issue({ names, addresses: ["127.0.0.1"], ...options }), names };
}

const usual = pair(["sip.example.org"]);
const settings: TlsSettings = { pairs: [usual], clientCa: "" };

function start(options: Partial<TransportsOptions> = {}, listen = LISTEN): Promise<Rig> {
  return Rig.start(listen, { tls: settings, ...options });
}

/** A phone that believes our CA. */
function phone(port: number, tls: Bun.TLSOptions = {}, localAddress = "127.0.0.1"): Promise<TcpPeer> {
  return TcpPeer.secure(port, { ca: authority.cert, ...tls }, localAddress);
}

/** A TLS server that is not ours. */
function server(certificate = pair(["pbx.example.org"])) {
  const accepted = new TcpPeer();
  const { cert, key } = certificate;
  const listening = Bun.listen({ hostname: "127.0.0.1", port: 0, tls: { cert, key }, socket: accepted.handler() });
  return { peer: accepted, port: listening.port, [Symbol.dispose]: () => listening.stop(true) };
}

const opened: Disposable[] = [];
afterAll(() => opened.forEach((peer) => peer[Symbol.dispose]()));

test("T-01 every byte survives TLS both ways, the answer takes the connection of the request", async () => {
  using rig = await start();
  using peer = await phone(rig.listener.port);
  rig.onMessage = (flow, text) => void rig.transports.send(flow, response("1", text));
  const wire = request("1", ALL_BYTES.repeat(100));
  peer.write(wire);
  const { flow, text } = await rig.messages.next();
  expect(text).toBe(wire);
  const answer = response("1", wire);
  expect(await peer.readUntil(answer.length)).toBe(answer);
  expect(flow).toMatchObject({
    transport: "tls",
    isReliable: true,
    state: "open",
    remoteAddress: "127.0.0.1",
    remotePort: peer.localPort,
    lastHeardMs: 1000,
    key: `tls|127.0.0.1:${rig.listener.port}|127.0.0.1:${peer.localPort}`,
  });
  expect(flow.listener).toBe(rig.listener);
  expect(rig.listener.transport).toBe("tls");
  expect(rig.transports.flowSamples()).toContainEqual([["tls", "open"], 1]);
  expect(rig.transports.messageSamples()).toContainEqual([["in", "tls", "request"], 1]);
  expect(rig.transports.counts.handshakes).toBe(1);
});

test("T-02 a stream of TLS torn into bytes gives its messages, and a ping is answered", async () => {
  using rig = await start();
  using peer = await phone(rig.listener.port);
  for (const byte of request("torn", "body")) peer.write(byte);
  peer.write("\r\n\r\n" + request("a") + request("b"));
  expect((await rig.messages.take(3)).map(({ text }) => text)).toEqual([
    request("torn", "body"),
    request("a"),
    request("b"),
  ]);
  expect(await peer.readUntil(2)).toBe("\r\n");
});

test("T-02 the end of a TLS connection, and its reset, close its flow in the same turn", async () => {
  for (const how of ["end", "reset"] as const) {
    using rig = await start();
    using peer = await phone(rig.listener.port);
    peer.write(request("1"));
    const { flow } = await rig.messages.next();
    peer[how]();
    expect((await rig.closed.next()).flow).toBe(flow);
    expect(flow.state).toBe("closed");
    expect(rig.transports.send(flow, response("1"))).toBe(false);
    expect(rig.transports.flowSamples()).toContainEqual([["tls", "open"], 0]);
  }
});

test("T-04 a phone that does not read its TLS connection loses it, never the box's memory", async () => {
  using rig = await start({ limits: { maxQueuedBytes: 300_000 } });
  using peer = await phone(rig.listener.port);
  peer.write(request("1"));
  const { flow } = await rig.messages.next();
  peer.stopReading();
  for (let count = 0; count < 500 && flow.state === "open"; count++) rig.send(flow, response("1", "x".repeat(60_000)));
  expect(await rig.closed.next()).toEqual({ flow, reason: "Its peer does not read" });
  expect(rig.transports.counts.slowReaders).toBe(1);
});

test("T-04 what a slow reader of TLS was sent arrives whole and in order when it reads again", async () => {
  using rig = await start({ limits: { maxQueuedBytes: 8_000_000 } });
  using peer = await phone(rig.listener.port);
  peer.write(request("1"));
  const flow = (await rig.messages.next()).flow as StreamFlow;
  peer.stopReading();
  let sent = "";
  for (let count = 0; flow.queuedBytes < 200_000 && count < 1000; count++) {
    const wire = response(String(count), String(count % 10).repeat(60_000));
    expect(rig.send(flow, wire)).toBe(true);
    sent += wire;
  }
  expect(flow.queuedBytes).toBeGreaterThan(0);
  peer.readAgain();
  expect((await peer.readUntil(sent.length)) === sent).toBe(true);
});

test("T-06 each name gets its certificate, a star stands for one label, and who asks for another gets the first", async () => {
  const star = pair(["*.phones.example.org"]);
  using rig = await start({ tls: { pairs: [usual, pair(["other.example.org"]), star], clientCa: "" } });
  const cases: [asked: string, shown: string][] = [
    ["sip.example.org", "sip.example.org"],
    ["other.example.org", "other.example.org"],
    ["OTHER.example.org", "other.example.org"],
    ["a.phones.example.org", "*.phones.example.org"],
    ["a.b.phones.example.org", "sip.example.org"],
    ["unknown.example.org", "sip.example.org"],
    ["", "sip.example.org"],
  ];
  for (const [asked, shown] of cases) {
    using peer = await phone(rig.listener.port, { serverName: asked, rejectUnauthorized: false });
    expect([asked, peer.certificate.subject.CN]).toEqual([asked, shown]);
  }
});

test("T-06 TLS 1.2 and 1.3 are spoken, 1.1 is refused and said so", async () => {
  using rig = await start();
  const versions: [most: "TLSv1.1" | "TLSv1.2" | "TLSv1.3", spoken: string | null][] = [
    ["TLSv1.2", "TLSv1.2"],
    ["TLSv1.3", "TLSv1.3"],
    ["TLSv1.1", null],
  ];
  for (const [maxVersion, expected] of versions) {
    const spoken = await new Promise<string | null>((resolve) => {
      const socket = nodeConnect({
        port: rig.listener.port,
        host: "127.0.0.1",
        ca: authority.cert,
        minVersion: "TLSv1",
        maxVersion,
      }, () => {
        resolve(socket.getProtocol());
        socket.destroy();
      });
      socket.on("error", () => resolve(null));
    });
    expect([maxVersion, spoken]).toEqual([maxVersion, expected]);
  }
  while (rig.transports.counts.failedHandshakes === 0) await rig.closed.next();
  expect(rig.reasons.join()).toContain("it speaks no TLS above 1.1");
});

test("T-06 new certificates count for the next handshake, and connections that are there stay", async () => {
  using rig = await start();
  using before = await phone(rig.listener.port);
  before.write(request("1"));
  const { flow } = await rig.messages.next();
  rig.transports.setTls({ pairs: [pair(["new.example.org"])], clientCa: "" });
  using after = await phone(rig.listener.port);
  expect([before.certificate.subject.CN, after.certificate.subject.CN]).toEqual(["sip.example.org", "new.example.org"]);
  before.write(request("2"));
  expect(await rig.messages.next()).toEqual({ flow, text: request("2") });
  after.write(request("3"));
  expect((await rig.messages.next()).text).toBe(request("3"));
});

test("T-06 certificates that cannot be used are refused in words, and the old ones stay", async () => {
  using rig = await start();
  const cases: [pairs: TlsSettings["pairs"], message: RegExp][] = [
    [[], /there is no certificate/],
    [[{ cert: "garbage", key: usual.key, names: [] }], /./],
    [[{ cert: usual.cert, key: pair(["x.example.org"]).key, names: [] }], /./],
  ];
  for (const [pairs, message] of cases) {
    expect(() => rig.transports.setTls({ pairs, clientCa: "" })).toThrow(message);
    using peer = await phone(rig.listener.port);
    expect(peer.certificate.subject.CN).toBe("sip.example.org");
  }
});

test("T-06 with a CA for clients only phones with a certificate of it come in", async () => {
  using rig = await start({ tls: { pairs: [usual], clientCa: authority.cert } });
  const good = pair(["phone"]);
  using peer = await phone(rig.listener.port, { cert: good.cert, key: good.key });
  peer.write(request("1"));
  expect((await rig.messages.next()).text).toBe(request("1"));
  const strange = pair(["phone"], {}, stranger);
  const expired = pair(["phone"], { validFromMs: Date.now() - 3 * DAY_MS, validToMs: Date.now() - DAY_MS });
  const cases: [tls: Bun.TLSOptions, reason: string][] = [
    [{}, "it shows no certificate, and tls.client_ca_file asks for one"],
    [{ cert: strange.cert, key: strange.key }, "its certificate is of no CA in tls.client_ca_file"],
    [{ cert: expired.cert, key: expired.key }, "its certificate has expired"],
  ];
  for (const [tls, reason] of cases) {
    const attempt = phone(rig.listener.port, tls).then((refused) => {
      opened.push(refused);
      refused.write(request("2"));
      return refused.ended;
    }, () => {});
    expect((await rig.closed.next()).reason).toBe(`TLS handshake failed: ${reason}`);
    await attempt;
  }
  expect(rig.messages.all.length).toBe(1);
});

test("T-01 the PBX is called by TLS under its name, from the listener's address, and the connection is used again", async () => {
  using remote = server();
  using rig = await start({ tlsPeer: () => ({ name: "pbx.example.org", ca: authority.cert }) }, ["tls://127.0.0.4"]);
  const flow = rig.transports.flowTo("tls", "127.0.0.1", remote.port)!;
  expect([flow.transport, flow.state]).toEqual(["tls", "connecting"]);
  rig.send(flow, request("1"));
  expect(rig.transports.flowTo("tls", "127.0.0.1", remote.port)).toBe(flow);
  expect(await remote.peer.readUntil(request("1").length)).toBe(request("1"));
  expect(flow.state).toBe("open");
  remote.peer.write(response("1"));
  expect(await rig.messages.next()).toEqual({ flow, text: response("1") });
  expect(remote.peer.remoteAddress).toBe("127.0.0.4");
});

test("T-06 a PBX whose certificate is not to be believed is not spoken to, and the log says what to do", async () => {
  const expired = { validFromMs: Date.now() - 3 * DAY_MS, validToMs: Date.now() - DAY_MS };
  const cases: [certificate: ReturnType<typeof pair>, ca: string, reason: string][] = [
    [
      pair(["other.example.org"]),
      authority.cert,
      "its certificate is not for pbx.example.org, the name in pbx.uri",
    ],
    [pair(["pbx.example.org"], expired), authority.cert, "its certificate has expired"],
    [pair(["pbx.example.org"]), stranger.cert, "its certificate is of no CA in pbx.ca_file"],
    [pair(["pbx.example.org"]), "", "its certificate is of no well-known CA: name its CA in pbx.ca_file"],
  ];
  for (const [certificate, ca, reason] of cases) {
    using remote = server(certificate);
    using rig = await start({ tlsPeer: () => ({ name: "pbx.example.org", ca }) });
    const flow = rig.transports.flowTo("tls", "127.0.0.1", remote.port)!;
    rig.send(flow, request("1"));
    expect(await rig.closed.next()).toEqual({ flow, reason: `TLS handshake failed: ${reason}` });
    expect(rig.logged).toEqual(["warn TLS handshake failed"]);
    expect(remote.peer.text).toBe("");
  }
});

test("T-03 nobody but the PBX is called by TLS, and nobody at all by WebSocket", async () => {
  using rig = await start({}, [...LISTEN, "ws://127.0.0.1/sip"]);
  for (const transport of ["tls", "ws", "wss"] as const) {
    expect(rig.transports.flowTo(transport, "127.0.0.1", 5061)).toBe(null);
  }
});

test("X-06 garbage, plain SIP and a web request on the TLS port end their connection, and disturb no other", async () => {
  using rig = await start();
  using good = await phone(rig.listener.port);
  const noTls = "TLS handshake failed: what came is no TLS; is it a phone that is set to TCP?";
  const cases: [bytes: string, reason: RegExp | string][] = [
    [request("1"), noTls],
    ["\r\n\r\n", noTls],
    ["GET / HTTP/1.1\r\n\r\n", noTls],
    ["\x00".repeat(100), noTls],
    // Looks like a handshake, and is none.
    ["\x16\x03\x01\x00\x05hello", /^TLS handshake failed: /],
    ["\x16".repeat(2000), /^TLS handshake failed: /],
    ["\x16\x03\x01\x40\x00" + "\x01\x00\x3f\xfc" + "\xff".repeat(16_380), /^TLS handshake failed: /],
    ["\x16".repeat(20_000), /^TLS handshake failed: /],
  ];
  for (const [bytes, reason] of cases) {
    using bad = await TcpPeer.connect(rig.listener.port);
    bad.write(bytes);
    await bad.ended;
    expect((await rig.closed.next()).reason).toMatch(reason);
  }
  expect(rig.transports.counts.failedHandshakes).toBe(cases.length);
  expect(rig.messages.all).toEqual([]);
  good.write(request("2"));
  expect((await rig.messages.next()).text).toBe(request("2"));
});

test("X-06 a peer that goes away within its handshake is counted, and what it held is free", async () => {
  using rig = await start();
  for (const first of ["", "\x16\x03\x01\x02\x00\x01"]) {
    const peer = await TcpPeer.connect(rig.listener.port);
    peer.write(first);
    peer.end();
    expect((await rig.closed.next()).reason).toMatch(/^(Closed by its peer|TLS handshake failed)/);
  }
  expect(rig.transports.counts.failedHandshakes).toBe(2);
  expect(rig.transports.flowSamples()).toContainEqual([["tls", "connecting"], 0]);
});

test("X-06 TLS on the TCP port is told and closed", async () => {
  using rig = await Rig.start(["tcp://127.0.0.1"]);
  const attempt = phone(rig.listener.port).then(() => "done", () => "refused");
  expect((await rig.malformed.next()).problem.reason).toBe("Not a SIP message");
  expect(await attempt).toBe("refused");
});

test("X-01 a handshake that does not end in time is closed: nothing sent, half a ClientHello, no answer to ours", async () => {
  using rig = await start({ limits: { handshakeTimeoutMs: 5000 } });
  using silent = await TcpPeer.connect(rig.listener.port);
  using half = await TcpPeer.connect(rig.listener.port);
  half.write("\x16\x03\x01\x02\x00");
  using talking = await phone(rig.listener.port);
  talking.write(request("1"));
  await rig.messages.next();
  rig.nowMs += 4999;
  rig.transports.tick(rig.nowMs);
  expect(rig.closed.all).toEqual([]);
  rig.nowMs += 1;
  rig.transports.tick(rig.nowMs);
  await Promise.all([silent.ended, half.ended]);
  const reasons = (await rig.closed.take(2)).map(({ reason }) => reason);
  expect(reasons).toEqual(["TLS handshake failed: timed out", "TLS handshake failed: timed out"]);
  talking.write(request("2"));
  expect((await rig.messages.next()).text).toBe(request("2"));
  expect(rig.transports.flowSamples()).toContainEqual([["tls", "connecting"], 0]);
});

test("N-08 who has begun and waits for its turn is not timed out: that is our time, not its own", async () => {
  using rig = await start({ onInput: () => {}, limits: { handshakeTimeoutMs: 5000 } }, [...LISTEN, "tcp://127.0.0.1"]);
  const arriving = phone(rig.listener.port);
  // What comes over TCP after it shows that the ClientHello is here.
  using after = await TcpPeer.connect(rig.transports.listeners()[1]!.port);
  after.write(request("1"));
  await rig.messages.next();
  await new Promise((resolve) => setImmediate(resolve));
  rig.nowMs += 20_000;
  rig.transports.tick(rig.nowMs);
  rig.transports.flush();
  using peer = await arriving;
  peer.write(request("2"));
  expect((await rig.messages.next()).text).toBe(request("2"));
  expect(rig.transports.counts.failedHandshakes).toBe(0);
});

test("X-01 half-open handshakes are bounded in all: who keeps us waiting makes room, and a call that is up goes on", async () => {
  using rig = await start({ limits: { maxHandshakes: 20, maxConnectionsPerSource: 1000 } });
  using calling = await phone(rig.listener.port);
  calling.write(request("1"));
  const { flow } = await rig.messages.next();
  const halfOpen: TcpPeer[] = [];
  for (let count = 0; count < 300; count++) {
    const peer = await TcpPeer.connect(rig.listener.port);
    // Some say nothing, some begin and do not go on.
    if (count % 2 === 0) peer.write("\x16\x03\x01\x02\x00\x01");
    halfOpen.push(peer);
  }
  while (rig.transports.counts.failedHandshakes < 280) await rig.closed.next();
  expect(rig.transports.flowSamples()).toContainEqual([["tls", "connecting"], 20]);
  expect(rig.closed.all.every(({ reason }) => reason.endsWith("too slow, others need the room"))).toBe(
    true,
  );
  // Whoever means it still comes in, and the call hears nothing of it.
  using late = await phone(rig.listener.port);
  late.write(request("2"));
  expect((await rig.messages.next()).text).toBe(request("2"));
  expect(rig.send(flow, response("1"))).toBe(true);
  expect(await calling.readUntil(response("1").length)).toBe(response("1"));
  for (const peer of halfOpen) peer.reset();
});

test("X-01 handshakes begin a few in a turn, in the order they came, and another turn is asked for the rest", () => {
  let turnsAsked = 0;
  const begun: number[] = [];
  const tls = new TlsServer({ onInput: () => turnsAsked++ } as unknown as TransportContext);
  for (let id = 0; id < 20; id++) tls.enqueue({ startTls: () => void begun.push(id) });
  turnsAsked = 0;
  const counts = [1, 2, 3, 4].map(() => {
    tls.flush();
    return begun.length;
  });
  expect(counts).toEqual([8, 16, 20, 20]);
  expect(begun).toEqual(Array.from({ length: 20 }, (_, id) => id));
  expect(turnsAsked).toBe(2);
});

test("N-08 phones that come back all at once all come in", async () => {
  using rig = await start({ limits: { maxConnectionsPerSource: 1000 } });
  const phones = await Promise.all(Array.from({ length: 200 }, () => phone(rig.listener.port)));
  for (const [id, peer] of phones.entries()) peer.write(request(String(id)));
  await rig.messages.take(200);
  expect(rig.transports.counts.handshakes).toBe(200);
  for (const peer of phones) peer.reset();
});

test("X-01 X-02 limits and bans of a source count for TLS before its handshake", async () => {
  using rig = await start({
    limits: { maxConnectionsPerSource: 1 },
    isRefused: (address) => address === "127.0.0.9",
  });
  using first = await phone(rig.listener.port, {}, "127.0.0.7");
  first.write(request("1"));
  await rig.messages.next();
  await expect(phone(rig.listener.port, {}, "127.0.0.7")).rejects.toThrow();
  await expect(phone(rig.listener.port, {}, "127.0.0.9")).rejects.toThrow();
  const { refusedPerSource, refusedSources, handshakes } = rig.transports.counts;
  expect({ refusedPerSource, refusedSources, handshakes }).toEqual({
    refusedPerSource: 1,
    refusedSources: 1,
    handshakes: 1,
  });
});

test("T-02 stop closes TLS connections and unfinished handshakes, and what was queued still leaves", async () => {
  using rig = await start();
  using peer = await phone(rig.listener.port);
  using half = await TcpPeer.connect(rig.listener.port);
  peer.write(request("1"));
  const { flow } = await rig.messages.next();
  rig.transports.send(flow, response("1"));
  rig.transports.stop();
  await Promise.all([peer.ended, half.ended]);
  expect(peer.text).toBe(response("1"));
  expect(rig.closed.all).toEqual([]);
});
