// Owns the order of the checks and their count: installs what is missing, runs every step whatever the others say, and
// closes with one line "N passed, N failed" that nothing follows. Knows nothing of what the steps check.
//
//   node test/run.mjs          format, lint, types, and every test but those that need other programs
//   node test/run.mjs check    format, lint, types
//   node test/run.mjs peers    test/peers: kamailio, sipp, sipsak and baresip must be installed
import { spawn } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { ensureTools, root, tool } from "../.ci/tools.mjs";

/** Needs programs of the distribution, or measures: not part of `npm test`. */
const apart = new Set(["peers", "bench"]);

const total = { passed: 0, failed: 0, skipped: 0 };

/** Runs a command, lets its output through, and resolves to its exit code and output. */
function run(command, args) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text) => {
        output += text;
        process.stderr.write(text);
      });
    }
    child.on("error", (error) => resolve({ code: 1, output: error.message }));
    child.on("close", (code) => resolve({ code: code ?? 1, output }));
  });
}

function fail(reason) {
  total.failed += 1;
  console.error(`FAILED: ${reason}`);
}

async function step(name, command, args) {
  console.error(`\n== ${name}`);
  const { code } = await run(command, args);
  if (code === 0) total.passed += 1;
  else fail(`${name} (exit ${code})`);
}

function testFiles(folder) {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".test.ts"));
}

/**
 * What `bun test` counted, from the lines that close its output: " 12 pass", " 1 skip", " 2 todo", " 0 fail".
 * @returns passed, failed (a file that cannot be loaded included), skipped (todo included)
 */
function readCounts(output) {
  const count = (word) => Number([...output.matchAll(new RegExp(`^ *(\\d+) ${word}$`, "gm"))].at(-1)?.[1] ?? 0);
  return { passed: count("pass"), failed: count("fail"), skipped: count("skip") + count("todo") };
}

/** Tests with real servers and processes need more than bun's 5 s where the machine is busy. */
const TIMEOUT_MS = 30_000;

async function bunTest(folders) {
  console.error(`\n== bun test ${folders.join(" ")}`);
  const paths = folders.map((folder) => `./${folder}`);
  const { code, output } = await run(tool("bun"), ["test", "--timeout", String(TIMEOUT_MS), ...paths]);
  // deno-lint-ignore no-control-regex -- colours, where the environment forces them
  const counts = readCounts(output.replace(/\x1b\[[\d;]*m/g, ""));
  total.passed += counts.passed;
  total.failed += counts.failed;
  total.skipped += counts.skipped;
  if (counts.passed + counts.failed === 0) fail("bun test ran no test");
  else if (code !== 0 && counts.failed === 0) fail(`bun test ended with ${code} though no test failed`);
}

async function check() {
  await step("format", tool("deno"), ["fmt", "--check"]);
  await step("lint", tool("deno"), ["lint"]);
  await step("types", tool("deno"), ["check", "src", "test", "build.ts"]);
}

async function main(what) {
  ensureTools();
  if (what === "check") return await check();
  if (what === "peers") {
    if (testFiles("test/peers").length > 0) return await bunTest(["test/peers"]);
    return fail("test/peers holds no test");
  }
  if (what !== undefined) return fail(`unknown part "${what}": expected check, peers or nothing`);
  await check();
  const folders = readdirSync(join(root, "test"), { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !apart.has(entry.name))
    .map((entry) => `test/${entry.name}`)
    .filter((folder) => testFiles(folder).length > 0);
  await bunTest(folders);
}

try {
  await main(process.argv[2]);
} catch (error) {
  fail(error.message);
}
const skipped = total.skipped > 0 ? `, ${total.skipped} skipped` : "";
process.exitCode = total.failed > 0 ? 1 : 0;
console.log(`\n${total.passed} passed, ${total.failed} failed${skipped}`);
