import { expect, test } from "bun:test";
import { hostPort } from "../../../src/core/sip/host.ts";
import type { UdpFlow } from "../../../src/io/transport/udp.ts";
import { ALL_BYTES, request, response, Rig, udpPeer } from "./rig.ts";

for (const address of ["127.0.0.1", "::1"]) {
  const listen = [`udp://${hostPort(address, 0)}`];

  test(`T-01 ${address}: every byte survives UDP both ways, over one flow`, async () => {
    using rig = await Rig.start(listen);
    using peer = await udpPeer(address);
    rig.onMessage = (flow, text) => void rig.transports.send(flow, response("1", text));
    const wire = request("1", ALL_BYTES);
    peer.send(wire, rig.listener.port, address);
    const { flow, text } = await rig.messages.next();
    expect(text).toBe(wire);
    expect((await peer.inbox.next()).text).toBe(response("1", wire));
    peer.send(request("2"), rig.listener.port, address);
    expect((await rig.messages.next()).flow).toBe(flow);
    expect(flow).toMatchObject({
      transport: "udp",
      isReliable: false,
      state: "open",
      remoteAddress: address,
      remotePort: peer.port,
      lastHeardMs: 1000,
      key: `udp|${hostPort(address, rig.listener.port)}|${hostPort(address, peer.port)}`,
    });
  });
}

test("T-05 a burst of 500 datagrams arrives whole, and so do its answers", async () => {
  using rig = await Rig.start(["udp://127.0.0.1"]);
  using peer = await udpPeer();
  rig.onMessage = (flow, text) => void rig.transports.send(flow, text);
  const burst = Array.from({ length: 500 }, (_, n) => request(String(n), "b".repeat(600)));
  peer.sendMany(burst, rig.listener.port, "127.0.0.1");
  expect((await rig.messages.take(500)).map(({ text }) => text)).toEqual(burst);
});

test("T-05 the receive buffer is raised and told", async () => {
  using rig = await Rig.start(["udp://127.0.0.1"]);
  const [{ listener, bytes }] = rig.transports.receiveBuffers() as [{ listener: unknown; bytes: number }];
  expect(listener).toBe(rig.listener);
  const isWarned = rig.logged.some((line) => line.includes("receive buffer is small"));
  expect(isWarned).toBe(bytes < 4 * 1024 * 1024);
  expect(bytes).toBeGreaterThanOrEqual(212_992 / 2);
});

test("T-05 more packets than one call takes leave in one flush, in order", async () => {
  using rig = await Rig.start(["udp://127.0.0.1"]);
  using peer = await udpPeer();
  const flow = rig.transports.flowTo("udp", "127.0.0.1", peer.port)!;
  const wires = Array.from({ length: 150 }, (_, n) => request(String(n)));
  for (const wire of wires) expect(rig.transports.send(flow, wire)).toBe(true);
  rig.transports.flush();
  expect((await peer.inbox.take(150)).map(({ text }) => text)).toEqual(wires);
});

test("T-05 a packet the kernel refuses takes no other with it", async () => {
  using rig = await Rig.start(["udp://127.0.0.1"]);
  using peer = await udpPeer();
  const good = rig.transports.flowTo("udp", "127.0.0.1", peer.port)!;
  // Not reachable from a loopback address: EINVAL at the call.
  const bad = rig.transports.flowTo("udp", "203.0.113.1", 5060, rig.listener)!;
  for (const n of [1, 2, 3]) {
    rig.transports.send(bad, request("bad"));
    rig.transports.send(good, request(String(n)));
    rig.transports.send(bad, request("bad"));
  }
  rig.transports.flush();
  expect((await peer.inbox.take(3)).map(({ text }) => text)).toEqual([request("1"), request("2"), request("3")]);
  expect(rig.transports.counts.udpDropped).toBe(6);
});

