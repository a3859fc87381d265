/** Owns Kamailio as the PBX: its database of users, its start, and what it holds. */
import { Database } from "bun:sqlite";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { eventually, Program } from "./program.ts";

export interface KamailioOptions {
  address: string;
  port: number;
  /** latefork's address: the only one that may register. */
  us: string;
  folder: string;
  maxContacts?: number;
  /** A new Contact takes the place of all others of its AoR, rather than being refused. */
  isEvicting?: boolean;
  /** Seconds it grants at most; 3600 if left out. */
  maxExpires?: number;
  /** It listens on TLS, too, two ports above the other. */
  tls?: { certFile: string; keyFile: string };
  /** User and password; every user has password `secret` if it is a list of names. */
  users: readonly string[];
}

/** A contact as usrloc holds it. */
export interface HeldContact {
  aor: string;
  uri: string;
  expires: number;
  userAgent: string;
}

/** The tables of Kamailio 5.6 (`kamdbctl`: standard-create, auth_db-create). */
function createDatabase(path: string, users: readonly string[]): void {
  const database = new Database(path, { create: true });
  database.run(`CREATE TABLE version (id INTEGER PRIMARY KEY NOT NULL, table_name VARCHAR(32) NOT NULL,
    table_version INTEGER DEFAULT 0 NOT NULL, CONSTRAINT version_table_name_idx UNIQUE (table_name))`);
  database.run(`CREATE TABLE subscriber (id INTEGER PRIMARY KEY NOT NULL, username VARCHAR(64) DEFAULT '' NOT NULL,
    domain VARCHAR(64) DEFAULT '' NOT NULL, password VARCHAR(64) DEFAULT '' NOT NULL, ha1 VARCHAR(128) DEFAULT '' NOT NULL,
    ha1b VARCHAR(128) DEFAULT '' NOT NULL, CONSTRAINT subscriber_account_idx UNIQUE (username, domain))`);
  database.run("INSERT INTO version (table_name, table_version) VALUES ('version', 1), ('subscriber', 7)");
  const insert = database.prepare(
    "INSERT INTO subscriber (username, domain, password) VALUES (?, 'example.com', 'secret')",
  );
  for (const user of users) insert.run(user);
  insert.finalize();
  database.close();
}

export class Kamailio {
  readonly program: Program;
  readonly address: string;
  readonly port: number;

  private constructor(options: KamailioOptions) {
    const { address, folder, us, maxContacts = 1, maxExpires = 3600, isEvicting = false } = options;
    this.address = address;
    this.port = options.port;
    const database = join(folder, "kamailio.sqlite");
    // Its users outlive it, its contacts do not: they are in memory.
    if (!existsSync(database)) createDatabase(database, options.users);
    const defines = {
      PBX: address,
      PBX_PORT: this.port,
      US: `"${us}"`,
      DB: `"sqlite:///${database}"`,
      MAX_CONTACTS: maxContacts,
      MAX_EXPIRES: maxExpires,
      SAVE_FLAGS: isEvicting ? '"0x04"' : '"0x00"',
      ...(options.tls === undefined ? {} : {
        TLS_PORT: options.port + 2,
        TLS_CERT: `"${options.tls.certFile}"`,
        TLS_KEY: `"${options.tls.keyFile}"`,
      }),
    };
    this.program = new Program("kamailio", "kamailio", [
      ...["-f", join(import.meta.dir, "kamailio.cfg"), "-DD", "-E", "-m", "32", "-M", "8"],
      ...["-w", folder, "-P", join(folder, "kamailio.pid")],
      ...Object.entries(defines).flatMap(([name, value]) => ["-A", `${name}=${value}`]),
    ]);
  }

  static async start(options: KamailioOptions): Promise<Kamailio> {
    const kamailio = new Kamailio(options);
    await eventually("kamailio answers RPC", 10_000, async () => {
      if (kamailio.program.exitCode !== null) throw new Error(`kamailio ended:\n${kamailio.program.output}`);
      return await kamailio.rpc("core.uptime").catch(() => null);
    });
    return kamailio;
  }

  async rpc(method: string, params: unknown[] = []): Promise<unknown> {
    const body = JSON.stringify({ jsonrpc: "2.0", method, params, id: 1 });
    const response = await fetch(`http://${this.address}:${this.port}/RPC`, { method: "POST", body, keepalive: false });
    const { result, error } = await response.json() as { result: unknown; error?: { message: string } };
    if (error !== undefined) throw new Error(`kamailio ${method}: ${error.message}`);
    return result;
  }

  /** Every contact of usrloc. */
  async contacts(): Promise<HeldContact[]> {
    const dump = await this.rpc("ul.dump") as {
      Domains: {
        Domain: {
          AoRs: {
            Info: { AoR: string; Contacts: { Contact: { Address: string; Expires: number; "User-Agent": string } }[] };
          }[];
        };
      }[];
    };
    return dump.Domains.flatMap(({ Domain }) =>
      Domain.AoRs.flatMap(({ Info }) =>
        Info.Contacts.map(({ Contact }) => ({
          aor: Info.AoR,
          uri: Contact.Address,
          expires: Number(Contact.Expires),
          userAgent: Contact["User-Agent"],
        }))
      )
    );
  }

  /** REGISTERs it has accepted, fetches and removals too. */
  async acceptedRegisters(): Promise<number> {
    const [line] = await this.rpc("stats.get_statistics", ["accepted_regs"]) as string[];
    return Number(line?.split("=")[1]);
  }

  async end(): Promise<void> {
    await this.program.end();
  }
}
