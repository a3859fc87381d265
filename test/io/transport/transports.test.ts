import { expect, test } from "bun:test";
import { openNative } from "../../../src/io/transport/native.ts";
import { request, response, Rig, TcpPeer, udpPeer } from "./rig.ts";

test("T-01 behind a wildcard the reply leaves from the address the request came to", async () => {
  using rig = await Rig.start(["udp://0.0.0.0"], { addresses: () => ["127.0.0.1", "127.0.0.2", "127.0.0.3", "::1"] });
  const { port } = rig.listener;
  expect(rig.transports.listeners().map(({ address }) => address)).toEqual(["127.0.0.1", "127.0.0.2", "127.0.0.3"]);
  rig.onMessage = (flow, text) => void rig.transports.send(flow, text);
  using peer = await udpPeer();
  for (const address of ["127.0.0.2", "127.0.0.3"]) {
    peer.send(request(address), port, address);
    expect((await rig.messages.next()).flow.listener).toMatchObject({
      address,
      port,
      advertised: `${address}:${port}`,
    });
    expect(await peer.inbox.next()).toEqual({ text: request(address), from: `${address} ${port}` });
  }
});

test("T-01 a wildcard answers at addresses it did not know at start", async () => {
  using rig = await Rig.start(["udp://0.0.0.0"]);
  const { port } = rig.listener;
  rig.onMessage = (flow, text) => void rig.transports.send(flow, text);
  using peer = await udpPeer();
  for (const address of ["127.0.0.77", "127.0.0.78"]) {
    peer.send(request("1"), port, address);
    peer.send(request("2"), port, address);
    rig.nowMs += 1000;
    rig.transports.tick(rig.nowMs);
    expect(await peer.inbox.take(2)).toEqual([
      { text: request("1"), from: `${address} ${port}` },
      { text: request("2"), from: `${address} ${port}` },
    ]);
    // Now it has a socket of its own.
    peer.send(request("3"), port, address);
    expect((await peer.inbox.next()).from).toBe(`${address} ${port}`);
    expect(rig.transports.isLocal(address, port)).toBe(true);
  }
});

test("T-01 a wildcard follows the addresses of the machine", async () => {
  const addresses = ["127.0.0.1"];
  using rig = await Rig.start(["udp://0.0.0.0"], { addresses: () => addresses });
  addresses.push("127.0.0.90");
  rig.transports.tick(rig.nowMs + 10_000);
  await new Promise((resolve) => setImmediate(resolve));
  expect(rig.transports.listenerFor("udp", "127.0.0.90", rig.listener.port)).not.toBeNull();
});

test("T-01 a wildcard lets go of an address that the machine lost long ago, unless phones registered there", async () => {
  const addresses = ["127.0.0.1", "127.0.0.91", "127.0.0.92"];
  const lost = new Set<string>();
  using rig = await Rig.start(["udp://0.0.0.0"], {
    addresses: () => addresses,
    isLocalAddress: (address) => !lost.has(address),
  });
  const { port } = rig.listener;
  const listened = () => rig.transports.listeners().map(({ address }) => address);
  const pass = (ms: number) => {
    for (const endMs = rig.nowMs + ms; rig.nowMs < endMs;) rig.transports.tick(rig.nowMs += 10_000);
  };
  const phone = rig.transports.flowTo("udp", "127.0.0.1", 9, rig.transports.listeners()[2])!;
  const stranger = rig.transports.flowTo("udp", "127.0.0.1", 9, rig.transports.listeners()[1])!;
  rig.transports.pin(phone);
  addresses.length = 1;
  lost.add("127.0.0.91").add("127.0.0.92");
  pass(300_000);
  lost.delete("127.0.0.91");
  pass(300_000);
  lost.add("127.0.0.91");
  pass(600_000);
  expect([listened(), rig.send(stranger, request("1"))]).toEqual([["127.0.0.1", "127.0.0.91", "127.0.0.92"], true]);
  pass(20_000);
  expect([listened(), rig.send(stranger, request("1")), phone.state]).toEqual([
    ["127.0.0.1", "127.0.0.92"],
    false,
    "open",
  ]);
  expect([rig.transports.isLocal("127.0.0.91", port), rig.transports.isLocal("127.0.0.92", port)]).toEqual([
    false,
    true,
  ]);
  rig.transports.unpin(phone);
  pass(20_000);
  expect(listened()).toEqual(["127.0.0.1"]);
  // It came back.
  addresses.push("127.0.0.91");
  lost.clear();
  pass(10_000);
  await new Promise((resolve) => setImmediate(resolve));
  using peer = await udpPeer();
  peer.send(request("1"), port, "127.0.0.91");
  expect((await rig.messages.next()).flow.listener.address).toBe("127.0.0.91");
});

test("T-01 the kernel is asked whether an address is local", () => {
  const native = openNative()!;
  for (const address of ["127.0.0.1", "127.9.9.9", "::1"]) {
    expect([address, native.canBind(address)]).toEqual([address, true]);
  }
  for (const address of ["192.0.2.1", "2001:db8::1"]) {
    expect([address, native.canBind(address)]).toEqual([address, false]);
  }
});

