/** A refusal of the control port, as clients read it. */

/**
 * A refusal that becomes `{"error":{"code","message","hint"}}` with its status. Every handler may throw it; anything else
 * thrown becomes a 500 whose text stays in the log.
 */
export class ApiError extends Error {
  /** HTTP status. */
  readonly status: number;
  /** Machine word: `unknown_aor`, `unknown_call`, `unknown_device`, `invalid_aor`, `not_available`, ... */
  readonly code: string;
  /** What to do about it; empty if there is nothing to say. */
  readonly hint: string;
  /** Further members of the answer beside `error`, as `problems` of a refused reload. */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(status: number, code: string, message: string, hint = "", details: Record<string, unknown> = {}) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.hint = hint;
    this.details = details;
  }
}

/** 501 for a route or an option that this version does not have. */
export function notAvailable(what: string, hint: string): ApiError {
  return new ApiError(501, "not_available", `${what} is not in this version`, hint);
}
