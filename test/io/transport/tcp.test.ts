import { expect, test } from "bun:test";
import { hostPort } from "../../../src/core/sip/host.ts";
import type { StreamFlow } from "../../../src/io/transport/connections.ts";
import { ALL_BYTES, request, response, Rig, TcpPeer } from "./rig.ts";

/** A server that is not ours. */
function server(address = "127.0.0.1") {
  const accepted = new TcpPeer();
  const listening = Bun.listen({ hostname: address, port: 0, socket: accepted.handler() });
  return { peer: accepted, port: listening.port, [Symbol.dispose]: () => listening.stop(true) };
}

for (const address of ["127.0.0.1", "::1"]) {
  const listen = [`tcp://${hostPort(address, 0)}`];

  test(`T-01 ${address}: every byte survives TCP both ways, the answer takes the connection of the request`, async () => {
    using rig = await Rig.start(listen);
    using peer = await TcpPeer.connect(rig.listener.port, address);
    rig.onMessage = (flow, text) => void rig.transports.send(flow, response("1", text));
    const wire = request("1", ALL_BYTES);
    peer.write(wire);
    const { flow, text } = await rig.messages.next();
    expect(text).toBe(wire);
    const answer = response("1", wire);
    expect(await peer.readUntil(answer.length)).toBe(answer);
    expect(flow).toMatchObject({
      transport: "tcp",
      isReliable: true,
      state: "open",
      remoteAddress: address,
      remotePort: peer.localPort,
      lastHeardMs: 1000,
      key: `tcp|${hostPort(address, rig.listener.port)}|${hostPort(address, peer.localPort)}`,
    });
    expect(flow.listener).toBe(rig.listener);
  });

  test(`T-01 ${address}: a connection is made from the listener's address, and used again`, async () => {
    using rig = await Rig.start(listen);
    using remote = server(address);
    const flow = rig.transports.flowTo("tcp", address, remote.port)!;
    expect(flow.state).toBe("connecting");
    expect(rig.transports.flowSamples()).toContainEqual([["tcp", "connecting"], 1]);
    expect(rig.transports.send(flow, request("1"))).toBe(true);
    expect(rig.transports.flowTo("tcp", address, remote.port)).toBe(flow);
    expect(await remote.peer.readUntil(request("1").length)).toBe(request("1"));
    expect(flow.state).toBe("open");
    remote.peer.write(response("1"));
    expect(await rig.messages.next()).toEqual({ flow, text: response("1") });
    expect(rig.transports.flowSamples()).toContainEqual([["tcp", "open"], 1]);
  });
}

test("T-01 the peer of an outbound connection sees the listener's address", async () => {
  using rig = await Rig.start(["tcp://127.0.0.4"]);
  using other = await Rig.start(["tcp://127.0.0.1"]);
  const flow = rig.transports.flowTo("tcp", "127.0.0.1", other.listener.port)!;
  rig.send(flow, request("1"));
  expect((await other.messages.next()).flow.remoteAddress).toBe("127.0.0.4");
});

test("T-02 a stream torn into bytes gives its messages, a segment of several gives all", async () => {
  using rig = await Rig.start(["tcp://127.0.0.1"]);
  using peer = await TcpPeer.connect(rig.listener.port);
  for (const byte of request("torn", "body\r\n\r\n")) peer.write(byte);
  peer.write(request("a") + "\r\n" + request("b", "x") + request("c").slice(0, 10));
  peer.write(request("c").slice(10));
  expect((await rig.messages.take(4)).map(({ text }) => text)).toEqual([
    request("torn", "body\r\n\r\n"),
    request("a"),
    request("b", "x"),
    request("c"),
  ]);
});

test("T-02 a ping is answered, moves lastHeardMs and reaches nobody", async () => {
  using rig = await Rig.start(["tcp://127.0.0.1"]);
  using peer = await TcpPeer.connect(rig.listener.port);
  peer.write(request("1"));
  const { flow } = await rig.messages.next();
  rig.nowMs = 2000;
  peer.write("\r\n\r\n");
  expect(await peer.readUntil(2)).toBe("\r\n");
  expect(flow.lastHeardMs).toBe(2000);
  expect(rig.messages.all.length).toBe(1);
  expect(rig.transports.messageSamples()).toContainEqual([["in", "tcp", "keepalive"], 1]);
});

