/** What a stranger sends: torture messages over real sockets, and whether the calls of others feel it. */
import { expect } from "bun:test";
import { connect } from "node:net";
import { type TortureCase, tortureCases, tortureFolder } from "../torture/messages.ts";
import { eventually } from "./program.ts";
import { peerTest, type Rig } from "./rig.ts";

const folder = tortureFolder();
const cases = folder === null ? [] : tortureCases(folder);
const absent = folder === null ? ["the messages of RFC 4475: $LATEFORK_TORTURE names no folder"] : [];

/** RFC 3261 §18.2.2: without rport the answer goes to the port of the sent-by. */
function replyPort({ viaSentBy }: TortureCase): number {
  return Number(/:(\d+)$/.exec(viaSentBy.replace(/^\[.*\]/, ""))?.[1] ?? 5060);
}

const statusOf = (text: string) => Number(/^SIP\/2\.0 (\d{3}) /.exec(text)?.[1] ?? 0);

/** Each from an address of its own, so that its answers are known by where they arrive. */
async function sendDatagram(torture: TortureCase, from: string, to: { host: string; port: number }): Promise<string[]> {
  const answers: string[] = [];
  const open = () =>
    Bun.udpSocket({
      hostname: from,
      port: replyPort(torture),
      socket: { data: (_, data) => void answers.push(data.toString("latin1")) },
    }).catch(() => null);
  const socket = await eventually(`port ${replyPort(torture)} of ${from} is free`, 8000, open);
  socket.send(Buffer.from(torture.text, "latin1"), to.port, to.host);
  await Bun.sleep(1200);
  socket.close();
  return answers;
}

async function sendOverTcp(torture: TortureCase, from: string, to: { host: string; port: number }): Promise<string[]> {
  const answers: string[] = [];
  const socket = connect({ ...to, localAddress: from });
  socket.on("data", (data) => void answers.push(data.toString("latin1"))).on("error", () => {});
  socket.write(torture.text, "latin1");
  await Bun.sleep(1200);
  socket.destroy();
  return answers;
}

/** Statuses of the first answers, by file; 0: silence. */
async function hurl(rig: Rig): Promise<Map<string, number>> {
  const to = { host: rig.address("us"), port: rig.port };
  const statuses = new Map<string, number>();
  await Promise.all(cases.map(async (torture, n) => {
    const from = rig.address("us").replace(/\d+$/, String(100 + n));
    const send = torture.isDatagram ? sendDatagram : sendOverTcp;
    const answers = await send(torture, from, to);
    // 100 says only that an INVITE was taken.
    statuses.set(torture.file, answers.map(statusOf).find((status) => status > 100) ?? 0);
  }));
  return statuses;
}

function wrongOf(statuses: Map<string, number>): string[] {
  const words: string[] = [];
  for (const torture of cases) {
    const status = statuses.get(torture.file)!;
    const isRight = torture.class === "REJECT"
      ? torture.statuses.includes(status) || (status === 0 && torture.mayDrop)
      : torture.class === "DROP"
      ? status === 0
      : torture.class === "PROCESS"
      ? ![400, 416, 420, 505].includes(status)
      : true;
    if (!isRight) {
      words.push(`${torture.file} (${torture.class} ${torture.statuses.join("|")}): ${status || "silence"}`);
    }
  }
  return words;
}

peerTest(
  "F-08 X-06 torture messages over sockets: refused as RFC 4475 asks, and none that is refused reaches the PBX",
  absent,
  async (rig) => {
    const atPbx: string[] = [];
    const pbx = await Bun.udpSocket({
      hostname: rig.address("pbx"),
      port: rig.port,
      socket: { data: (_, data) => void atPbx.push(data.toString("latin1")) },
    });
    const appliance = await rig.appliance(rig.config());
    const { pid } = await appliance.info();
    const statuses = await hurl(rig);
    pbx.close();
    expect(wrongOf(statuses)).toEqual([]);
    const isRefused = (torture: TortureCase) => torture.class === "REJECT" || torture.class === "DROP";
    const callIdsOf = (some: TortureCase[]) =>
      some.flatMap(({ text }) => /^(?:call-id|i)[ \t]*:[ \t]*(\S+)/im.exec(text)?.[1] ?? []);
    // Two messages of RFC 5118 have one Call-ID, and only one of them is bad.
    const good = callIdsOf(cases.filter((torture) => !isRefused(torture)));
    const refused = callIdsOf(cases.filter(isRefused)).filter((callId) => !good.includes(callId));
    expect(refused.length).toBeGreaterThan(15);
    expect(atPbx.filter((wire) => refused.some((callId) => wire.includes(callId)))).toEqual([]);
    expect((await appliance.info()).pid).toBe(pid);
    expect(await appliance.metric("rejected_total")).toBeGreaterThan(10);
  },
);

peerTest("X-06 F-08 a call goes on while torture messages arrive; OPTIONS of sipsak is answered before and after", [
  "kamailio",
  "sipp",
  "sipsak",
], async (rig) => {
  await rig.kamailio(["alice"]);
  const appliance = await rig.appliance(rig.config());
  const phone = rig.phone("phoneA", { user: "alice", transport: "tcp" });
  expect((await phone.register()).status).toBe(200);
  const ping = async (transport: "udp" | "tcp") =>
    await rig.program("sipsak", "sipsak", ["-v", "-E", transport, "-s", `sip:${rig.at("us")}`]).exited;
  const { pid } = await appliance.info();
  expect(await Promise.all([ping("udp"), ping("tcp")])).toEqual([0, 0]);

  const caller = rig.sipp({ from: "caller", to: "pbx", scenario: "caller", user: "alice", pauseMs: 2500 });
  await phone.next("ACK");
  await hurl(rig);
  // One bit of trash after another in an otherwise good OPTIONS.
  const trash = rig.program("sipsak", "sipsak", ["-R", "-t", "60", "-s", `sip:alice@${rig.at("us")}`]);
  await phone.next("BYE");
  await caller.done();
  await trash.end();

  await rig.sipp({ from: "caller", to: "pbx", scenario: "caller", user: "alice", pauseMs: 100 }).done();
  expect(await Promise.all([ping("udp"), ping("tcp")])).toEqual([0, 0]);
  expect((await appliance.info()).pid).toBe(pid);
});
