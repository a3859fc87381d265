/** What a phone hears of push over a real socket is what the relay of the running appliance can send to, also after a reload. */
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Appliance } from "../../src/appliance/appliance.ts";
import { loadConfigFile } from "../../src/config/files.ts";
import { makeVapidKeys } from "../../src/config/vapid_keys.ts";
import { Log } from "../../src/observe/log.ts";

const folder = mkdtempSync(join(tmpdir(), "latefork-feature-caps-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const vapid = makeVapidKeys();
const vapidFile = join(folder, "vapid.json");
writeFileSync(vapidFile, JSON.stringify(vapid), { mode: 0o600 });
const configFile = join(folder, "latefork.yaml");

function writeConfig(push: string): void {
  writeFileSync(
    configFile,
    `domain: example.org
listen: ["tcp://127.0.0.1:0"]
security: { trust: [127.0.0.0/8] }
push:
  unsupported: "555"
${push}store: { path: ":memory:" }
control: { listen: [] }
`,
  );
}

let serial = 0;

/** The answer to one REGISTER, over a connection of its own. */
async function answerTo(appliance: Appliance, params: string): Promise<string> {
  const socket = connect(appliance.transports.listeners()[0]!.port, "127.0.0.1").setEncoding("latin1");
  const id = ++serial;
  socket.write(
    [
      "REGISTER sip:example.org SIP/2.0",
      `Via: SIP/2.0/TCP 127.0.0.1:40000;branch=z9hG4bKr${id};rport`,
      "Max-Forwards: 70",
      `From: <sip:alice@example.org>;tag=${id}`,
      "To: <sip:alice@example.org>",
      `Call-ID: caps-${id}`,
      "CSeq: 1 REGISTER",
      `Contact: <sip:alice@127.0.0.1:40000;transport=tcp${params}>`,
      "Expires: 600",
      "Content-Length: 0",
      "",
      "",
    ].join("\r\n"),
  );
  try {
    let text = "";
    for await (const chunk of socket) {
      text += chunk;
      if (text.includes("\r\n\r\n")) return text;
    }
    return text;
  } finally {
    socket.destroy();
  }
}

/** The status and what is announced; a PURR is another one each time. */
function told(answer: string): string[] {
  const lines = answer.split("\r\n").filter((line) => line.startsWith("SIP/2.0") || line.startsWith("Feature-Caps"));
  return lines.map((line) => line.replace(/(?<=;\+sip\.pnspurr=")[a-z0-9]{72}(?=")/, "PURR"));
}

test("P-02 the services of the config are announced, those of a new one after a reload", async () => {
  writeConfig(`  webpush: { vapid_file: ${vapidFile}, subject: "mailto:ops@example.org" }
  webhook: { acme: { url: "http://127.0.0.1:9/push" } }
`);
  const { config, problems } = loadConfigFile(configFile);
  expect(problems).toEqual([]);
  const silent = { isTty: false, write: (bytes: Uint8Array) => bytes.length, nowMs: () => 0, later: () => {} };
  const appliance = new Appliance({ config: config!, configFile, log: new Log(config!.log, silent) });
  await appliance.start();
  try {
    const ok = "SIP/2.0 200 OK";
    const refused = "SIP/2.0 555 Push Notification Service Not Supported";
    const webpush = `Feature-Caps: *;+sip.pns="webpush";+sip.vapid="${vapid.publicKey}"`;
    const acme = 'Feature-Caps: *;+sip.pns="acme"';
    const endpoint = encodeURIComponent("https://push.example/abc");
    expect(told(await answerTo(appliance, `;pn-provider=webpush;pn-prid=${endpoint}`))).toEqual([
      ok,
      webpush.replace(";+sip.vapid", ';+sip.pnspurr="PURR";+sip.vapid'),
    ]);
    expect(told(await answerTo(appliance, ";pn-provider=acme;pn-prid=t"))).toEqual([ok, acme + ';+sip.pnspurr="PURR"']);
    expect(told(await answerTo(appliance, ";pn-provider"))).toEqual([ok, webpush, acme]);
    expect(told(await answerTo(appliance, ";pn-provider=fcm;pn-prid=t"))).toEqual([refused]);
    writeConfig(`  webhook: { fcm: { url: "http://127.0.0.1:9/push" } }
`);
    appliance.reload();
    expect(told(await answerTo(appliance, ";pn-provider=fcm;pn-prid=t"))).toEqual([
      ok,
      'Feature-Caps: *;+sip.pns="fcm";+sip.pnspurr="PURR"',
    ]);
    expect(told(await answerTo(appliance, ";pn-provider=acme"))).toEqual([refused]);
  } finally {
    await appliance.stop();
  }
});
