import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Appliance } from "../../src/appliance/appliance.ts";
import { loadConfigFile } from "../../src/config/files.ts";
import { openStore } from "../../src/io/store/sqlite.ts";

const folder = mkdtempSync(join(tmpdir(), "latefork-backup-test-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Sends a REGISTER and waits for the answer. */
async function register(port: number, user: string, cseq: number, expires: number): Promise<string> {
  const answered = Promise.withResolvers<string>();
  const socket = await Bun.udpSocket({
    hostname: "127.0.0.1",
    socket: { data: (_socket, bytes) => answered.resolve(String(bytes)) },
  });
  socket.send(
    `REGISTER sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:${socket.port};branch=z9hG4bK${user}${cseq};rport\r\n` +
      `Max-Forwards: 70\r\nFrom: <sip:${user}@127.0.0.1>;tag=1\r\nTo: <sip:${user}@127.0.0.1>\r\nCall-ID: ${user}\r\n` +
      `CSeq: ${cseq} REGISTER\r\nContact: <sip:${user}@192.0.2.7>\r\nExpires: ${expires}\r\nContent-Length: 0\r\n\r\n`,
    port,
    "127.0.0.1",
  );
  const answer = await answered.promise;
  socket.close();
  return answer.slice(8, 11);
}

/** The users of a backup that the control port gives out. */
async function usersIn(appliance: Appliance): Promise<string[]> {
  const path = join(folder, `${crypto.randomUUID()}.db`);
  const response = await fetch(`${appliance.controlUrls[0]}/v1/backup`, { method: "POST" });
  await Bun.write(path, await response.bytes());
  const { store } = openStore({ path, sync: "full" });
  const users = store!.load(0).contacts.map(({ aorKey }) => aorKey.split("@")[0]!);
  store!.close();
  return users.sort();
}

test.each([":memory:", join(folder, "latefork.db")])(
  "S-04 a backup of %s has who is registered at that moment",
  async (path) => {
    const file = join(folder, "latefork.yaml");
    writeFileSync(
      file,
      `listen: ["udp://127.0.0.1:0"]
store: { path: "${path}" }
security: { trust: [127.0.0.1/32] }
control: { listen: ["http://127.0.0.1:0"] }
log: { level: error }
`,
    );
    const appliance = new Appliance({ config: loadConfigFile(file).config!, configFile: file });
    await appliance.start();
    const { port } = appliance.transports.listeners()[0]!;
    expect(await register(port, "alice", 1, 600)).toBe("200");
    expect(await register(port, "bob", 1, 600)).toBe("200");
    expect(await register(port, "bob", 2, 600)).toBe("200");
    expect(await usersIn(appliance)).toEqual(["alice", "bob"]);
    expect(await register(port, "alice", 2, 0)).toBe("200");
    expect(await register(port, "carol", 1, 600)).toBe("200");
    expect(await usersIn(appliance)).toEqual(["bob", "carol"]);
    await appliance.stop();
  },
);
