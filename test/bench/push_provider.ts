/**
 * A local push service in a process of its own, so that the figures are the client's: `apns`, `fcm`, `webpush`, or
 * `webhook`. First line out: how to reach it; at the end of its input: what came, as `[uuid, ms, Call-ID]`, and what no sender
 * must do.
 */
import { makeVapidKeys } from "../../src/config/vapid_keys.ts";
import { ApnsServer } from "../io/push/apns/apns_server.ts";
import { FcmServer } from "../io/push/fcm/fcm_server.ts";
import { WebPushService } from "../io/push/webpush/webpush_service.ts";

/** How to reach it: the section of the config, the secret files it names, and a phone. */
export interface Provider {
  config: Record<string, unknown>;
  files: Record<string, string>;
  phone: { provider: string; param: string; prid: string; keys?: { p256dh: string; auth: string } };
}

export interface Came {
  arrivals: [uuid: string, atMs: number, callId: string][];
  faults: string[];
  connections: number;
}

async function serve(service: string): Promise<[Provider, () => Came]> {
  switch (service) {
    case "apns": {
      const server = await new ApnsServer({ now: Date.now, maxStreams: 1000 }).start();
      const prid = "ab".repeat(32);
      server.install(prid, "org.example.phone.voip");
      const { url, ca, p8, keyId, teamId } = server;
      const config = {
        key_file: "key",
        key_id: keyId,
        team_id: teamId,
        server: url,
        sandbox_server: url,
        ca_file: "ca",
      };
      const phone = { provider: "apns", param: `${teamId}.org.example.phone.voip`, prid };
      return [{ config, files: { key: p8, ca }, phone }, () => ({
        arrivals: server.received.map(({ headers, atMs, payload }) => [headers["apns-id"]!, atMs, payload.call_id]),
        faults: server.faults,
        connections: server.sessions.length,
      })];
    }
    case "fcm": {
      const server = await new FcmServer(Date.now).start();
      server.tokens.add("token-1");
      const config = { service_account_file: "account", server: server.url, ca_file: "ca" };
      const phone = { provider: "fcm", param: server.projectId, prid: "token-1" };
      return [{ config, files: { account: server.account(), ca: server.ca }, phone }, () => ({
        arrivals: server.received.map(({ message, atMs }) => [message.data.uuid, atMs, message.data.call_id]),
        faults: server.faults,
        connections: server.sessions.length,
      })];
    }
    case "webpush": {
      const server = await new WebPushService(Date.now).start();
      const vapid = makeVapidKeys();
      const { endpoint, keys } = server.subscribe(vapid.publicKey);
      const config = { subject: "mailto:a@b", vapid_file: "vapid", ca_file: "ca", allow_hosts: ["127.0.0.1"] };
      const phone = { provider: "webpush", param: "", prid: endpoint, keys };
      return [{ config, files: { vapid: JSON.stringify(vapid), ca: server.ca }, phone }, () => ({
        arrivals: server.received.map(({ payload, atMs }) => [payload?.uuid ?? "", atMs, payload?.call_id ?? ""]),
        faults: server.faults,
        connections: server.connections,
      })];
    }
    default: {
      const arrivals: Came["arrivals"] = [];
      const server = Bun.serve({
        hostname: "127.0.0.1",
        port: 0,
        fetch: async (request) => {
          const atMs = performance.timeOrigin + performance.now();
          const { uuid, call_id } = await request.json() as { uuid: string; call_id: string };
          arrivals.push([uuid, atMs, call_id]);
          return new Response(null, { status: 202 });
        },
      });
      const config = { acme: { url: `http://127.0.0.1:${server.port}/wake`, token_file: "", timeout: 5000 } };
      const phone = { provider: "acme", param: "", prid: "token" };
      return [{ config, files: {}, phone }, () => ({ arrivals, faults: [], connections: 1 })];
    }
  }
}

if (import.meta.main) {
  const [provider, came] = await serve(process.argv[2] ?? "");
  console.log(JSON.stringify(provider));
  await Bun.stdin.text();
  const { arrivals, faults, connections } = came();
  console.log(JSON.stringify({ arrivals, faults: faults.slice(0, 3), connections }));
  process.exit(0);
}
