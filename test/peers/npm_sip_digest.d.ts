/** What the tests use of `sip/digest` of the npm package `sip` 0.0.6. */
import type { SipRequest, SipResponse } from "./npm_sip.d.ts";

declare const digest: {
  signRequest(
    context: Record<string, unknown>,
    request: SipRequest,
    challenge?: SipResponse,
    credentials?: { user: string; password: string; realm?: string },
  ): unknown;
};
export default digest;
