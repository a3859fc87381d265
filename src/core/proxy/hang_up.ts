/**
 * W-12: phones whose 2xx no caller waits for. Each is acknowledged and ended by us, in the dialog it made: behind one branch
 * several may have answered. Owns the BYE until its phone has it; whoever knows that the phone is back says so.
 */
import type { Flow } from "../sip/flow.ts";
import { inDialogRequest } from "../sip/forward.ts";
import { type Message, parseSent } from "../sip/message.ts";
import { detached } from "../sip/scan.ts";
import { viaValue } from "../sip/via.ts";
import type { ClientOwner } from "../transaction/client.ts";
import type { Transactions } from "../transaction/table.ts";
import type { Branch } from "./branch.ts";

/** So many dialogs of one INVITE are ended; who makes up more answers than that is only acknowledged. */
const MAX_DIALOGS = 32;

export class HangUps {
  private readonly byes: Bye[] = [];

  constructor(private readonly table: Transactions) {}

  /**
   * Acknowledges a 2xx, and ends its dialog if that was not done already.
   * @param isAckEnough the dialog belongs to a call that goes on
   */
  end(branch: Branch, answer: Message, isAckEnough: boolean): void {
    const { table } = this;
    const { flow } = branch.target;
    const ack = inDialogRequest(parseSent(branch.wire), answer, "ACK", viaValue(flow, table.newBranch()));
    if (ack === null) return;
    table.port.send(flow, ack);
    if (isAckEnough) return;
    branch.isHungUp = true;
    const { tag } = answer.to;
    if (this.byes.length >= MAX_DIALOGS || this.byes.some((bye) => bye.branch === branch && bye.tag === tag)) return;
    const bye = new Bye(table, branch, answer, detached(tag));
    this.byes.push(bye);
    bye.send(flow);
  }

  /**
   * A phone registered: a BYE that it did not answer goes again, over its flow of now.
   * @param isTheirs by contact id: true for those of this phone
   */
  phoneIsBack(isTheirs: (contactId: string) => boolean, flow: Flow): void {
    for (const bye of this.byes) if (bye.isOwed(flow) && isTheirs(bye.branch.target.contactId)) bye.send(flow);
  }
}

class Bye implements ClientOwner {
  private flow: Flow | null = null;
  private isAnswered = false;

  constructor(
    private readonly table: Transactions,
    readonly branch: Branch,
    private readonly answer: Message,
    readonly tag: string,
  ) {}

  /** True if a flow leads to the phone over which it was not asked yet. */
  isOwed(flow: Flow): boolean {
    return !this.isAnswered && this.flow !== flow && flow.state !== "closed";
  }

  send(flow: Flow): void {
    this.flow = flow;
    const id = this.table.newBranch();
    const text = inDialogRequest(parseSent(this.branch.wire), this.answer, "BYE", viaValue(flow, id))!;
    this.table.send(text, "BYE", id, flow, this);
  }

  onResponse({ status }: Message): void {
    if (status >= 200) this.isAnswered = true;
  }

  /** It may be back: {@link HangUps.phoneIsBack}. */
  onFailure(): void {}
}
