/** The streams and variables that verbs use, and those of this process. Must not know the verbs. */
import { writeSync } from "node:fs";
import type { UserIo } from "./user.ts";

export interface Io extends UserIo {
  /** Environment variables. */
  env: Readonly<Record<string, string | undefined>>;
}

/** Never throws: a reader that went away (`latefork calls | head`) is no failure of ours. */
export function processIo(): Io {
  return {
    env: process.env,
    isInputTerminal: process.stdin.isTTY === true,
    stdout: (text) => writeAll(1, text),
    stderr: (text) => writeAll(2, text),
    readPassword: () => Bun.stdin.text(),
  };
}

function writeAll(handle: number, text: string): void {
  let bytes = new TextEncoder().encode(text);
  while (bytes.length > 0) {
    try {
      bytes = bytes.subarray(writeSync(handle, bytes));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") return;
      // A non-blocking pipe is full: its reader needs a moment.
      Bun.sleepSync(1);
    }
  }
}
