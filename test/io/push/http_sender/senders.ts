/** Senders as the config file describes them, for tests. */
import { loadConfig } from "../../../../src/config/load.ts";
import type { SenderConfig } from "../../../../src/config/sender/sender.ts";

/** `push.http` of a config; throws with the problems of one that is wrong. */
export function sendersOf(yaml: string): Record<string, SenderConfig> {
  const indented = yaml.split("\n").map((line) => `    ${line}`).join("\n");
  const { config, problems } = loadConfig(`security: { trust: [10.0.0.0/8] }\npush:\n  http:\n${indented}\n`);
  if (config === null) throw new Error(JSON.stringify(problems));
  return config.push.http;
}

/** One sender, its description being the value of one key. */
export function senderOf(value: string): SenderConfig {
  return sendersOf(`own: ${value}`)["own"]!;
}
