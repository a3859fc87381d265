/**
 * Owns how the one binary is made: its targets and what is fixed in it at build time. Must not know what the product does.
 *
 *   bun build.ts                    dist/latefork-<target> for this machine; uses no network
 *   bun build.ts --all              for every target; Bun fetches the runtime of the others once, through the npm registry
 *   bun build.ts TARGET...          for those named
 *   --entry FILE, --outdir FOLDER   another program, another place (default src/main.ts, dist)
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";

const targets = ["linux-x64", "linux-arm64", "linux-x64-musl", "linux-arm64-musl"] as const;
type Target = (typeof targets)[number];

/**
 * Flags of the runtime that the binary starts with. Nothing in it makes code from strings, loads native addons or
 * compiles C, so whoever gets text into it shall not be able to either. (`bun:ffi` still opens libraries.)
 */
const hardening = ["--disallow-code-generation-from-strings", "--no-addons", "--no-ffi-cc"];

function machineTarget(): Target | undefined {
  // What this process itself runs on: a glibc system may have musl's loader installed beside it.
  const musl = process.platform === "linux" && readFileSync("/proc/self/maps", "utf8").includes("/ld-musl-");
  const name = `${process.platform}-${process.arch}${musl ? "-musl" : ""}`;
  return targets.find((target) => target === name);
}

/** Returns the size in bytes. Throws what Bun says of a target whose runtime cannot be had, or of code that does not bundle. */
async function build(target: Target, entry: string, outfile: string): Promise<number> {
  await Bun.build({
    entrypoints: [entry],
    // Names stay readable: a stack trace in an admin's log is all we will get.
    minify: { whitespace: true, syntax: true, identifiers: false },
    sourcemap: "none",
    bytecode: true,
    format: "esm",
    compile: {
      target: `bun-${target}`,
      outfile,
      execArgv: hardening,
      // The working directory is not ours: a .env or bunfig.toml lying there must not change what we do.
      autoloadDotenv: false,
      autoloadBunfig: false,
      autoloadTsconfig: false,
      autoloadPackageJson: false,
    },
  });
  return Bun.file(outfile).size;
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      all: { type: "boolean", default: false },
      entry: { type: "string", default: "src/main.ts" },
      outdir: { type: "string", default: "dist" },
    },
  });
  const own = machineTarget();
  const names: (string | undefined)[] = values.all ? [...targets] : positionals.length > 0 ? positionals : [own];
  let failed = 0;
  for (const name of names) {
    const target = targets.find((target) => target === name);
    if (target === undefined) {
      console.error(
        `Cannot build for "${name ?? `${process.platform}-${process.arch}`}": expected ${targets.join(", ")}`,
      );
      failed += 1;
      continue;
    }
    const outfile = `${values.outdir}/latefork-${target}`;
    try {
      const bytes = await build(target, values.entry, outfile);
      console.log(`${outfile}  ${(bytes / 1e6).toFixed(1)} MB`);
    } catch (error) {
      const problems = error instanceof AggregateError ? error.errors.map(String) : [String(error)];
      console.error(`Cannot build ${outfile}: ${problems.join("\n  ")}`);
      failed += 1;
    }
  }
  return failed === 0 ? 0 : 1;
}

process.exitCode = await main();