test("T-01 IPv6 behind a wildcard, beside IPv4 on the same port", async () => {
  using rig = await Rig.start(["udp://[::]", "tcp://[::]"], { addresses: () => ["::1"] });
  const [udp, tcp] = rig.transports.listeners();
  using rig4 = await Rig.start([`udp://0.0.0.0:${udp!.port}`, `tcp://0.0.0.0:${tcp!.port}`], {
    addresses: () => ["127.0.0.1"],
  });
  using peer = await udpPeer("::1");
  peer.send(request("1"), udp!.port, "::1");
  expect((await rig.messages.next()).flow).toMatchObject({ listener: udp, remoteAddress: "::1" });
  using connection = await TcpPeer.connect(tcp!.port, "::1");
  connection.write(request("2"));
  expect((await rig.messages.next()).flow).toMatchObject({ listener: tcp, remoteAddress: "::1" });
  using connection4 = await TcpPeer.connect(tcp!.port, "127.0.0.1");
  connection4.write(request("3"));
  expect((await rig4.messages.next()).flow.remoteAddress).toBe("127.0.0.1");
});

test("T-01 behind a TCP wildcard a flow tells the address its connection came to", async () => {
  using rig = await Rig.start(["tcp://0.0.0.0"], { addresses: () => ["127.0.0.1"] });
  using peer = await TcpPeer.connect(rig.listener.port, "127.0.0.55");
  peer.write(request("1"));
  const { flow } = await rig.messages.next();
  expect(flow.listener).toMatchObject({ address: "127.0.0.55", port: rig.listener.port });
  expect(rig.transports.listenerFor("tcp", "127.0.0.55", rig.listener.port)).toBe(flow.listener);
});

test("T-01 the socket to leave from is the one the kernel would choose", async () => {
  using rig = await Rig.start(["udp://127.0.0.2", "udp://127.0.0.1", "udp://[::1]"]);
  const { transports } = rig;
  const from = (address: string) => transports.flowTo("udp", address, 5060)?.listener.address;
  expect(from("127.0.0.1")).toBe("127.0.0.1");
  expect(from("127.0.0.9")).toBe("127.0.0.1");
  expect(from("::1")).toBe("::1");
  expect(from("[::1]")).toBe("::1");
  expect(from("0:0:0:0:0:0:0:1")).toBe("::1");
  // From a loopback address nothing leaves the machine.
  expect(from("203.0.113.1")).toBeUndefined();
  const via = transports.listenerFor("udp", "127.0.0.2", rig.listener.port)!;
  expect(transports.flowTo("udp", "127.0.0.1", 5060, via)!.listener).toBe(via);
});

test("T-01 another listener serves if the kernel's first choice has none", async () => {
  using rig = await Rig.start(["udp://127.0.0.2"]);
  expect(rig.transports.flowTo("udp", "127.0.0.9", 5060)!.listener.address).toBe("127.0.0.2");
});

test("T-01 there is no flow where there is no way", async () => {
  using rig = await Rig.start(["udp://127.0.0.1"]);
  const { transports } = rig;
  expect(transports.flowTo("tcp", "127.0.0.1", 5060)).toBeNull();
  expect(transports.flowTo("tls", "127.0.0.1", 5060)).toBeNull();
  expect(transports.flowTo("udp", "::1", 5060)).toBeNull();
  expect(transports.flowTo("udp", "::1", 5060, rig.listener)).toBeNull();
  expect(transports.flowTo("udp", "example.org", 5060)).toBeNull();
  expect(transports.flowTo("udp", "0.0.0.0", 5060)).toBeNull();
  for (const port of [0, -1, 65536, 1.5, NaN]) expect(transports.flowTo("udp", "127.0.0.1", port)).toBeNull();
});

test("T-01 an address in use is an error that names it, and nothing stays open", async () => {
  using rig = await Rig.start(["udp://127.0.0.1", "tcp://127.0.0.1"]);
  for (const { transport, port } of rig.transports.listeners()) {
    const second = new Rig(["udp://127.0.0.2", "tcp://127.0.0.2", `${transport}://127.0.0.1:${port}`]);
    await expect(second.transports.start()).rejects.toThrow(
      `Cannot listen on ${transport}://127.0.0.1:${port}: the address is in use by another program`,
    );
    const opened = second.transports.listeners();
    expect(opened.length).toBe(2);
    using _again = await Rig.start(opened.map((listener) => `${listener.transport}://127.0.0.2:${listener.port}`));
  }
});

test("T-01 what cannot be listened on is an error that says why", async () => {
  const cases: [url: string, message: string][] = [
    ["udp://203.0.113.7:5999", "Cannot listen on udp://203.0.113.7:5999: it is no address of this machine"],
    ["tls://127.0.0.1:5061", "Cannot listen on tls://127.0.0.1:5061: there is no certificate"],
    ["udp://localhost", "Cannot listen on udp://localhost: expected an IP address"],
  ];
  for (const [url, message] of cases) await expect(new Rig([url]).transports.start()).rejects.toThrow(message);
});

