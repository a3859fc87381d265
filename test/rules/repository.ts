/** Reads the repository that the rules judge: the files git tracks or would track, and the product's sources. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** The repository's root, absolute. */
export const root = join(import.meta.dir, "..", "..");

/**
 * Paths from the root of all files that are tracked or new, without those that are ignored or deleted. Where there is no
 * git, or no checkout but an unpacked archive, `.gitignore` alone says what does not count.
 */
export function repositoryFiles(): string[] {
  if (Bun.which("git") === null || !existsSync(join(root, ".git"))) return filesThere();
  const { stdout, exitCode, stderr } = Bun.spawnSync(
    ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"],
    { cwd: root },
  );
  if (exitCode !== 0) throw new Error(`Cannot list the files of the repository: ${stderr.toString().trim()}`);
  return stdout.toString().split("\0").filter((path) => path !== "" && existsSync(join(root, path)));
}

/** What is there, less what `.gitignore` names. `.git` is a file in a linked worktree. */
export function filesThere(): string[] {
  const ignored = [".git", ...read(".gitignore").split("\n").filter((line) => line !== "")];
  const isIgnored = (path: string, isFolder: boolean): boolean => {
    const name = path.slice(path.lastIndexOf("/") + 1);
    return ignored.some((pattern) => {
      if (pattern.endsWith("/")) return isFolder && name === pattern.slice(0, -1);
      if (pattern.startsWith("/")) return path === pattern.slice(1);
      return pattern.startsWith("*") ? name.endsWith(pattern.slice(1)) : name === pattern;
    });
  };
  const within = (folder: string): string[] =>
    readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
      const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
      if (isIgnored(path, entry.isDirectory())) return [];
      return entry.isDirectory() ? within(path) : [path];
    });
  return within("");
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
