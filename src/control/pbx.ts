/** The PBX, as an operator acts on it: renewing every binding it holds. */
import { jsonAnswer } from "./answer.ts";
import { ApiError } from "./api_error.ts";
import type { ControlHost } from "./host.ts";
import { type Route, route } from "./route.ts";

/** `POST /v1/pbx/resync`: what it set going. */
export interface ResyncJson {
  /** Bindings that REGISTERs of ours renew, spread over seconds. */
  renewing: number;
  /** Devices that are woken by push to renew theirs. */
  waking: number;
  /** Devices that renew theirs when they register next. */
  waiting: number;
}

export const PBX: readonly Route[] = [
  route({
    id: "resync",
    method: "POST",
    path: "/v1/pbx/resync",
    summary: "renew every binding at the PBX, paced",
    example: "/v1/pbx/resync",
    answer: (_c, host) => jsonAnswer(resync(host)),
  }),
];

function resync(host: ControlHost): ResyncJson {
  const { mid } = host.core;
  if (mid === null) {
    throw new ApiError(409, "no_pbx", "There is no PBX: latefork is the registrar", "Set pbx.uri to have one");
  }
  host.turn.enter();
  return { ...mid.resync() };
}
