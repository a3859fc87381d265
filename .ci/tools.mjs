// Owns the way from a fresh clone to working tools: node_modules as the lock file says, bun and deno that run.
// Plain Node, because bun is one of the things that may be missing. Uses no network when nothing is missing.
//
//   node .ci/tools.mjs TOOL [ARGUMENT...]    run a tool of node_modules/.bin, with its exit code
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

/** The repository's root, absolute. */
export const root = fileURLToPath(new URL("..", import.meta.url));

/** Path of a tool that the lock file installs. */
export function tool(name) {
  return join(root, "node_modules", ".bin", name);
}

function readJson(path) {
  return existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : undefined;
}

/** Names of the locked packages that are absent or of another version. Those for other platforms do not count. */
export function missingPackages() {
  const lock = readJson(join(root, "package-lock.json"));
  return Object.entries(lock.packages)
    .filter(([path, entry]) => path !== "" && !entry.optional)
    .filter(([path, entry]) => readJson(join(root, path, "package.json"))?.version !== entry.version)
    .map(([path]) => path.replace(/^.*node_modules\//, ""));
}

function runs(name) {
  return existsSync(tool(name)) && spawnSync(tool(name), ["--version"], { stdio: "ignore" }).status === 0;
}

function run(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: ["ignore", 2, 2] });
  if (error || status !== 0) {
    throw new Error(
      `Cannot install what is missing: "${[command, ...args].join(" ")}" ${error ?? `ended with ${status}`}`,
    );
  }
}

/** Installs what is missing, and nothing if nothing is. Throws an Error that says which command failed. */
export function ensureTools() {
  const missing = missingPackages();
  if (missing.length > 0) {
    console.error(`installing: ${missing.join(", ")}`);
    const npm = process.env.npm_execpath;
    const args = ["ci", "--no-audit", "--no-fund"];
    if (npm?.endsWith(".js")) run(process.execPath, [npm, ...args]);
    else run("npm", args);
  }
  // bun and deno put their program in place from an install script, which npm skips where it is told to (ignore-scripts).
  const installScripts = { bun: "install.js", deno: "install.cjs" };
  for (const [name, script] of Object.entries(installScripts)) {
    if (runs(name)) continue;
    run(process.execPath, [join(root, "node_modules", name, script)]);
    if (!runs(name)) throw new Error(`Cannot run ${name} after installing it: does it support this machine?`);
  }
}

function main([name, ...args]) {
  if (name === undefined) {
    console.error("usage: node .ci/tools.mjs TOOL [ARGUMENT...]");
    process.exit(64);
  }
  ensureTools();
  const child = spawn(tool(name), args, { stdio: "inherit" });
  // Ctrl-C reaches the whole process group by itself; a signal sent to this process alone must be handed on.
  process.on("SIGINT", () => {});
  for (const signal of ["SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  child.on("error", (error) => {
    console.error(`Cannot start ${name}: ${error.message}`);
    process.exit(1);
  });
  child.on("exit", (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    main(process.argv.slice(2));
  } catch (error) {
    console.error(error.message);
    process.exit(1);
  }
}