test("T-04 who sends pings and reads nothing fills no queue with pongs", async () => {
  using rig = await Rig.start(["tcp://127.0.0.1"]);
  using peer = await TcpPeer.connect(rig.listener.port);
  peer.write(request("1"));
  const flow = (await rig.messages.next()).flow as StreamFlow;
  peer.stopReading();
  // More than the kernel takes of what nobody reads.
  while (flow.queuedBytes < 100_000) rig.send(flow, response("1", "b".repeat(60_000)));
  const waiting = flow.queue.length;
  peer.write("\r\n\r\n".repeat(1000) + request("2"));
  await rig.messages.next();
  expect(flow.queue.length).toBe(waiting);
});

test("T-02 a stream that is not SIP is reported, answered and closed, and disturbs no other", async () => {
  using rig = await Rig.start(["tcp://127.0.0.1"]);
  using good = await TcpPeer.connect(rig.listener.port);
  using bad = await TcpPeer.connect(rig.listener.port);
  const answer = response("bad");
  // A stateless 400, as the core sends it within the input.
  rig.onMalformed = (flow) => void rig.transports.send(flow, answer);
  const header = request("1").replace("Content-Length: 0", "Content-Length: -999");
  bad.write(header + request("2"));
  const { flow, text, problem } = await rig.malformed.next();
  expect({ text, problem }).toEqual({ text: header, problem: { status: 400, reason: "Bad Content-Length" } });
  expect(await rig.closed.next()).toEqual({ flow, reason: "Malformed stream: Bad Content-Length" });
  await bad.ended;
  expect(bad.text).toBe(answer);
  expect(rig.messages.all).toEqual([]);
  good.write(request("3"));
  expect((await rig.messages.next()).text).toBe(request("3"));
});

test("T-02 the peer's close and reset mark the flow closed before the sink hears of it", async () => {
  for (const how of ["end", "reset"] as const) {
    using rig = await Rig.start(["tcp://127.0.0.1"]);
    using peer = await TcpPeer.connect(rig.listener.port);
    peer.write(request("1"));
    const { flow } = await rig.messages.next();
    const states: string[] = [];
    rig.onClosed = ({ state }) => void states.push(state);
    peer[how]();
    expect((await rig.closed.next()).flow).toBe(flow);
    expect(states).toEqual(["closed"]);
    expect(rig.transports.send(flow, response("1"))).toBe(false);
    expect(rig.transports.flowSamples()).toContainEqual([["tcp", "open"], 0]);
  }
});

test("X-06 a flow that is kept after its end holds neither half a message nor its socket", async () => {
  using rig = await Rig.start(["tcp://127.0.0.1"]);
  using peer = await TcpPeer.connect(rig.listener.port);
  peer.write(request("1") + request("2", "x".repeat(60_000)).slice(0, -1));
  const flow = (await rig.messages.next()).flow as StreamFlow;
  peer.end();
  await rig.closed.next();
  expect([flow.state, flow.framer, flow.stream]).toEqual(["closed", null, null]);
});

test("T-02 a refused connection closes its flow, after the call that asked for it", async () => {
  using rig = await Rig.start(["tcp://127.0.0.1"]);
  const remote = server();
  remote[Symbol.dispose]();
  const flow = rig.transports.flowTo("tcp", "127.0.0.1", remote.port)!;
  expect(rig.transports.send(flow, request("1"))).toBe(true);
  expect(flow.state).toBe("connecting");
  expect(await rig.closed.next()).toEqual({ flow, reason: "Cannot connect: refused" });
  expect(flow.state).toBe("closed");
  expect(rig.transports.flowTo("tcp", "127.0.0.1", remote.port)).not.toBe(flow);
});

test("T-10 a connection that is closed on demand is gone at once, told of later, and the next one is another", async () => {
  using rig = await Rig.start(["tcp://127.0.0.1"]);
  using remote = server();
  const flow = rig.transports.flowTo("tcp", "127.0.0.1", remote.port)!;
  rig.send(flow, request("1"));
  await remote.peer.readUntil(request("1").length);
  rig.transports.close(flow, "Nothing is heard");
  expect([flow.state, rig.closed.all.length]).toEqual(["closed", 0]);
  expect(rig.transports.flowTo("tcp", "127.0.0.1", remote.port)).not.toBe(flow);
  expect(await rig.closed.next()).toEqual({ flow, reason: "Nothing is heard" });
});

