/** `latefork init`: writes a first config to be edited. Never over a file that exists. */
import { writeFileSync } from "node:fs";
import { initConfig } from "../config/example.ts";
import { FAILED, OK, VerbError } from "./exit.ts";
import type { Io } from "./io.ts";

/** @param flag `-c FILE`; default `./latefork.yaml`. */
export function runInit(flag: string | undefined, io: Io): number {
  const file = flag ?? "./latefork.yaml";
  try {
    writeFileSync(file, initConfig(), { flag: "wx" });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const reason = code === "EEXIST" ? "it exists already; edit it, or name another with -c FILE" : message;
    throw new VerbError(FAILED, `cannot write ${file}: ${reason}`);
  }
  const named = flag === undefined ? "" : ` -c ${file}`;
  io.stdout(`wrote ${file}\nEdit pbx.uri in it, then: latefork check${named} && latefork serve${named}\n`);
  return OK;
}
