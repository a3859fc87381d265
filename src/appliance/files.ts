/** Reads the files that hold the core's secrets, at start and at reload. Problems are given in words; nothing throws. */
import { readFileSync } from "node:fs";
import { parseCredentialsFile } from "../config/credentials_file.ts";
import type { Place, Problem } from "../config/problem.ts";
import type { Config } from "../config/schema.ts";
import { parseUsersFile, type UsersFileProblem } from "../config/users_file.ts";
import type { CoreSecrets } from "./settings.ts";
import { UserDirectory } from "../core/registrar/users.ts";

/** Users and credentials of the config's files. */
export interface SecretFiles {
  users: CoreSecrets["users"];
  credentials: CoreSecrets["credentials"];
  /** `users.txt:3: ...`, for the log and the start tree. */
  problems: string[];
}

/** Reads `users_file` and `pbx.credentials_file`. A file that cannot be read counts as empty, and is a problem. */
export function readSecretFiles(config: Config): SecretFiles {
  const problems: string[] = [];
  let users: CoreSecrets["users"] = null;
  let credentials: CoreSecrets["credentials"] = new Map();
  if (config.users_file !== "") {
    const parsed = parseUsersFile(read(config.users_file, problems));
    tell(config.users_file, parsed.problems, problems);
    users = new UserDirectory(parsed.users);
  }
  const credentialsFile = config.pbx?.credentials_file ?? "";
  if (credentialsFile !== "") {
    const parsed = parseCredentialsFile(read(credentialsFile, problems));
    tell(credentialsFile, parsed.problems, problems);
    credentials = parsed.secrets;
  }
  return { users, credentials, problems };
}

/**
 * What is wrong in the files, as problems of the keys that name them. A start goes on with the users it can read; a reload
 * is taken whole or not at all (O-03), and these refuse it.
 */
export function secretProblems(
  files: SecretFiles,
  { config, placeOf }: { config: Config | null; placeOf(path: string): Place },
): Problem[] {
  const path = config?.pbx ? "pbx.credentials_file" : "users_file";
  const { line, column, length } = placeOf(path);
  const hint = "correct the line, or remove it";
  return files.problems.map((message) => ({ severity: "error", line, column, length, path, message, hint }));
}

function read(file: string, problems: string[]): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    problems.push(`Cannot read ${file}: ${(error as NodeJS.ErrnoException).code ?? String(error)}`);
    return "";
  }
}

function tell(file: string, found: readonly UsersFileProblem[], problems: string[]): void {
  for (const { line, message } of found) problems.push(`${file}:${line}: ${message}`);
}