test("T-05 a peer that is gone costs the others nothing", async () => {
  using rig = await Rig.start(["udp://127.0.0.1"]);
  using peer = await udpPeer();
  const gone = await udpPeer();
  const goneFlow = rig.transports.flowTo("udp", "127.0.0.1", gone.port)!;
  const flow = rig.transports.flowTo("udp", "127.0.0.1", peer.port)!;
  gone[Symbol.dispose]();
  for (const n of [1, 2, 3]) {
    rig.send(goneFlow, request("lost"));
    rig.send(flow, request(String(n)));
  }
  expect((await peer.inbox.take(3)).map(({ text }) => text)).toEqual([request("1"), request("2"), request("3")]);
  expect(rig.transports.counts.udpDropped).toBe(0);
});

test("T-04 what waits to be sent over UDP is bounded, the oldest goes", async () => {
  using rig = await Rig.start(["udp://127.0.0.1"], { limits: { maxUdpQueuedBytes: 3 * request("1").length } });
  using peer = await udpPeer();
  const flow = rig.transports.flowTo("udp", "127.0.0.1", peer.port)!;
  for (const n of [1, 2, 3, 4, 5]) rig.transports.send(flow, request(String(n)));
  rig.transports.flush();
  expect((await peer.inbox.take(3)).map(({ text }) => text)).toEqual([request("3"), request("4"), request("5")]);
  expect(rig.transports.counts.udpDropped).toBe(2);
});

test("T-08 a message over the path MTU is sent as is, with one warning for its peer unless it is a stranger", async () => {
  using rig = await Rig.start(["udp://127.0.0.1"]);
  using peer = await udpPeer();
  const flow = rig.transports.flowTo("udp", "127.0.0.1", peer.port)!;
  const wire = request("1", "b".repeat(20_000));
  rig.send(flow, wire);
  expect((await peer.inbox.next()).text).toBe(wire);
  expect(rig.logged.filter((line) => line.includes("path MTU")).length).toBe(0);
  rig.transports.pin(flow);
  for (const _ of [1, 2]) {
    rig.send(flow, wire);
    expect((await peer.inbox.next()).text).toBe(wire);
  }
  expect(rig.logged.filter((line) => line.includes("path MTU")).length).toBe(1);
  expect(rig.transports.send(flow, "x".repeat(65_508))).toBe(false);
});

const KEEPALIVES: [claim: string, datagram: string, answer: string][] = [
  ["a double CRLF is answered with one", "\r\n\r\n", "\r\n"],
  ["a single CRLF gets nothing", "\r\n", ""],
  ["NUL bytes get nothing", "\0\0\0\0", ""],
  ["an empty datagram gets nothing", "", ""],
];
for (const [claim, datagram, answer] of KEEPALIVES) {
  test(`T-02 keepalives stay here: ${claim}`, async () => {
    using rig = await Rig.start(["udp://127.0.0.1"]);
    using peer = await udpPeer();
    rig.onMessage = (flow, text) => void rig.transports.send(flow, text);
    peer.send(request("1"), rig.listener.port, "127.0.0.1");
    const { flow } = await rig.messages.next();
    await peer.inbox.next();
    rig.nowMs = 2000;
    peer.send(datagram, rig.listener.port, "127.0.0.1");
    // The next message proves that the keepalive was taken before it, and how far it got.
    peer.send(request("2"), rig.listener.port, "127.0.0.1");
    expect((await rig.messages.next()).text).toBe(request("2"));
    if (answer !== "") expect((await peer.inbox.next()).text).toBe(answer);
    expect((await peer.inbox.next()).text).toBe(request("2"));
    expect(flow.lastHeardMs).toBe(2000);
    expect(rig.transports.messageSamples()).toContainEqual([["in", "udp", "keepalive"], 1]);
  });
}

test("T-02 a keepalive alone moves lastHeardMs, and makes no flow for an unknown peer", async () => {
  using rig = await Rig.start(["udp://127.0.0.1"]);
  using known = await udpPeer();
  using unknown = await udpPeer();
  known.send(request("1"), rig.listener.port, "127.0.0.1");
  const { flow } = await rig.messages.next();
  rig.nowMs = 5000;
  for (const peer of [known, unknown]) {
    peer.send("\r\n\r\n", rig.listener.port, "127.0.0.1");
    expect((await peer.inbox.next()).text).toBe("\r\n");
  }
  expect(flow.lastHeardMs).toBe(5000);
  expect(rig.transports.flowSamples()).toContainEqual([["udp", "open"], 1]);
});

