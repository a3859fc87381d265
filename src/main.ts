/** argv → verb → exit code; the only file that ends the process. */
import { processIo } from "./cli/io.ts";
import { run } from "./cli/verbs.ts";

const io = processIo();
const code = await run(process.argv.slice(2), io, {
  serve: async (file) => (await import("./cli/serve.ts")).serve(file, io),
  demo: async (options) => (await import("./cli/demo.ts")).demo(options, io),
  probe: async (config, placeOf) => (await import("./cli/probe.ts")).probe(config, placeOf),
});
process.exit(code);