test("T-02 a connection that does not open in time is given up, and does not come back", async () => {
  using rig = await Rig.start(["tcp://127.0.0.1"]);
  using remote = server();
  const flow = rig.transports.flowTo("tcp", "127.0.0.1", remote.port)!;
  rig.transports.tick(rig.nowMs + 4999);
  expect(flow.state).toBe("connecting");
  rig.transports.tick(rig.nowMs + 5000);
  expect(await rig.closed.next()).toEqual({ flow, reason: "Cannot connect: timed out" });
  // The kernel opens it all the same; the peer sees it closed at once.
  await remote.peer.ended;
  expect(flow.state).toBe("closed");
  expect(rig.closed.all.length).toBe(1);
});

test("T-02 silent connections are closed: never heard, idle; pinned ones are kept", async () => {
  using rig = await Rig.start(["tcp://127.0.0.1"]);
  using silent = await TcpPeer.connect(rig.listener.port);
  using idle = await TcpPeer.connect(rig.listener.port);
  using registered = await TcpPeer.connect(rig.listener.port);
  const flows = [];
  for (const peer of [idle, registered]) {
    peer.write(request("1"));
    flows.push((await rig.messages.next()).flow);
  }
  rig.transports.pin(flows[1]!);
  // Bytes that make no message are no sign of a phone.
  silent.write("INVITE");
  rig.transports.tick(rig.nowMs + 31_999);
  expect(rig.transports.flowSamples()).toContainEqual([["tcp", "open"], 3]);
  rig.transports.tick(rig.nowMs + 32_000);
  expect((await rig.closed.next()).reason).toBe("Nothing was heard since it opened");
  await silent.ended;
  rig.transports.tick(rig.nowMs + 600_000);
  expect(await rig.closed.next()).toEqual({ flow: flows[0]!, reason: "Idle" });
  await idle.ended;
  expect(flows[1]!.state).toBe("open");
  rig.transports.unpin(flows[1]!);
  rig.transports.tick(rig.nowMs + 600_000);
  expect((await rig.closed.next()).flow).toBe(flows[1]!);
});

test("T-04 a slow reader loses its connection, not the box's memory", async () => {
  using rig = await Rig.start(["tcp://127.0.0.1"]);
  using slow = await TcpPeer.connect(rig.listener.port);
  using other = await TcpPeer.connect(rig.listener.port);
  slow.write(request("1"));
  const { flow } = await rig.messages.next();
  slow.stopReading();
  const wire = request("2", "b".repeat(60_000));
  let sent = 0;
  // 64 MiB are more than any kernel buffers; without the bound this would go on to the end.
  while (sent < 64 * 1024 * 1024 && rig.send(flow, wire)) {
    sent += wire.length;
    expect((flow as unknown as { queuedBytes: number }).queuedBytes).toBeLessThanOrEqual(1024 * 1024);
  }
  expect(sent).toBeLessThan(64 * 1024 * 1024);
  expect(flow.state).toBe("closed");
  // Not within the call: an effect never re-enters.
  expect(rig.closed.all).toEqual([]);
  expect(await rig.closed.next()).toEqual({ flow, reason: "Its peer does not read" });
  expect(rig.transports.counts.slowReaders).toBe(1);
  other.write(request("3"));
  expect((await rig.messages.next()).text).toBe(request("3"));
});

test("T-04 what the kernel does not take at once follows in order when the peer reads", async () => {
  using rig = await Rig.start(["tcp://127.0.0.1"], { limits: { maxQueuedBytes: 64 * 1024 * 1024 } });
  using peer = await TcpPeer.connect(rig.listener.port);
  peer.write(request("1"));
  const { flow } = await rig.messages.next();
  const wires = Array.from(
    { length: 300 },
    (_, n) => request(String(n), String.fromCharCode(n % 256).repeat(50_000 + n)),
  );
  for (const wire of wires) expect(rig.transports.send(flow, wire)).toBe(true);
  rig.transports.flush();
  const all = wires.join("");
  const got = await peer.readUntil(all.length);
  // Not toBe on 15 MB: the difference would be printed.
  expect(got === all).toBe(true);
});

