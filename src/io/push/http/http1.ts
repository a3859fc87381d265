/**
 * Owns one POST by HTTP/1.1, for services without HTTP/2. It must not know what is sent, nor whether it is sent again.
 */
import type { ClientRequest, IncomingMessage } from "node:http";
import { bareHost } from "../../../core/sip/host.ts";
import { unreachable } from "./answer.ts";
import type { Http2Answer, Http2Peer, Http2Post } from "./http2.ts";

/** So much of an answer's body is kept. */
const MAX_ANSWER_BYTES = 4096;

/**
 * Sends `post`, within this call if a connection is open.
 *
 * @param isFresh on a connection of its own, as one that is open may be dead.
 */
export function postHttp1(peer: Http2Peer, post: Http2Post, isFresh: boolean): void {
  const url = new URL(peer.origin);
  const isTls = url.protocol === "https:";
  const { request } = process.getBuiltinModule(isTls ? "node:https" : "node:http");
  let isDone = false;
  let head: Http2Answer | null = null;
  const chunks: Buffer[] = [];
  let kept = 0;
  const finish = (reason: string): void => {
    if (isDone) return;
    isDone = true;
    post.signal.removeEventListener("abort", abort);
    const body = Buffer.concat(chunks).toString("utf8");
    post.done(head === null ? null : { ...head, body }, reason);
  };
  const sent: ClientRequest = request({
    method: "POST",
    protocol: url.protocol,
    hostname: bareHost(url.hostname),
    port: url.port === "" ? (isTls ? 443 : 80) : Number(url.port),
    path: post.path,
    headers: post.headers,
    ...(isFresh ? { agent: false } : {}),
    ...(peer.lookup === undefined ? {} : { lookup: peer.lookup }),
    // Asked for explicitly: NODE_TLS_REJECT_UNAUTHORIZED=0 would switch the check off.
    ...(isTls ? { rejectUnauthorized: true, ...(peer.ca === undefined ? {} : { ca: peer.ca }) } : {}),
  });
  const abort = (): void => {
    sent.destroy();
    finish("it was given up");
  };
  post.signal.addEventListener("abort", abort, { once: true });
  sent.on("error", (error) => finish(unreachable(peer.origin, error)));
  sent.on("close", () => finish(`${peer.origin} closed the connection without an answer`));
  sent.on("response", (response: IncomingMessage) => {
    head = { status: response.statusCode ?? 0, headers: textHeaders(response.headers), body: "" };
    post.onStatus(head);
    response.on("data", (chunk: Buffer) => {
      chunks.push(chunk.subarray(0, MAX_ANSWER_BYTES - kept));
      kept += chunk.length;
      if (kept < MAX_ANSWER_BYTES) return;
      sent.destroy();
      finish("");
    });
    response.on("end", () => finish(""));
    response.on("error", () => finish(""));
    response.on("close", () => finish(""));
  });
  sent.end(post.body);
}

function textHeaders(headers: Readonly<Record<string, string | string[] | undefined>>): Record<string, string> {
  const text: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) if (value !== undefined) text[name] = String(value);
  return text;
}
