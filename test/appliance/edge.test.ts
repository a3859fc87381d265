/** Calls over TLS and WSS through a real appliance: what stands in Via, Record-Route and Contact, and that it holds. */
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Appliance } from "../../src/appliance/appliance.ts";
import { guardSettings } from "../../src/appliance/guard_settings.ts";
import { probePbx } from "../../src/appliance/pbx_probe.ts";
import { loadConfigFile } from "../../src/config/files.ts";
import { RECORD_ROUTE, VIA } from "../../src/core/sip/header.ts";
import type { Message } from "../../src/core/sip/message.ts";
import { CertificateAuthority } from "../../src/demo/certificate.ts";
import { Log } from "../../src/observe/log.ts";
import { TcpPeer } from "../io/transport/rig.ts";
import { contactOf, responseText, routeLines } from "../sim/wire.ts";
import { next, type SipPeer, tlsPbx, tlsPhone, udpPbx, webPhone } from "./edge_peers.ts";

const folder = mkdtempSync(join(tmpdir(), "latefork-edge-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const authority = new CertificateAuthority();
const file = join(folder, "latefork.yaml");
let branches = 0;

function certify(name = "sip.example.org", validToMs = 0): void {
  const options = { names: [name], addresses: ["127.0.0.1"], validFromMs: Date.now() - 1e9 };
  const { cert, key } = authority.issue(validToMs === 0 ? options : { ...options, validToMs });
  writeFileSync(join(folder, "sip.pem"), cert);
  writeFileSync(join(folder, "sip.key"), key, { mode: 0o600 });
}

certify();
writeFileSync(join(folder, "ca.pem"), authority.cert);

interface Started extends AsyncDisposable {
  appliance: Appliance;
  /** Warnings of the log. */
  warnings(): string;
  port(transport: string): number;
}

async function start(lines: string): Promise<Started> {
  writeFileSync(
    file,
    `domain: example.org
store: { path: ":memory:" }
control: { listen: ["http://127.0.0.1:0"] }
listen: ["udp://127.0.0.1:0", "tls://127.0.0.1:0", "wss://127.0.0.1:0/sip"]
tls: { cert_file: sip.pem, key_file: sip.key }
${lines}
`,
  );
  const { config, problems } = loadConfigFile(file);
  if (config === null) throw new Error(JSON.stringify(problems));
  let logged = "";
  const write = (bytes: Uint8Array) => (logged += new TextDecoder().decode(bytes), bytes.length);
  const log = new Log(config.log, { isTty: false, write, nowMs: () => 0, later: () => {} });
  const appliance = new Appliance({ config, configFile: file, log });
  await appliance.start();
  return {
    appliance,
    warnings: () => (log.flush(), logged),
    port: (transport) => appliance.transports.listeners().find((own) => own.transport === transport)!.port,
    [Symbol.asyncDispose]: () => appliance.stop(),
  };
}

interface Parts {
  uri: string;
  callId: string;
  cseq?: number;
  from: string;
  to: string;
  lines?: string;
}

function sendRequest(peer: SipPeer, method: string, { uri, callId, cseq = 1, from, to, lines = "" }: Parts): void {
  peer.send(
    `${method} ${uri} SIP/2.0\r\nVia: SIP/2.0/${peer.transport} ${peer.sentBy};rport;branch=z9hG4bK-${++branches}\r\n` +
      `Max-Forwards: 70\r\nFrom: ${from}\r\nTo: ${to}\r\nCall-ID: ${callId}\r\nCSeq: ${cseq} ${method}\r\n${lines}` +
      "Content-Length: 0\r\n\r\n",
  );
}

function contactUri(peer: SipPeer): string {
  const transport = peer.transport === "UDP" ? "" : `;transport=${peer.transport === "TLS" ? "tls" : "ws"}`;
  return `sip:alice@${peer.sentBy}${transport}`;
}

/** The phone registers; the PBX takes it. Gives the Contact that the PBX has of us. */
async function register(phone: SipPeer, pbx: SipPeer): Promise<string> {
  sendRequest(phone, "REGISTER", {
    uri: "sip:example.org",
    callId: `reg-${++branches}`,
    from: "<sip:alice@example.org>;tag=p",
    to: "<sip:alice@example.org>",
    lines: `Contact: <${contactUri(phone)}>\r\nExpires: 600\r\n`,
  });
  const forwarded = await next(pbx, "REGISTER");
  const ours = contactOf(forwarded);
  pbx.send(responseText(forwarded, 200, "pbx", `Contact: <${ours}>;expires=600\r\n`));
  const granted = await next(phone, 200);
  expect(contactOf(granted)).toBe(contactUri(phone));
  return ours;
}

const viaOf = (message: Message) => message.values(VIA)[0]!;
/** Record-Routes without their tokens. */
const recordRoutes = (message: Message) => message.list(RECORD_ROUTE)!.map((route) => route.replace(/:[^:@]*@/, ":"));

/** The PBX calls alice by the Contact it has, she answers; then `between`, then she hangs up. */
async function call(pbx: SipPeer, phone: SipPeer, ours: string, between?: () => Promise<void>) {
  const callId = `call-${++branches}`;
  const [from, to] = ["<sip:bob@example.org>;tag=b", "<sip:alice@example.org>"];
  sendRequest(pbx, "INVITE", {
    uri: ours,
    callId,
    from,
    to,
    lines: `Contact: <sip:bob@${pbx.sentBy}${pbx.transport === "TLS" ? ";transport=tls" : ""}>\r\n`,
  });
  const invite = await next(phone, "INVITE");
  phone.send(responseText(invite, 200, "a", `Contact: <${contactUri(phone)}>\r\n`));
  const answer = await next(pbx, 200);
  const dialog = { callId, from, to: `${to};tag=a`, lines: routeLines(answer, true) };
  sendRequest(pbx, "ACK", { ...dialog, uri: contactOf(answer) });
  const ack = await next(phone, "ACK");
  await between?.();
  sendRequest(phone, "BYE", {
    uri: contactOf(invite),
    callId,
    cseq: 7,
    from: `${to};tag=a`,
    to: from,
    lines: routeLines(invite, false),
  });
  const bye = await next(pbx, "BYE");
  pbx.send(responseText(bye, 200, ""));
  await next(phone, 200);
  return { invite, answer, ack, bye };
}

const phones: [name: string, open: (edge: Started) => Promise<SipPeer>][] = [
  ["tls", (edge) => tlsPhone(edge.port("tls"), { ca: authority.cert, serverName: "sip.example.org" })],
  ["wss", (edge) => webPhone(`wss://127.0.0.1:${edge.port("wss")}/sip`, authority.cert)],
];

for (const [transport, open] of phones) {
  test(`T-01 F-03 a ${transport} phone beside a UDP PBX: each side gets a Via, Route and Contact of its transport`, async () => {
    using pbx = await udpPbx(() => edge.port("udp"));
    await using edge: Started = await start(`pbx: { uri: "sip:127.0.0.1:${pbx.port}", qualify: 0 }`);
    using phone = await open(edge);
    const ours = await register(phone, pbx);
    const [udp, own] = [edge.port("udp"), edge.port(transport)];
    expect(ours).toMatch(new RegExp(`^sip:alice@127\\.0\\.0\\.1:${udp};lf=`));
    const { invite, answer, ack, bye } = await call(pbx, phone, ours);
    const routes = [
      `<sip:127.0.0.1:${own};transport=${transport === "wss" ? "ws" : "tls"};lr>`,
      `<sip:127.0.0.1:${udp};lr>`,
    ];
    expect(viaOf(invite)).toStartWith(`SIP/2.0/${transport.toUpperCase()} 127.0.0.1:${own};branch=`);
    expect(recordRoutes(invite)).toEqual(routes);
    expect(recordRoutes(answer)).toEqual(routes);
    expect(viaOf(ack)).toStartWith(`SIP/2.0/${transport.toUpperCase()} 127.0.0.1:${own};branch=`);
    expect(viaOf(bye)).toStartWith(`SIP/2.0/UDP 127.0.0.1:${udp};branch=`);
    expect([ack, bye].map((message) => message.valueOf("route") ?? null)).toEqual([null, null]);
    const { items } = await (await fetch(edge.appliance.controlUrls[0] + "/v1/locations")).json() as {
      items: { devices: { flow: object }[] }[];
    };
    expect(items[0]!.devices[0]!.flow).toMatchObject({ state: "live", transport });
  });
}

test("T-06 O-03 a reload shows new certificates and drops neither a connection nor a call", async () => {
  using pbx = await udpPbx(() => edge.port("udp"));
  await using edge: Started = await start(`pbx: { uri: "sip:127.0.0.1:${pbx.port}", qualify: 0 }`);
  const control = edge.appliance.controlUrls[0]!;
  const shown = async () => {
    const answer = await (await fetch(control + "/v1/tls")).json() as {
      items: { names: string[]; days_left: number }[];
    };
    return answer.items.map(({ names, days_left }) => [names.at(-1), days_left]);
  };
  for (const [, open] of phones) {
    certify();
    await fetch(control + "/v1/reload", { method: "POST" });
    using phone = await open(edge);
    const ours = await register(phone, pbx);
    await call(pbx, phone, ours, async () => {
      certify("new.example.org", Date.now() + 60 * 86_400_000 + 60_000);
      expect((await fetch(control + "/v1/reload", { method: "POST" })).status).toBe(200);
      expect(await shown()).toEqual([["new.example.org", 60]]);
      using other = await tlsPhone(edge.port("tls"), { ca: authority.cert, serverName: "new.example.org" });
      expect(other.transport).toBe("TLS");
    });
  }
  // What cannot be used is refused, and what was there stays.
  writeFileSync(join(folder, "sip.key"), "garbage");
  const refused = await fetch(control + "/v1/reload", { method: "POST" });
  expect(refused.status).toBe(422);
  expect(await refused.text()).toContain("it is not PEM text");
  expect(await shown()).toEqual([["new.example.org", 60]]);
  using still = await tlsPhone(edge.port("tls"), { ca: authority.cert, serverName: "new.example.org" });
  expect(still.transport).toBe("TLS");
  expect(await (await fetch(control + "/metrics")).text()).toMatch(
    /latefork_tls_certificate_days\{file="[^"]*sip\.pem"\} 60/,
  );
  certify();
});

test("T-06 a certificate that ends soon is a line of the log and of the status", async () => {
  certify("sip.example.org", Date.now() + 3.5 * 86_400_000);
  await using edge = await start("security: { trust: [127.0.0.1/32] }");
  const status = async () => await (await fetch(edge.appliance.controlUrls[0] + "/v1/status?format=text")).text();
  expect(await status()).toMatch(/certificate +127\.0\.0\.1, sip\.example\.org: EXPIRES ON .*, IN 3 DAYS/);
  while (!/sip\.pem expires on .*, in 3 days/.test(edge.warnings())) await status();
  certify();
});

test("T-01 T-06 the PBX by TLS: called under its name, its own connection believed, calls both ways", async () => {
  const pbxOnly = authority.issue({ names: ["localhost"], addresses: ["127.0.0.1"] });
  const server = tlsPbx({ cert: pbxOnly.cert, key: pbxOnly.key });
  try {
    await using edge = await start(
      `pbx: { uri: "sip:localhost:${server.port};transport=tls", ca_file: ca.pem, qualify: 0 }`,
    );
    using phone = await tlsPhone(edge.port("tls"), { ca: authority.cert, serverName: "sip.example.org" });
    const registered = register(phone, whoever(server));
    using pbx = await server.accepted;
    const ours = await registered;
    expect(ours).toMatch(new RegExp(`^sip:alice@127\\.0\\.0\\.1:${edge.port("tls")};transport=tls;lf=`));
    // Over the connection that we made, and over one that it makes to our Contact.
    await call(pbx, phone, ours);
    using back = await tlsPhone(edge.port("tls"), { ca: authority.cert, serverName: "sip.example.org" });
    const callId = `back-${++branches}`;
    sendRequest(back, "INVITE", {
      uri: ours,
      callId,
      from: "<sip:bob@example.org>;tag=b",
      to: "<sip:alice@example.org>",
      lines: `Contact: <sip:bob@127.0.0.1:${server.port};transport=tls>\r\n`,
    });
    const invite = await next(phone, "INVITE");
    phone.send(responseText(invite, 486, "a"));
    await next(back, 486);
  } finally {
    server.stop();
  }
});

/** Whoever calls the PBX first. */
function whoever({ accepted }: ReturnType<typeof tlsPbx>): SipPeer {
  return {
    transport: "TLS",
    heard: { next: async () => await (await accepted).heard.next() } as SipPeer["heard"],
    sentBy: "",
    send: (text) => void accepted.then((pbx) => pbx.send(text)),
    [Symbol.dispose]() {},
  };
}

test("T-06 a PBX whose certificate is for somebody else gets nothing, and the log says so", async () => {
  const wrong = authority.issue({ names: ["other.example.org"] });
  const server = tlsPbx({ cert: wrong.cert, key: wrong.key });
  try {
    await using edge = await start(
      `pbx: { uri: "sips:127.0.0.1:${server.port}", ca_file: ca.pem, qualify: 0 }`,
    );
    using phone = await tlsPhone(edge.port("tls"), { ca: authority.cert, serverName: "sip.example.org" });
    sendRequest(phone, "REGISTER", {
      uri: "sip:example.org",
      callId: "wrong",
      from: "<sip:alice@example.org>;tag=p",
      to: "<sip:alice@example.org>",
      lines: `Contact: <${contactUri(phone)}>\r\n`,
    });
    expect((await phone.heard.next()).status).toBeGreaterThanOrEqual(480);
    expect(edge.warnings()).toContain("its certificate is not for 127.0.0.1, the name in pbx.uri");
  } finally {
    server.stop();
  }
});

test("X-01 X-06 thousands of half-open, slow and senseless handshakes from one network, and calls go on", async () => {
  using pbx = await udpPbx(() => edge.port("udp"));
  await using edge: Started = await start(
    `pbx: { uri: "sip:127.0.0.1:${pbx.port}", qualify: 0 }
limits: { connections: 4096, connections_per_source: 4000, handshakes: 500 }`,
  );
  const flood: TcpPeer[] = [];
  using phone = await phones[0]![1](edge);
  const ours = await register(phone, pbx);
  const firsts = ["", "\x16\x03\x01\x02\x00\x01", "\x16\x03\x01\x00\x05hello", "INVITE sip:x SIP/2.0\r\n\r\n"];
  await call(pbx, phone, ours, async () => {
    for (let count = 0; count < 3000; count++) {
      const peer = await TcpPeer.connect(edge.port("tls"), "127.0.0.1", `127.0.9.${1 + count % 200}`);
      peer.write(firsts[count % firsts.length]!);
      flood.push(peer);
    }
    // A phone that means it comes in among them.
    using late = await phones[1]![1](edge);
    expect(late.transport).toBe("WSS");
  });
  await call(pbx, phone, ours);
  const { failedHandshakes } = edge.appliance.transports.counts;
  expect(failedHandshakes).toBeGreaterThan(2000);
  for (const peer of flood) peer.reset();
}, 30_000);

test("O-02 check --live asks a PBX by TLS as we would, and says what is wrong with its certificate", async () => {
  const cases: [names: string[], ca: string, state: string, words: string][] = [
    [["localhost"], "ca.pem", "ok", "answered OPTIONS with 200 OK"],
    [["other.example.org"], "ca.pem", "failed", "its certificate is not for localhost, the name in pbx.uri"],
    [["localhost"], "", "failed", "its certificate is of no well-known CA: name its CA in pbx.ca_file"],
  ];
  for (const [names, ca, state, words] of cases) {
    const server = tlsPbx(authority.issue({ names }));
    void server.accepted.then(async (pbx) => pbx.send(responseText(await next(pbx, "OPTIONS"), 200, "pbx")));
    writeFileSync(
      file,
      `listen: ["tls://127.0.0.1:0"]\ntls: { cert_file: sip.pem, key_file: sip.key }\nstore: { path: ":memory:" }
pbx: { uri: "sip:localhost:${server.port};transport=tls", ca_file: "${ca}" }\n`,
    );
    const found = (await probePbx(loadConfigFile(file).config!, { answerMs: 5000 })).filter(({ words }) =>
      words.includes("127.0.0.1:")
    );
    expect(found).toMatchObject([{ part: "pbx", state }]);
    expect(found[0]!.words).toContain(words);
    server.stop();
  }
});

test("X-02 a proxy that does not say whom it speaks for is not banned for its phones", async () => {
  await using edge = await start("security: { trust: [192.0.2.0/24], proxies: [127.0.5.0/24] }");
  const settings = guardSettings(edge.appliance.config, () => false);
  expect([settings.isExempt("127.0.5.1"), settings.isExempt("127.0.6.1")]).toEqual([true, false]);
});
