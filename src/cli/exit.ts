/** Exit codes, and the error that carries one to the top. Must not end the process. */

/** Done. */
export const OK = 0;
/** It was tried and failed. */
export const FAILED = 1;
/** The command line cannot be read (EX_USAGE). */
export const USAGE = 64;
/** The control port does not answer (EX_UNAVAILABLE). */
export const UNAVAILABLE = 69;
/** The config cannot be used (EX_CONFIG). */
export const CONFIG = 78;

/** Ends a verb: the message goes to stderr behind `latefork: `, the code to the shell. */
export class VerbError extends Error {
  readonly exitCode: number;

  constructor(exitCode: number, message: string) {
    super(message);
    this.exitCode = exitCode;
  }
}
