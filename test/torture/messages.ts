/**
 * The torture messages of RFC 4475 and RFC 5118 with what is expected of each, and what the parser makes of one. The
 * messages are not ours to publish: they are looked for beside the repository, never in it.
 */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { refusalOf } from "../../src/core/proxy/validate.ts";
import { StreamFramer } from "../../src/core/sip/framing.ts";
import { type Message, parseMessage } from "../../src/core/sip/message.ts";

/**
 * `PROCESS`: well-formed, to be passed on. `REJECT`: refused with one of `statuses`. `DROP`: a response nobody waits
 * for, never answered. `LENIENT`: refused with 400, or repaired before it is passed on. `EITHER`: both are right.
 */
export type TortureClass = "PROCESS" | "REJECT" | "DROP" | "LENIENT" | "EITHER";

export interface TortureCase {
  file: string;
  section: string;
  class: TortureClass;
  /** The statuses that are right if it is refused. */
  statuses: number[];
  /** Dropping it in silence is right as well. */
  mayDrop: boolean;
  /** If it is passed on, then only repaired. */
  mustBeRepaired: boolean;
  viaTransport: string;
  /** Lower-case sent-by of the top Via. */
  viaSentBy: string;
  isDatagram: boolean;
  /** The message, one character a byte. */
  text: string;
  /** The bytes are those the expectations were written for. */
  isIntact: boolean;
}

const root = join(import.meta.dir, "..", "..");

/** Where the messages are: `$LATEFORK_TORTURE`, else a folder `torture` in a neighbour of the repository; null if nowhere. */
export function tortureFolder(): string | null {
  const named = process.env.LATEFORK_TORTURE;
  if (named !== undefined && named !== "") return named;
  const beside = dirname(root);
  return readdirSync(beside).map((name) => join(beside, name, "torture"))
    .find((folder) => existsSync(join(folder, "expected.tsv"))) ?? null;
}

/** Reads `expected.tsv` (its first line names the columns) and the messages it names. */
export function tortureCases(folder: string): TortureCase[] {
  const [head = "", ...lines] = readFileSync(join(folder, "expected.tsv"), "utf8").trimEnd().split("\n");
  const columns = head.split("\t");
  return lines.map((line) => {
    const cells = line.split("\t");
    const cell = (name: string) => cells[columns.indexOf(name)] ?? "";
    const bytes = readFileSync(join(folder, cell("file")));
    const accepted = cell("acceptable_result").split("|");
    return {
      file: cell("file"),
      section: cell("section"),
      class: cell("class") as TortureClass,
      statuses: accepted.filter((result) => /^\d{3}$/.test(result)).map(Number),
      mayDrop: accepted.includes("drop"),
      mustBeRepaired: cell("forward_rule") === "fixed",
      viaTransport: cell("top_via_transport"),
      viaSentBy: cell("top_via_sent_by").toLowerCase(),
      isDatagram: cell("send_over") === "udp",
      text: bytes.toString("latin1"),
      isIntact: createHash("sha256").update(bytes).digest("hex") === cell("sha256"),
    };
  });
}

/** What became of a message: the status it is refused with (0: it may be routed) and the parsed message, if framing gave one. */
export interface Outcome {
  status: number;
  message: Message | null;
}

/** Takes the message the way its transport would: framing on a stream, parsing, the checks of RFC 3261 §16.3. */
export function outcomeOf({ text, isDatagram }: TortureCase): Outcome {
  let whole = text;
  if (!isDatagram) {
    const [frame] = new StreamFramer({ maxHeaderBytes: 32768, maxMessageBytes: 65536 }).feed(text);
    if (frame === undefined || frame.kind === "ping") return { status: 0, message: null };
    if (frame.kind === "malformed") return { status: frame.problem.status, message: null };
    whole = frame.text;
  }
  const message = parseMessage(whole, isDatagram);
  if (message.problem !== null) return { status: message.problem.status, message };
  const refusal = message.isRequest ? refusalOf(message) : null;
  return { status: refusal?.status ?? 0, message };
}
