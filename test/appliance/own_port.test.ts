/** R-09 over real sockets: a PBX that trusts `pbx.own_port` gets nothing of a stranger's from there. */
import { expect, test } from "bun:test";
import { Appliance } from "../../src/appliance/appliance.ts";
import { loadConfig } from "../../src/config/load.ts";
import { Log } from "../../src/observe/log.ts";

/** A UDP peer that notes what it gets, and from which port. */
async function peer(answer: (text: string, port: number) => string | null) {
  const got: { text: string; port: number }[] = [];
  let heard: () => void = () => {};
  const socket = await Bun.udpSocket({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      data(self, bytes, port) {
        const text = bytes.toString("latin1");
        const reply = answer(text, port);
        if (reply !== null) self.send(reply, port, "127.0.0.1");
        got.push({ text, port });
        heard();
      },
    },
  });
  const until = async (wanted: (text: string) => boolean) => {
    for (;;) {
      const found = got.find(({ text }) => wanted(text));
      if (found !== undefined) return found;
      await new Promise<void>((resolve) => heard = resolve);
    }
  };
  return { socket, got, until };
}

function responseTo(request: string, status: string, lines: string[] = []): string {
  const kept = request.split("\r\n").filter((line) => /^(?:Via|From|To|Call-ID|CSeq):/.test(line))
    .map((line) => line.startsWith("To:") ? line + ";tag=pbx" : line);
  return [`SIP/2.0 ${status}`, ...kept, ...lines, "Content-Length: 0", "", ""].join("\r\n");
}

test("R-09 a stranger's REGISTER comes to the PBX from a port that it does not trust, ours from the one it does", async () => {
  const ports = await Promise.all([0, 0].map(() => Bun.udpSocket({ hostname: "127.0.0.1", port: 0 })));
  const [port, ownPort] = ports.map((socket) => socket.port) as [number, number];
  for (const socket of ports) socket.close();
  const pbx = await peer((text, from) => {
    if (!text.startsWith("REGISTER")) return responseTo(text, "200 OK");
    const isIn = from === ownPort || text.includes("\r\nAuthorization:");
    if (!isIn) return responseTo(text, "401 Unauthorized", ['WWW-Authenticate: Digest realm="pbx", nonce="n"']);
    return responseTo(text, "200 OK", text.split("\r\n").filter((line) => line.startsWith("Contact:")));
  });
  const { config, problems } = loadConfig(`domain: example.org
listen: ["udp://127.0.0.1:${port}"]
pbx: { uri: "sip:127.0.0.1:${pbx.socket.port}", trusts_us: true, own_port: ${ownPort}, expires: 60s }
registration: { min_expires: 1s }
store: { path: ":memory:" }
control: { listen: [] }
`);
  expect(problems.filter(({ severity }) => severity === "error")).toEqual([]);
  const silent = { isTty: false, write: (bytes: Uint8Array) => bytes.length, nowMs: () => 0, later: () => {} };
  const appliance = new Appliance({ config: config!, configFile: "", log: new Log(config!.log, silent) });
  await appliance.start();
  const phone = await peer(() => null);
  const register = (callId: string, cseq: number, line = "") =>
    phone.socket.send(
      `REGISTER sip:example.org SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:${phone.socket.port};branch=z9hG4bK${callId}${cseq};rport\r\n` +
        `From: <sip:alice@example.org>;tag=a\r\nTo: <sip:alice@example.org>\r\nCall-ID: ${callId}\r\nCSeq: ${cseq} REGISTER\r\n` +
        `Max-Forwards: 70\r\nContact: <sip:alice@127.0.0.1:${phone.socket.port}>\r\nExpires: 600\r\n${line}Content-Length: 0\r\n\r\n`,
      port,
      "127.0.0.1",
    );
  try {
    register("stranger", 1);
    await phone.until((text) => text.startsWith("SIP/2.0 401"));
    register("alice", 1, 'Authorization: Digest username="alice"\r\n');
    await phone.until((text) => text.startsWith("SIP/2.0 200"));
    appliance.turn.run(() => appliance.core.mid!.renewals.renewAll(0));
    const ours = await pbx.until((text) =>
      text.startsWith("REGISTER") && !text.includes("Call-ID: stranger") && !text.includes("Call-ID: alice")
    );
    expect(ours.port).toBe(ownPort);
    expect(/\r\nContact: <sip:alice@([^;]*);/.exec(ours.text)![1]).toBe(`127.0.0.1:${port}`);
    const fromOwn = pbx.got.filter((got) => got.port === ownPort);
    expect(fromOwn.every(({ text }) => text === ours.text)).toBe(true);
  } finally {
    await appliance.stop();
    for (const { socket } of [pbx, phone]) socket.close();
  }
});
