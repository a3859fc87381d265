// Owns one check: that each commit of a change holds by itself. Its subject fits a line, and its tree passes format, lint
// and types alone. A commit that does not cannot be read, taken back or searched by bisection.
//
//   node .ci/commits.mjs [BASE]    the commits after BASE; without one, those since this check exists, 120 of them at most
//
// Each is checked out into a worktree of its own that shares node_modules with this one. Ends with "N passed, N failed".
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { ensureTools, root, tool } from "./tools.mjs";

const SUBJECT_CHARACTERS = 72;
const MOST = 120;

function git(...args) {
  const { status, stdout, stderr } = spawnSync("git", args, { cwd: root, encoding: "utf8" });
  if (status !== 0) throw new Error(`git ${args[0]}: ${stderr.trim()}`);
  return stdout.trim();
}

/** Full ids, oldest first. */
function commitsSince(base) {
  const start = base ?? git("log", "--diff-filter=A", "--format=%H", "-1", "--", ".ci/commits.mjs");
  const range = start === "" ? "HEAD" : `${start}..HEAD`;
  return git("rev-list", "--no-merges", `--max-count=${MOST}`, range).split("\n").filter((id) => id !== "")
    .toReversed();
}

/** What is wrong with a commit, a line each. */
function problemsOf(id, worktree) {
  const subject = git("log", "-1", "--format=%s", id);
  const problems = [];
  if (subject.length > SUBJECT_CHARACTERS) {
    problems.push(`subject of ${subject.length} characters: the reason belongs in the body`);
  }
  git("-C", worktree, "checkout", "--quiet", "--detach", id);
  for (const args of [["fmt", "--check"], ["lint"], ["check", "--quiet", "src", "test", "build.ts"]]) {
    const { status, stdout, stderr } = spawnSync(tool("deno"), args, {
      cwd: worktree,
      encoding: "utf8",
      env: { ...process.env, NO_COLOR: "1" },
    });
    if (status !== 0) problems.push(`deno ${args.join(" ")}:\n${(stdout + stderr).slice(-2000)}`);
  }
  return { subject, problems };
}

function main(base) {
  ensureTools();
  const worktree = mkdtempSync(join(tmpdir(), "latefork-commits-"));
  let passed = 0;
  let failed = 0;
  try {
    git("worktree", "add", "--quiet", "--detach", "--force", worktree, "HEAD");
    symlinkSync(join(root, "node_modules"), join(worktree, "node_modules"));
    for (const id of commitsSince(base)) {
      const { subject, problems } = problemsOf(id, worktree);
      if (problems.length === 0) passed += 1;
      else failed += 1;
      console.log(`${problems.length === 0 ? "ok    " : "FAILED"} ${id.slice(0, 9)} ${subject}`);
      for (const problem of problems) console.log(`       ${problem}`);
    }
  } finally {
    spawnSync("git", ["worktree", "remove", "--force", worktree], { cwd: root });
    rmSync(worktree, { recursive: true, force: true });
  }
  console.log(`\n${passed} passed, ${failed} failed`);
  return failed;
}

try {
  process.exitCode = main(process.argv[2]) > 0 ? 1 : 0;
} catch (error) {
  console.error(error.message);
  console.log("\n0 passed, 1 failed");
  process.exitCode = 1;
}
