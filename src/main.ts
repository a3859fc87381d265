/** argv → verb → exit code; the only file that ends the process. */
import { processIo } from "./cli/io.ts";
import { run } from "./cli/verbs.ts";

// JavaScriptCore sizes its heap by the RAM of the machine: with 24 GB a burst of calls leaves 1 GB of unused heap behind,
// with a hint of 512 MiB far less. The hint is read only at the start of a process, so `serve` starts itself again in its
// own place (same pid). A variable that is set already is kept.
const HEAP_HINT = "BUN_JSC_forceRAMSize";
if (process.argv.includes("serve") && process.env[HEAP_HINT] === undefined) {
  const isCompiled = import.meta.dir.startsWith("/$bunfs");
  const args = isCompiled ? process.argv.slice(2) : [...process.execArgv, ...process.argv.slice(1)];
  try {
    process.execve?.(process.execPath, [process.execPath, ...args], { ...process.env, [HEAP_HINT]: "536870912" });
  } catch {
    // Not to be had here: it runs as it is, with more memory.
  }
}

const io = processIo();
const code = await run(process.argv.slice(2), io, {
  serve: async (file) => (await import("./cli/serve.ts")).serve(file, io),
  demo: async (options) => (await import("./cli/demo.ts")).demo(options, io),
  probe: async (...args) => (await import("./cli/appliance_probes.ts")).probeLocal(...args),
  live: async (...args) => (await import("./cli/appliance_probes.ts")).probeLive(...args),
});
process.exit(code);
