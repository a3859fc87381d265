/** Reads the repository that the rules judge: the files git tracks or would track, and the product's sources. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** The repository's root, absolute. */
export const root = join(import.meta.dir, "..", "..");

/** Paths from the root of all files that are tracked or new, without those that are ignored or deleted. */
export function repositoryFiles(): string[] {
  const { stdout, exitCode, stderr } = Bun.spawnSync(
    ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"],
    { cwd: root },
  );
  if (exitCode !== 0) throw new Error(`Cannot list the files of the repository: ${stderr.toString().trim()}`);
  return stdout.toString().split("\0").filter((path) => path !== "" && existsSync(join(root, path)));
}

/** Text of a file of the repository. */
export function read(path: string): string {
  return readFileSync(join(root, path), "utf8");
}

/** TypeScript files of `src/`: path from there → text. */
export function productSources(): Map<string, string> {
  const paths = repositoryFiles().filter((path) => path.startsWith("src/") && path.endsWith(".ts"));
  return new Map(paths.map((path) => [path.slice("src/".length), read(path)]));
}