test("T-01 advertised names: of the entry, of the appliance, with and without port", async () => {
  const listen = (advertise: string) => [{ scheme: "udp", host: "127.0.0.1", port: 0, advertise }] as const;
  const cases: [entry: string, top: string, advertised: (port: number) => string][] = [
    ["", "", (port) => `127.0.0.1:${port}`],
    ["", "SIP.example.org", () => "sip.example.org"],
    ["sip.example.org:5070", "other", () => "sip.example.org:5070"],
    ["[2001:DB8::1]", "", () => "[2001:db8::1]"],
    ["2001:db8::1", "", () => "[2001:db8::1]"],
    ["[2001:db8::1]:5070", "", () => "[2001:db8::1]:5070"],
  ];
  for (const [entry, advertise, expected] of cases) {
    using rig = await Rig.start([], { listen: listen(entry), advertise });
    expect(rig.listener.advertised).toBe(expected(rig.listener.port));
  }
});

test("F-03 which hosts and ports are ours", async () => {
  using rig = await Rig.start([], {
    listen: [
      { scheme: "udp", host: "127.0.0.1", port: 0, advertise: "" },
      { scheme: "tcp", host: "127.0.0.2", port: 0, advertise: "sip.example.org" },
      { scheme: "udp", host: "::1", port: 0, advertise: "six.example.org:5060" },
    ],
  });
  const { transports } = rig;
  const [udp, tcp, six] = transports.listeners();
  const ours: [host: string, port: number, transport?: "udp" | "tcp"][] = [
    ["127.0.0.1", udp!.port],
    ["127.0.0.1", udp!.port, "udp"],
    ["SIP.Example.ORG", 0, "tcp"],
    ["sip.example.org", 5060],
    ["sip.example.org", tcp!.port],
    ["[::1]", six!.port],
    ["::1", six!.port],
    ["0:0:0:0:0:0:0:1", six!.port],
    ["six.example.org", 0],
    ["six.example.org", 5060, "udp"],
  ];
  const theirs: typeof ours = [
    ["127.0.0.1", 0],
    ["127.0.0.1", 5060],
    ["127.0.0.1", udp!.port, "tcp"],
    ["sip.example.org", 5060, "udp"],
    ["sip.example.org", 5061],
    ["six.example.org", 5061],
    ["example.org", 0],
  ];
  for (const one of ours) expect([one, transports.isLocal(...one)]).toEqual([one, true]);
  for (const one of theirs) expect([one, transports.isLocal(...one)]).toEqual([one, false]);
});

test("O-05 messages are counted by direction, transport and kind", async () => {
  using rig = await Rig.start(["udp://127.0.0.1"]);
  using peer = await udpPeer();
  peer.send(request("1"), rig.listener.port, "127.0.0.1");
  peer.send(response("1"), rig.listener.port, "127.0.0.1");
  const { flow } = (await rig.messages.take(2))[0]!;
  rig.send(flow, request("1"));
  const counted = rig.transports.messageSamples().filter(([, value]) => value > 0);
  expect(counted).toEqual([
    [["in", "udp", "request"], 1],
    [["in", "udp", "response"], 1],
    [["out", "udp", "request"], 1],
  ]);
});

test("R-09 own_port: answers to what leaves from it are taken, requests are dropped, no other way leads there", async () => {
  const ownPort = openNative()!.freeUdpPort(false)!;
  using rig = await Rig.start(["udp://127.0.0.1:0"], { ownPort });
  const [own] = rig.transports.ownListeners();
  expect(own).toMatchObject({ address: "127.0.0.1", port: ownPort });
  expect(rig.transports.listeners().some(({ port }) => port === ownPort)).toBe(false);
  using peer = await udpPeer();
  const ordinary = rig.transports.flowTo("udp", "127.0.0.1", peer.port)!;
  expect(ordinary.listener.port).toBe(rig.listener.port);
  const flow = rig.transports.flowTo("udp", "127.0.0.1", peer.port, own)!;
  rig.transports.send(flow, request("1"));
  rig.transports.flush();
  expect((await peer.inbox.next()).from).toBe(`127.0.0.1 ${ownPort}`);
  peer.send(request("stranger"), ownPort, "127.0.0.1");
  peer.send(response("1"), ownPort, "127.0.0.1");
  const taken = await rig.messages.next();
  expect([taken.flow, taken.text]).toEqual([flow, response("1")]);
  expect(rig.transports.counts.ownPortDropped).toBe(1);
});

test("R-09 own_port that is taken: the start says which key to change", async () => {
  using peer = await udpPeer();
  const started = Rig.start(["udp://127.0.0.1:0"], { ownPort: peer.port });
  expect(started).rejects.toThrow(`pbx.own_port on udp://127.0.0.1:${peer.port}`);
});