test("T-04 a batch larger than the bound is no slow reader while the kernel takes it", async () => {
  using rig = await Rig.start(["tcp://127.0.0.1"], { limits: { maxQueuedBytes: 10_000 } });
  using peer = await TcpPeer.connect(rig.listener.port);
  peer.write(request("1"));
  const { flow } = await rig.messages.next();
  const wire = request("2", "b".repeat(3000));
  for (let n = 0; n < 20; n++) expect(rig.transports.send(flow, wire)).toBe(true);
  rig.transports.flush();
  await peer.readUntil(20 * wire.length);
});

test("T-04 the queue of a connection that is not open yet is bounded", async () => {
  using rig = await Rig.start(["tcp://127.0.0.1"], { limits: { maxQueuedBytes: 1000 } });
  using remote = server();
  const flow = rig.transports.flowTo("tcp", "127.0.0.1", remote.port)!;
  expect(rig.transports.send(flow, request("1"))).toBe(true);
  expect(rig.transports.send(flow, request("2", "b".repeat(1000)))).toBe(false);
  expect(await rig.closed.next()).toEqual({ flow, reason: "Too much was queued while connecting" });
});

test("X-01 connections of one source are limited, a place that falls free is free, the PBX is exempt", async () => {
  using rig = await Rig.start(["tcp://127.0.0.1"], {
    limits: { maxConnectionsPerSource: 2 },
    isExempt: (address) => address === "127.0.0.3",
  });
  const { port } = rig.listener;
  using first = await TcpPeer.connect(port, "127.0.0.1", "127.0.0.2");
  using second = await TcpPeer.connect(port, "127.0.0.1", "127.0.0.2");
  using refused = await TcpPeer.connect(port, "127.0.0.1", "127.0.0.2");
  await refused.ended;
  expect(rig.transports.counts.refusedPerSource).toBe(1);
  const exempt = await Promise.all([1, 2, 3].map(() => TcpPeer.connect(port, "127.0.0.1", "127.0.0.3")));
  for (const peer of [first, second, ...exempt]) {
    peer.write(request("1"));
    await rig.messages.next();
  }
  first.end();
  await rig.closed.next();
  using third = await TcpPeer.connect(port, "127.0.0.1", "127.0.0.2");
  third.write(request("1"));
  await rig.messages.next();
  for (const peer of exempt) peer.reset();
});

test("X-01 connections are limited in all: of those nobody registered over, the one silent longest makes room", async () => {
  using rig = await Rig.start(["tcp://127.0.0.1"], {
    limits: { maxConnections: 4 },
    isExempt: (address) => address === "127.0.0.3",
  });
  const { port } = rig.listener;
  using remote = server();
  const outbound = rig.transports.flowTo("tcp", "127.0.0.1", remote.port)!;
  const arrive = async (from: string) => {
    const peer = await TcpPeer.connect(port, "127.0.0.1", from);
    peer.write(request("1"));
    rig.nowMs += 1000;
    return { peer, flow: (await rig.messages.next()).flow };
  };
  const pbx = await arrive("127.0.0.3");
  const phone = await arrive("127.0.0.2");
  const stranger = await arrive("127.0.0.2");
  rig.transports.pin(phone.flow);
  const next = await arrive("127.0.0.2");
  expect((await rig.closed.next()).flow).toBe(stranger.flow);
  await stranger.peer.ended;
  // A request of ours needs the room as well.
  using other = server();
  const second = rig.transports.flowTo("tcp", "127.0.0.1", other.port);
  expect((await rig.closed.next()).flow).toBe(next.flow);
  expect([outbound.state, second !== null]).toEqual(["open", true]);
  expect([pbx.flow.state, phone.flow.state, rig.transports.counts.madeRoom]).toEqual(["open", "open", 2]);
  using refused = await TcpPeer.connect(port, "127.0.0.1", "127.0.0.4");
  await refused.ended;
  expect(rig.transports.flowTo("tcp", "127.0.0.4", remote.port)).toBeNull();
  expect(rig.transports.counts.refusedTotal).toBe(2);
  for (const { peer } of [pbx, phone]) peer.reset();
});

