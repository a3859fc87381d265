/** What a call and its parts need of the silo they live in. */
import type { Reach } from "../proxy/device_flows.ts";
import type { Dialogs } from "../proxy/dialog.ts";
import type { Transactions } from "../transaction/table.ts";
import type { Contact } from "../usrloc/contact.ts";
import type { Usrloc } from "../usrloc/usrloc.ts";
import type { SiloPort, SiloSettings } from "./settings.ts";

export interface CallHome {
  readonly port: SiloPort;
  readonly table: Transactions;
  readonly usrloc: Usrloc;
  readonly dialogs: Dialogs;
  readonly settings: SiloSettings;
  readonly reach: Reach;
  /** P-07: finds a push of another call that may yet wake the device, and keeps it from being taken back. */
  shareWake(contact: Contact): boolean;
}
