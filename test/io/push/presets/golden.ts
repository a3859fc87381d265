/** The exact request of each preset and event, as text. Run by itself it writes the golden files anew: look at what changed. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { SenderRequest } from "../../../../src/config/sender/sender.ts";
import { fillRequest } from "../../../../src/io/push/http_sender/fill.ts";
import { placeholderValues } from "../../../../src/io/push/http_sender/values.ts";
import type { PushRequest } from "../../../../src/io/push/types.ts";
import { pushRequest } from "../virtual_world.ts";
import { senderOf } from "../http_sender/senders.ts";
import { KEY, SERVICES } from "./services.ts";

export const FOLDER = join(import.meta.dir, "golden");
const EVENTS = ["call", "cancel", "missed", "message", "refresh"] as const;
const NOW = Date.parse("2026-01-02T03:04:05.678Z");

/** One call by somebody with a name, and one by nobody that is told (P-13). */
const CALLS: Record<string, Partial<PushRequest>> = {
  "": { fromName: 'Zo\u00c3\u00ab "Z" O\'Hara', fromUri: "sip:+4930123@pbx.example.org" },
  " of a caller who is not told": { event: "call", fromName: "", fromUri: "" },
  ", answered elsewhere": { event: "cancel", reason: "answered_elsewhere" },
};

/** What stands in the golden file of a preset. */
export function goldenOf(name: string): string {
  const { config, phone } = SERVICES[name]!;
  const sender = senderOf(config("https://service.example"));
  const parts = EVENTS.flatMap((event) => {
    return Object.entries(CALLS).filter(([, { event: only }]) => (only ?? event) === event).map(([words, caller]) => {
      const title = `=== ${event}${words}\n`;
      const request = sender.events[words === ", answered elsewhere" ? "answered_elsewhere" : event];
      return title +
        (request === null ? "nothing is sent\n" : textOf(request, { ...phone, ...caller, event }, sender.wake_url));
    });
  });
  return parts.join("\n");
}

function textOf(request: SenderRequest, changes: Partial<PushRequest>, wakeUrl: string): string {
  const push = pushRequest({
    provider: "fcm",
    uuid: "6a7a2a4e-0000-4000-8000-000000000001",
    ttlMs: 30_000,
    ...changes,
  });
  const facts = { wakeUrl, token: KEY };
  const filled = fillRequest(request, placeholderValues(push, facts, NOW, push.ttlMs), new Map());
  if (typeof filled === "string") return `${filled}\n`;
  const headers = Object.entries(filled.headers).map(([name, value]) => `${name}: ${value}\n`).join("");
  return `${filled.method} ${filled.url}\n${headers}\n${filled.body === "" ? "" : `${filled.body}\n`}`;
}

if (import.meta.main) {
  for (const name of Object.keys(SERVICES)) writeFileSync(join(FOLDER, `${name}.txt`), goldenOf(name));
}