test("T-02 line ends before a message are ignored (RFC 3261 §7.5)", async () => {
  using rig = await Rig.start(["udp://127.0.0.1"]);
  using peer = await udpPeer();
  peer.send("\r\n\r\n" + request("1"), rig.listener.port, "127.0.0.1");
  expect((await rig.messages.next()).text).toBe(request("1"));
});

const STUN_ID = "abcdefghijkl";
const COOKIE = "\x21\x12\xa4\x42";
for (const address of ["127.0.0.1", "::1"]) {
  test(`T-02 ${address}: a STUN binding request is told its address`, async () => {
    using rig = await Rig.start([`udp://${hostPort(address, 0)}`]);
    using peer = await udpPeer(address);
    peer.send(`\0\x01\0\0${COOKIE}${STUN_ID}`, rig.listener.port, address);
    const answer = Buffer.from((await peer.inbox.next()).text, "latin1");
    expect(answer.readUInt16BE(0)).toBe(0x0101);
    expect(answer.readUInt16BE(2)).toBe(answer.length - 20);
    expect(answer.toString("latin1", 4, 20)).toBe(COOKIE + STUN_ID);
    expect(answer.readUInt16BE(20)).toBe(0x0020);
    expect(answer.readUInt16BE(26) ^ 0x2112).toBe(peer.port);
    const plain = [...answer.subarray(28)].map((byte, at) => byte ^ answer[4 + at]!);
    expect(plain).toEqual(address === "::1" ? [...Array(15).fill(0), 1] : [127, 0, 0, 1]);
    expect(rig.messages.all).toEqual([]);
  });
}

test("T-02 other STUN messages and broken ones get no answer", async () => {
  using rig = await Rig.start(["udp://127.0.0.1"]);
  using peer = await udpPeer();
  for (const head of ["\x01\x01\0\0", "\0\x02\0\0", "\0\x01\0\x08"]) {
    peer.send(`${head}${COOKIE}${STUN_ID}`, rig.listener.port, "127.0.0.1");
  }
  peer.send(`\0\x01\0\0${COOKIE}`, rig.listener.port, "127.0.0.1");
  peer.send("\r\n\r\n", rig.listener.port, "127.0.0.1");
  expect((await peer.inbox.next()).text).toBe("\r\n");
  // Too short for STUN: for the parser to judge.
  expect(rig.messages.all.map(({ text }) => text)).toEqual([`\0\x01\0\0${COOKIE}`]);
});

test("X-01 a datagram larger than a message may be is malformed", async () => {
  using rig = await Rig.start(["udp://127.0.0.1"], { limits: { maxMessageBytes: 1000, maxHeaderBytes: 100 } });
  using peer = await udpPeer();
  peer.send(request("1", "b".repeat(1000)), rig.listener.port, "127.0.0.1");
  const { text, problem } = await rig.malformed.next();
  expect(problem.status).toBe(513);
  expect(text).toBe(request("1", "b".repeat(1000)).slice(0, 100));
});

test("X-06 the flow table is bounded: of those not pinned the one heard longest ago goes", async () => {
  using rig = await Rig.start(["udp://127.0.0.1"], { limits: { maxUdpFlows: 3 } });
  const { transports } = rig;
  const flowTo = (port: number) => {
    rig.nowMs++;
    return transports.flowTo("udp", "127.0.0.1", port)!;
  };
  const pinned = flowTo(1);
  transports.pin(pinned);
  const [oldest, middle, newest] = [flowTo(2), flowTo(3), flowTo(4)];
  expect(transports.counts.udpFlowsEvicted).toBe(0);
  flowTo(5);
  expect(transports.counts.udpFlowsEvicted).toBe(1);
  expect(flowTo(1)).toBe(pinned);
  expect(flowTo(3)).toBe(middle!);
  expect(flowTo(4)).toBe(newest!);
  // Whoever holds the evicted one can still send; for the table it is forgotten.
  expect(oldest!.state).toBe("open");
  expect(transports.send(oldest!, request("1"))).toBe(true);
  expect(flowTo(2)).not.toBe(oldest!);
  transports.unpin(pinned);
  for (let port = 100; port < 200; port++) flowTo(port);
  expect(flowTo(1)).not.toBe(pinned);
  expect(transports.flowSamples()).toContainEqual([["udp", "open"], 3]);
});

