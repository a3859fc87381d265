/**
 * The local APNs in a process of its own, so that the figures are the client's. First line out: how to reach it; at the
 * end of its input: what came, as `[apns-id, ms]`, and what no provider must do.
 */
import { ApnsServer } from "../push/apns_server.ts";

const server = await new ApnsServer({ now: Date.now, maxStreams: 1000 }).start();
server.install("ab".repeat(32), "org.example.phone.voip");
const { url, ca, p8, keyId, teamId } = server;
console.log(JSON.stringify({ url, ca, p8, keyId, teamId }));
await Bun.stdin.text();
const arrivals = server.received.map(({ headers, atMs }) => [headers["apns-id"], atMs]);
console.log(JSON.stringify({ arrivals, faults: server.faults.slice(0, 3), connections: server.sessions.length }));
process.exit(0);
