/** `/v1/config` and `/v1/reload`: the effective config, a config that is looked at, and the file read again (O-03). */
import { dirname } from "node:path";
import { checkFiles } from "../config/files.ts";
import { loadConfig } from "../config/load.ts";
import { masked } from "../config/masked.ts";
import type { Problem } from "../config/problem.ts";
import { jsonAnswer, textAnswer, wantsText } from "./answer.ts";
import type { ControlHost } from "./host.ts";
import { readText } from "./request.ts";
import { FORMAT, type Route, route } from "./route.ts";

const CONFIG_BYTES = 1024 * 1024;

export const CONFIG: readonly Route[] = [
  route({
    id: "config",
    method: "GET",
    path: "/v1/config",
    summary: "effective config without secrets",
    query: [FORMAT],
    example: "/v1/config",
    async answer(c, host) {
      const config = masked(host.config);
      if (!wantsText(c)) return jsonAnswer(config);
      const { stringify } = await import("yaml");
      // A section that is not set has no line, so that the text loads again.
      return textAnswer(stringify(Object.fromEntries(Object.entries(config).filter(([, value]) => value !== null))));
    },
  }),
  route({
    id: "configCheck",
    method: "POST",
    path: "/v1/config/check",
    summary: "say what is wrong with a config; the body is YAML",
    body: "yaml",
    example: "/v1/config/check --data-binary @latefork.yaml",
    answer: async (c, host) => jsonAnswer({ problems: problemsOf(await readText(c.req.raw, CONFIG_BYTES), host) }),
  }),
  route({
    id: "reload",
    method: "POST",
    path: "/v1/reload",
    summary: "read the config file again; 422 and no change if it is wrong",
    example: "/v1/reload",
    alsoStatus: [422, "the config is wrong: `problems` says where; nothing has changed"],
    async answer(c, host) {
      c.env.keepOpen();
      return jsonAnswer(await host.reload());
    },
  }),
];

/** Loads nothing: says what is wrong with this text. */
function problemsOf(yaml: string, { configFile }: ControlHost): Problem[] {
  const { config, problems, placeOf } = loadConfig(yaml, { folder: configFile === null ? "." : dirname(configFile) });
  return config === null ? problems : [...problems, ...checkFiles(config, placeOf)];
}
