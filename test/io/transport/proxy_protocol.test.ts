import { expect, test } from "bun:test";
import { CertificateAuthority } from "../../../src/demo/certificate.ts";
import { readProxyHeader } from "../../../src/io/transport/proxy_protocol.ts";
import { request, Rig, TcpPeer } from "./rig.ts";
import { connect } from "node:net";
import { connect as connectTls } from "node:tls";

const SIGNATURE = "\r\n\r\n\0\r\nQUIT\n";
const IPV4 = "\xc0\x00\x02\x07" + "\x7f\0\0\x01" + "\x12\x34" + "\x13\xc4";
const IPV6 = "\x20\x01\x0d\xb8" + "\0".repeat(11) + "\x07" + "\0".repeat(15) + "\x01" + "\x12\x34\x13\xc4";
const PROXY = "127.0.1.1";
const authority = new CertificateAuthority();

function header(command: number, family: number, rest: string): string {
  return SIGNATURE + String.fromCharCode(command, family, rest.length >> 8, rest.length & 255) + rest;
}

const isProxy = (address: string) => address === PROXY;

test("T-01 the header of PROXY protocol, version 2", () => {
  const cases: [bytes: string, read: ReturnType<typeof readProxyHeader>][] = [
    [header(0x21, 0x11, IPV4), { kind: "header", length: 28, address: "192.0.2.7", port: 0x1234 }],
    [header(0x21, 0x11, IPV4 + "\x04\0\x02ab") + "more", {
      kind: "header",
      length: 33,
      address: "192.0.2.7",
      port: 0x1234,
    }],
    [header(0x21, 0x21, IPV6), { kind: "header", length: 52, address: "2001:db8::7", port: 0x1234 }],
    [header(0x20, 0, ""), { kind: "header", length: 16, address: "", port: 0 }],
    [header(0x21, 0x31, "x".repeat(216)), { kind: "header", length: 232, address: "", port: 0 }],
    [header(0x21, 0x11, IPV4).slice(0, 27), { kind: "incomplete" }],
    [SIGNATURE.slice(0, 3), { kind: "incomplete" }],
    ["\r\n\r\nREGISTER", { kind: "none" }],
    ["REGISTER", { kind: "none" }],
    [header(0x11, 0x11, IPV4), { kind: "malformed", reason: "its version is not 2" }],
    [header(0x21, 0x11, IPV4.slice(0, 11)), { kind: "malformed", reason: "it is too short for its addresses" }],
    [SIGNATURE + "\x21\x11\xff\xff", { kind: "malformed", reason: "it is larger than 2048 bytes" }],
  ];
  for (const [bytes, read] of cases) expect(readProxyHeader(Buffer.from(bytes, "latin1"))).toEqual(read);
});

test("X-01 a proxy says whose TCP connection it is, in one piece or torn, and of its own it says nothing", async () => {
  using rig = await Rig.start(["tcp://127.0.0.1"], { isProxy });
  const cases: [first: string, source: string][] = [
    [header(0x21, 0x11, IPV4), "192.0.2.7"],
    [header(0x21, 0x21, IPV6), "2001:db8::7"],
    [header(0x20, 0, ""), PROXY],
    ["", PROXY],
  ];
  for (const [first, source] of cases) {
    for (const isTorn of [false, true]) {
      using peer = await TcpPeer.connect(rig.listener.port, "127.0.0.1", PROXY);
      if (isTorn) { for (const byte of first) peer.write(byte); }
      else peer.write(first);
      peer.write(request("1"));
      const { flow, text } = await rig.messages.next();
      expect([flow.remoteAddress, text]).toEqual([source, request("1")]);
    }
  }
});

test("X-01 however much comes behind a proxy's header at once, without TLS it is SIP", async () => {
  using rig = await Rig.start(["tcp://127.0.0.1"], { isProxy });
  for (const first of [header(0x21, 0x11, IPV4), ""]) {
    using peer = await TcpPeer.connect(rig.listener.port, "127.0.0.1", PROXY);
    const large = request("1", "x".repeat(20_000));
    peer.write(first + large);
    expect((await rig.messages.next()).text).toBe(large);
  }
});

test("X-01 a proxy's header is believed of proxies alone, and the named source has its limits and bans", async () => {
  using rig = await Rig.start(["tcp://127.0.0.1"], { isProxy, isRefused: (address) => address === "192.0.2.7" });
  using stranger = await TcpPeer.connect(rig.listener.port);
  stranger.write(header(0x21, 0x11, IPV4) + request("1"));
  expect((await rig.malformed.next()).problem.reason).toBe("Not a SIP message");
  using banned = await TcpPeer.connect(rig.listener.port, "127.0.0.1", PROXY);
  banned.write(header(0x21, 0x11, IPV4) + request("1"));
  await banned.ended;
  using broken = await TcpPeer.connect(rig.listener.port, "127.0.0.1", PROXY);
  broken.write(header(0x11, 0x11, IPV4) + request("1"));
  await broken.ended;
  expect(rig.reasons.slice(-2)).toEqual([
    "Its source gets no connection",
    "The proxy's header cannot be read: its version is not 2",
  ]);
  expect(rig.messages.all).toEqual([]);
});

test("X-01 a proxy's header stands before the TLS handshake", async () => {
  const tls = { pairs: [{ ...authority.issue({ addresses: ["127.0.0.1"] }), names: [] }], clientCa: "" };
  using rig = await Rig.start(["tls://127.0.0.1"], { tls, isProxy });
  const raw = connect({ host: "127.0.0.1", port: rig.listener.port, localAddress: PROXY });
  await new Promise((resolve) => raw.once("connect", resolve));
  raw.write(Buffer.from(header(0x21, 0x11, IPV4), "latin1"));
  const socket = connectTls({ socket: raw, ca: authority.cert, host: "127.0.0.1" });
  await new Promise((resolve, reject) => socket.once("secureConnect", resolve).once("error", reject));
  socket.write(request("1"));
  const { flow, text } = await rig.messages.next();
  expect([flow.transport, flow.remoteAddress, flow.remotePort, text]).toEqual([
    "tls",
    "192.0.2.7",
    0x1234,
    request("1"),
  ]);
  socket.destroy();
});