test("X-06 a flow pinned after it was evicted is known again, and pins count", async () => {
  using rig = await Rig.start(["udp://127.0.0.1"], { limits: { maxUdpFlows: 1 } });
  const { transports } = rig;
  const first = transports.flowTo("udp", "127.0.0.1", 1)!;
  transports.flowTo("udp", "127.0.0.1", 2);
  transports.pin(first);
  transports.pin(first);
  transports.unpin(first);
  for (let port = 3; port < 50; port++) transports.flowTo("udp", "127.0.0.1", port);
  expect(transports.flowTo("udp", "127.0.0.1", 1)).toBe(first);
});

test("X-06 silent flows are forgotten, pinned ones are not", async () => {
  using rig = await Rig.start(["udp://127.0.0.1"], { limits: { idleTimeoutMs: 5000 } });
  const { transports } = rig;
  const silent = transports.flowTo("udp", "127.0.0.1", 1)!;
  const pinned = transports.flowTo("udp", "127.0.0.1", 2)!;
  transports.pin(pinned);
  transports.tick(rig.nowMs + 5000);
  expect(transports.flowTo("udp", "127.0.0.1", 1)).toBe(silent);
  // The hand goes round in steps; two more are enough for a table of two.
  for (const _ of [1, 2]) transports.tick(rig.nowMs + 5001);
  expect(transports.flowTo("udp", "127.0.0.1", 2)).toBe(pinned);
  expect(transports.flowTo("udp", "127.0.0.1", 1)).not.toBe(silent);
});

test("R-18 a UDP flow is built again from its key, if the listener is there still", async () => {
  using rig = await Rig.start(["udp://127.0.0.1"]);
  using rig6 = await Rig.start(["udp://[::1]"]);
  using peer = await udpPeer();
  const { transports, listener } = rig;
  const key = `udp|127.0.0.1:${listener.port}|127.0.0.1:${peer.port}`;
  const flow = transports.flowFromKey(key) as UdpFlow;
  expect(flow.key).toBe(key);
  // Nobody was heard over it yet: calls must push as well (W-02).
  expect(flow.lastHeardMs).toBe(0);
  rig.send(flow, request("1"));
  expect((await peer.inbox.next()).from).toBe(`127.0.0.1 ${listener.port}`);
  const key6 = `udp|[::1]:${rig6.listener.port}|[2001:db8::7]:40123`;
  expect(rig6.transports.flowFromKey(key6)!.key).toBe(key6);
  for (
    const bad of [
      `udp|127.0.0.2:${listener.port}|127.0.0.1:5060`,
      `udp|127.0.0.1:${listener.port}|[::1]:5060`,
      `udp|127.0.0.1:${listener.port}|127.0.0.1:70000`,
      `udp|127.0.0.1:${listener.port}|example.org:5060`,
      `tcp|127.0.0.1:${listener.port}|127.0.0.1:5060`,
      "udp|127.0.0.1",
      "",
    ]
  ) {
    expect(transports.flowFromKey(bad)).toBeNull();
  }
});

test("T-02 stop closes every UDP flow, and what was queued still leaves", async () => {
  using rig = await Rig.start(["udp://127.0.0.1"]);
  using peer = await udpPeer();
  const flow = rig.transports.flowTo("udp", "127.0.0.1", peer.port)!;
  rig.transports.send(flow, request("last"));
  rig.transports.stop();
  expect((await peer.inbox.next()).text).toBe(request("last"));
  expect(flow.state).toBe("closed");
  expect(rig.transports.send(flow, request("1"))).toBe(false);
  expect(rig.transports.flowTo("udp", "127.0.0.1", peer.port)).toBeNull();
});