test("X-06 unfinished messages are bounded in all: the largest of a stranger ends, and what is done or gone counts no more", async () => {
  using rig = await Rig.start(["tcp://127.0.0.1"], { limits: { maxUnfinishedBytes: 100_000 } });
  const { port } = rig.listener;
  const arrive = async (bytes: number) => {
    const peer = await TcpPeer.connect(port);
    peer.write(request("1") + request("2", "x".repeat(60_000)).slice(0, bytes));
    const { flow } = await rig.messages.next();
    return { peer, flow: flow as StreamFlow };
  };
  const phone = await arrive(10);
  rig.transports.pin(phone.flow);
  phone.peer.write(request("2", "x".repeat(60_000)).slice(10, 40_000));
  const done = await arrive(20_000);
  done.peer.write(request("2", "x".repeat(60_000)).slice(20_000));
  await rig.messages.next();
  const gone = await arrive(30_000);
  gone.peer.end();
  await rig.closed.next();
  const small = await arrive(10_000);
  const large = await arrive(30_000);
  const last = await arrive(25_000);
  const { flow, reason } = await rig.closed.next();
  expect([flow === large.flow, reason]).toEqual([true, "Too much of unfinished messages"]);
  expect([phone, done, small, last].map(({ flow }) => flow.state)).toEqual(["open", "open", "open", "open"]);
  for (const { peer } of [phone, done, small, last]) peer.reset();
});

test("X-01 there are never more connections than file descriptors for them, whatever the config says", async () => {
  using rig = await Rig.start(["tcp://127.0.0.1"], { descriptors: 4, limits: { maxConnections: 1000 } });
  expect(rig.logged).toEqual(["warn Fewer connections than limits.connections says: raise the limit of open files"]);
  rig.transports.setLimits({ maxConnections: 500 });
  const peers = [];
  for (let count = 0; count < 2; count++) {
    const peer = await TcpPeer.connect(rig.listener.port);
    peers.push(peer);
    peer.write(request("1"));
    rig.transports.pin((await rig.messages.next()).flow);
  }
  using refused = await TcpPeer.connect(rig.listener.port);
  await refused.ended;
  expect(rig.transports.counts.refusedTotal).toBe(1);
  for (const peer of peers) peer.reset();
});

test("X-01 connections of a whole network count as one source's, and whoever opens them fills no log", async () => {
  using rig = await Rig.start(["tcp://127.0.0.1"], {
    limits: { maxConnectionsPerSource: 2 },
    sourceOf: (address) => address.slice(0, address.lastIndexOf(".")),
  });
  const { port } = rig.listener;
  const peers = await Promise.all([1, 2].map((last) => TcpPeer.connect(port, "127.0.0.1", `127.0.7.${last}`)));
  for (let last = 3; last < 60; last++) {
    using refused = await TcpPeer.connect(port, "127.0.0.1", `127.0.7.${last}`);
    await refused.ended;
  }
  expect(rig.transports.counts.refusedPerSource).toBe(57);
  expect(rig.logged.filter((line) => line.includes("too many from its source")).length).toBe(20);
  rig.nowMs += 60_000;
  for (const peer of peers) peer.end();
  await rig.closed.take(2);
  const again = await Promise.all([1, 2, 3].map((last) => TcpPeer.connect(port, "127.0.0.1", `127.0.7.${last}`)));
  await Promise.race(again.map((peer) => peer.ended));
  expect(rig.logged.filter((line) => line.includes("too many from its source")).length).toBe(21);
  for (const peer of again) peer.reset();
});

test("X-01 a message larger than the limit ends its connection", async () => {
  using rig = await Rig.start(["tcp://127.0.0.1"], { limits: { maxMessageBytes: 2000 } });
  using peer = await TcpPeer.connect(rig.listener.port);
  peer.write(request("1", "b".repeat(2000)));
  expect((await rig.malformed.next()).problem.status).toBe(513);
  await peer.ended;
});

test("T-02 stop closes connections, and what was queued still leaves", async () => {
  using rig = await Rig.start(["tcp://127.0.0.1"]);
  using peer = await TcpPeer.connect(rig.listener.port);
  peer.write(request("1"));
  const { flow } = await rig.messages.next();
  rig.transports.send(flow, response("1"));
  rig.transports.stop();
  await peer.ended;
  expect(peer.text).toBe(response("1"));
  expect(flow.state).toBe("closed");
  expect(rig.closed.all).toEqual([]);
});
