/** `latefork demo`: hands over to the scripted story. */
import { runDemo } from "../demo/demo.ts";
import type { Io } from "./io.ts";

/** @returns the exit code */
export function demo(options: { stay: boolean }, io: Io): Promise<number> {
  return runDemo(options, io);
}
