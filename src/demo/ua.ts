/** What the demo's PBX and phones have in common as SIP user agents: answers, fresh names, a session description. */
import type { Message } from "../core/sip/message.ts";
import { reasonPhrase } from "../core/sip/reason.ts";
import { responseTo } from "../core/sip/response.ts";

/** A unique name: `word-` and 10 characters. */
export function fresh(word: string): string {
  return `${word}-${crypto.randomUUID().replaceAll("-", "").slice(0, 10)}`;
}

/** A response to a request, its Via as it came. `lines`: further header lines, each with its line end. */
export function answerTo(request: Message, status: number, toTag: string, lines = "", body = ""): string {
  const via = request.raw.slice(request.via!.start, request.via!.end);
  return responseTo(request, status, reasonPhrase(status), via, status === 100 ? "" : toTag, lines, body);
}

/** Header line and body of an offer or answer. Its port is not opened: no media flows. */
export const SDP = {
  type: "Content-Type: application/sdp\r\n",
  body: "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n" +
    "a=rtpmap:0 PCMU/8000\r\n",
};
