import { expect, test } from "bun:test";
import { request, Rig, TcpPeer, udpPeer } from "./rig.ts";

const REFUSED = "127.0.0.9";
const PING = "\r\n\r\n";

test("X-02 a refused source gets no connection, others do", async () => {
  using rig = await Rig.start(["tcp://127.0.0.1"], { isRefused: (address) => address === REFUSED });
  using refused = await TcpPeer.connect(rig.listener.port, "127.0.0.1", REFUSED);
  await refused.ended;
  using heard = await TcpPeer.connect(rig.listener.port, "127.0.0.1", "127.0.0.8");
  heard.write(request("1"));
  expect((await rig.messages.next()).flow.remoteAddress).toBe("127.0.0.8");
  expect(rig.transports.counts.refusedSources).toBe(1);
});

test("X-02 a refused source gets no answer to keepalives over UDP, others do", async () => {
  using rig = await Rig.start(["udp://127.0.0.1"], { isRefused: (address) => address === REFUSED });
  using refused = await udpPeer(REFUSED);
  using heard = await udpPeer("127.0.0.8");
  refused.send(PING, rig.listener.port, "127.0.0.1");
  heard.send(PING, rig.listener.port, "127.0.0.1");
  await heard.inbox.next();
  expect(refused.inbox.all).toEqual([]);
});

const STUN = "\0\x01\0\0\x21\x12\xa4\x42abcdefghijkl";

for (const [what, keepalive] of [["CRLF", PING], ["STUN", STUN]] as const) {
  test(`X-01 ${what} keepalives over UDP count as messages do: those beyond the rate get no answer`, async () => {
    let left = 2;
    const asked: boolean[] = [];
    const admitsKeepalive = (_: string, isPinned: boolean) => asked.push(isPinned) > 0 && left-- > 0;
    using rig = await Rig.start(["udp://127.0.0.1"], { admitsKeepalive });
    using peer = await udpPeer();
    for (let i = 0; i < 5; i++) peer.send(keepalive, rig.listener.port, "127.0.0.1");
    peer.send(request("1"), rig.listener.port, "127.0.0.1");
    const { flow } = await rig.messages.next();
    expect(asked).toEqual([false, false, false, false, false]);
    rig.transports.pin(flow);
    left = 1;
    peer.send(keepalive, rig.listener.port, "127.0.0.1");
    for (let i = 0; i < 3; i++) await peer.inbox.next();
    expect(peer.inbox.all).toHaveLength(3);
    expect(asked.at(-1)).toBe(true);
  });
}

test("X-01 pings over TCP count, too: a stranger's connection ends, a phone's gets no pong", async () => {
  let left = 3;
  using rig = await Rig.start(["tcp://127.0.0.1"], { admitsKeepalive: () => left-- > 0 });
  using phone = await TcpPeer.connect(rig.listener.port);
  phone.write(request("1"));
  const { flow } = await rig.messages.next();
  rig.transports.pin(flow);
  phone.write(PING.repeat(50) + request("2"));
  expect((await rig.messages.next()).text).toBe(request("2"));
  expect(flow.state).toBe("open");
  using stranger = await TcpPeer.connect(rig.listener.port);
  stranger.write(PING.repeat(50));
  await stranger.ended;
});

test("X-02 a flow is a phone's as long as it is pinned", async () => {
  using rig = await Rig.start(["udp://127.0.0.1"]);
  using peer = await udpPeer();
  peer.send(request("1"), rig.listener.port, "127.0.0.1");
  const { flow } = await rig.messages.next();
  const { transports } = rig;
  expect(transports.isPinned(flow)).toBe(false);
  transports.pin(flow);
  expect(transports.isPinned(flow)).toBe(true);
  transports.unpin(flow);
  expect(transports.isPinned(flow)).toBe(false);
});

test("X-01 O-03 new limits count for the next connection, and those that are there stay", async () => {
  using rig = await Rig.start(["tcp://127.0.0.1"], { limits: { maxConnectionsPerSource: 2 } });
  using first = await TcpPeer.connect(rig.listener.port);
  first.write(request("1"));
  await rig.messages.next();
  rig.transports.setLimits({ maxConnectionsPerSource: 1 });
  using second = await TcpPeer.connect(rig.listener.port);
  await second.ended;
  first.write(request("2"));
  expect((await rig.messages.next()).text).toBe(request("2"));
  rig.transports.setLimits({ maxConnectionsPerSource: 2 });
  using third = await TcpPeer.connect(rig.listener.port);
  third.write(request("3"));
  expect((await rig.messages.next()).text).toBe(request("3"));
});
