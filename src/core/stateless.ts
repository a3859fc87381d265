/**
 * Answers without a transaction (RFC 3261 §8.2.7): to what is malformed, and to the REGISTERs of trusted sources that are
 * refused, and where there is no room for a transaction. The same request gets the same answer each time, with the same To tag.
 */
import { refusalOf } from "./proxy/validate.ts";
import type { Flow } from "./sip/flow.ts";
import { statelessTag } from "./sip/hash.ts";
import { type Message, parseMessage } from "./sip/message.ts";
import { reasonPhrase } from "./sip/reason.ts";
import { receivedVia, responseTo } from "./sip/response.ts";
import type { Transactions } from "./transaction/table.ts";

/** After how many seconds a sender that found no room may come again, and over how many more they are spread. */
const BUSY_S = 10;
const BUSY_SPREAD_S = 20;

export class StatelessAnswers {
  private busyCount = 0;

  constructor(private readonly table: Transactions) {}

  /** F-08: a malformed request is answered if it can be, a malformed response is dropped; both are counted. */
  malformed(message: Message, flow: Flow): void {
    const { port } = this.table;
    const problem = message.problem!;
    port.count("rejected_total", message.isRequest ? "malformed_request" : "malformed_response");
    if (port.isLogged("debug")) port.log("debug", `Malformed message: ${problem.text}`, { flow: flow.key });
    this.sayProblem(message, flow, problem.status, problem.text);
  }

  /** What a stream held cannot be cut into messages (F-08): `text` is its header section, as far as there is one. */
  malformedStream(flow: Flow, text: string, status: number, reason: string): void {
    this.table.port.count("rejected_total", "malformed_stream");
    const message = parseMessage(text, false);
    if (message.method !== "") this.sayProblem(message, flow, status, reason);
  }

  /** RFC 3261 §16.3. @returns true if the request was refused */
  refuses(request: Message, flow: Flow): boolean {
    const refusal = refusalOf(request);
    if (refusal === null) return false;
    this.table.port.count("rejected_total", String(refusal.status));
    this.send(request, flow, refusal.status, refusal.reason, refusal.lines);
    return true;
  }

  /** There is no room for it. The waits differ: otherwise all would come back together. */
  busy(request: Message, flow: Flow): void {
    this.table.port.count("rejected_total", "busy");
    this.busyCount = (this.busyCount + 1) % BUSY_SPREAD_S;
    this.send(request, flow, 503, "Busy", `Retry-After: ${BUSY_S + this.busyCount}\r\n`);
  }

  private sayProblem(message: Message, flow: Flow, status: number, words: string): void {
    if (!message.isRequest || message.via === null || message.method === "ACK") return;
    this.send(message, flow, status, `${reasonPhrase(status)} (${words.replace(/[\r\n]/g, " ")})`, "");
  }

  private send(message: Message, flow: Flow, status: number, reason: string, lines: string): void {
    const phrase = reason === "" ? reasonPhrase(status) : reason;
    const wire = responseTo(message, status, phrase, receivedVia(message, flow), statelessTag(message), lines);
    const replyFlow = this.table.replyFlow(message, flow);
    if (replyFlow !== null) this.table.port.send(replyFlow, wire);
  }
}
