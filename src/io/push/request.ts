/**
 * Owns what is the same for every push service: which events can wait, and pushes without a call. Pure. It must not know
 * how a service sends them.
 */
import type { PushKeys } from "../../core/usrloc/model.ts";
import type { PushEvent, PushRequest } from "./types.ts";

/** A refresh can wait until the phone wakes by itself; a push that starts or stops ringing cannot. */
const CAN_WAIT: Readonly<Record<PushEvent, boolean>> = {
  call: false,
  message: false,
  cancel: false,
  test: false,
  missed: true,
  refresh: true,
};

/** True for a push that no call or user waits for. Such pushes also come in crowds. */
export function canWait(event: PushEvent): boolean {
  return CAN_WAIT[event];
}

/** What a push is for. */
export interface PushTo {
  /** Of the push. */
  readonly uuid: string;
  readonly provider: string;
  readonly param: string;
  readonly prid: string;
  readonly keys?: PushKeys | undefined;
}

/** A push to a bare token: of no call, AoR or device. */
export function pushOfNoCall(to: PushTo, event: PushEvent, ttlMs: number): PushRequest {
  const { uuid, provider, param, prid, keys } = to;
  return {
    uuid,
    event,
    provider,
    param,
    prid,
    keys,
    aor: "",
    device: "",
    callId: "",
    fromUri: "",
    fromName: "",
    toUri: "",
    ttlMs,
  };
}
