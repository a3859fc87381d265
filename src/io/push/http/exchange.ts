/**
 * Owns one request by `fetch` and the reading of its answer: what is known once the status is there, what only once words
 * have come, and how long those are waited for. Must not know what an answer means.
 */
import { type AttemptAnswer, type PushAttempt, retry } from "../backend.ts";
import type { HttpRequest, PushWorld } from "../world.ts";
import { unreachable } from "./answer.ts";
import { BodyStart } from "./body.ts";

/** So much of an answer's body is read. */
const MAX_ANSWER_BYTES = 4096;
/** A verdict does not wait longer than this for the words that go with it. */
export const BODY_WAIT_MS = 1000;

export interface Exchange {
  readonly url: string;
  /** Scheme, host and port of it: all of the address that is ever shown. */
  readonly host: string;
  readonly http: HttpRequest;
  /** True if the body of an answer with this status may change what it means, or is to be told. */
  needsBody(status: number): boolean;
  /** @param body the start of it; null: none came so far, or it is packed. */
  answerOf(response: Response, body: string | null): AttemptAnswer;
}

/** Sends within this call. Settles once the connection is free again; never rejects. */
export async function exchange(what: Exchange, attempt: PushAttempt, world: PushWorld): Promise<void> {
  let response: Response;
  try {
    response = await world.fetch(what.url, what.http);
  } catch (error) {
    attempt.answer(retry(unreachable(what.host, error)));
    return;
  }
  const isAwaited = what.needsBody(response.status);
  if (isAwaited) attempt.draft(what.answerOf(response, null));
  else attempt.answer(what.answerOf(response, null));
  // The body is read in any case: only then is the connection free for the next push.
  const read = new BodyStart(MAX_ANSWER_BYTES);
  const end = read.from(response);
  if (isAwaited) {
    const isRead = await atMost(BODY_WAIT_MS, end, world);
    const text = read.text();
    const isThere = !response.headers.has("content-encoding") && (isRead || text !== "");
    attempt.answer(what.answerOf(response, isThere ? text : null));
  }
  await end;
}

/** True if the work was done by then. */
function atMost(waitMs: number, work: Promise<void>, world: PushWorld): Promise<boolean> {
  return new Promise((resolve) => {
    const cancel = world.schedule(waitMs, () => resolve(false));
    work.then(() => {
      cancel();
      resolve(true);
    });
  });
}
