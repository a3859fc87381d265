/** The verbs that ask a running appliance. Each asks one thing and prints the answer; the tables come from the server. */
import { open, rename, unlink } from "node:fs/promises";
import { jsonText, readable } from "../observe/display.ts";
import { readVerbArgs } from "./args.ts";
import type { ControlClient } from "./client.ts";
import { FAILED, OK, USAGE, VerbError } from "./exit.ts";
import type { Io } from "./io.ts";

/** @returns the exit code. */
export type ClientVerb = (client: ControlClient, rest: readonly string[], io: Io) => Promise<number>;

const JSON_FLAG = { json: { type: "boolean" } } as const;
const TEXT = { type: "string" } as const;

export const CLIENT_VERBS: Readonly<Record<string, ClientVerb>> = {
  status: async (client, rest, io) => {
    const { flags } = readVerbArgs(rest, JSON_FLAG, [0, 0]);
    return await show(client, io, "/v1/status", flags.json);
  },

  locations: async (client, rest, io) => {
    const { values, flags, words } = readVerbArgs(rest, { ...JSON_FLAG, query: TEXT, limit: TEXT, after: TEXT }, [
      0,
      1,
    ]);
    if (words[0] !== undefined) {
      return await show(client, io, `/v1/locations/${encodeURIComponent(words[0])}`, flags.json);
    }
    return await list(client, io, "/v1/locations", { q: values.query }, values, flags.json);
  },

  calls: async (client, rest, io) => {
    const options = { ...JSON_FLAG, state: TEXT, aor: TEXT, limit: TEXT, after: TEXT };
    const { values, flags, words } = readVerbArgs(rest, options, [0, 1]);
    if (words[0] !== undefined) return await show(client, io, `/v1/calls/${encodeURIComponent(words[0])}`, flags.json);
    return await list(client, io, "/v1/calls", { state: values.state, aor: values.aor }, values, flags.json);
  },

  silo: async (client, rest, io) => {
    const { flags, words } = readVerbArgs(rest, JSON_FLAG, [0, 1]);
    const path = words[0] === undefined ? "/v1/silo" : `/v1/silo/${encodeURIComponent(words[0])}`;
    return await show(client, io, path, flags.json);
  },

  htable: async (client, rest, io) => {
    const { values, flags, words } = readVerbArgs(rest, { ...JSON_FLAG, ttl: TEXT }, [1, 4]);
    const [verb, table = "", key = "", value = ""] = words;
    const wanted: Record<string, readonly number[]> = { ls: [1, 2], get: [3], set: [4], rm: [3] };
    if (wanted[verb!]?.includes(words.length) !== true) {
      throw new VerbError(USAGE, "expected: ls [TABLE] | get TABLE KEY | set TABLE KEY VALUE | rm TABLE KEY");
    }
    const ttl = values.ttl === undefined ? "" : `?ttl=${encodeURIComponent(values.ttl)}`;
    if (ttl !== "" && verb !== "set") throw new VerbError(USAGE, "--ttl is for set");
    const tablePath = `/v1/htables/${encodeURIComponent(table)}`;
    const path = `${tablePath}/${encodeURIComponent(key)}`;
    switch (verb) {
      case "get":
        return await show(client, io, path, flags.json);
      case "set": {
        const answer = await client.text("PUT", path + ttl, value);
        if (flags.json) io.stdout(answer);
        return OK;
      }
      case "rm":
        await client.text("DELETE", path);
        return OK;
      default:
        if (words.length === 1) return await show(client, io, "/v1/htables", flags.json);
        return await list(client, io, tablePath, {}, {}, flags.json);
    }
  },

  push: async (client, rest, io) => {
    const { values, flags, words } = readVerbArgs(rest, { ...JSON_FLAG, device: TEXT }, [2, 2]);
    if (words[0] !== "test") throw new VerbError(USAGE, "expected: test AOR");
    const body = JSON.stringify({ aor: words[1], device: values.device });
    const result = await client.json<TestPushAnswer>("POST", "/v1/push", body);
    if (flags.json) io.stdout(jsonText(result) + "\n");
    else {
      const outcome = result.accepted ? "accepted" : "not accepted";
      const status = result.status === 0 ? "no answer" : `status ${result.status}`;
      const reason = result.reason ? `: ${readable(result.reason)}` : "";
      io.stdout(
        `${result.provider}, device ${result.device}: ${outcome}, ${status}, ${Math.round(result.ms)} ms${reason}\n`,
      );
      if (result.outcome === "dead") io.stdout(DEAD);
    }
    return result.accepted ? OK : FAILED;
  },

  trace: async (client, rest, io) => {
    const options = {
      ...JSON_FLAG,
      call: TEXT,
      limit: TEXT,
      follow: { type: "boolean", short: "f" },
      pcap: TEXT,
    } as const;
    const { values, flags, words } = readVerbArgs(rest, options, [0, 1]);
    if (flags.follow) {
      throw new VerbError(
        FAILED,
        "trace -f is not in this version\nInstead: watch -n1 latefork trace --limit 5, or curl -N .../v1/events for what happens",
      );
    }
    if (values.pcap !== undefined) {
      throw new VerbError(
        FAILED,
        "trace --pcap is not in this version\nInstead: latefork trace > FILE, or tcpdump -w FILE on the box",
      );
    }
    const query = queryOf({ aor: words[0], call: values.call, limit: values.limit });
    return await show(client, io, `/v1/trace?${query}`, flags.json);
  },

  reload: async (client, rest, io) => {
    const { flags } = readVerbArgs(rest, JSON_FLAG, [0, 0]);
    const result = await client.json<{ applied: string[]; restart_required: string[] }>("POST", "/v1/reload");
    if (flags.json) io.stdout(jsonText(result) + "\n");
    else {
      io.stdout(
        result.applied.length === 0
          ? "no key has changed; the files they name were read again\n"
          : `applied: ${result.applied.join(", ")}\n`,
      );
      if (result.restart_required.length > 0) io.stdout(`waits for a restart: ${result.restart_required.join(", ")}\n`);
    }
    return OK;
  },

  resync: async (client, rest, io) => {
    const { flags } = readVerbArgs(rest, JSON_FLAG, [0, 0]);
    const answer = await client.json<{ renewing: number; waking: number; waiting: number }>("POST", "/v1/pbx/resync");
    if (flags.json) io.stdout(jsonText(answer) + "\n");
    else {
      const { renewing, waking, waiting } = answer;
      io.stdout(
        `${renewing} renewed by latefork, ${waking} woken to renew theirs, ${waiting} with their next REGISTER\n`,
      );
    }
    return OK;
  },

  drain: async (client, rest, io) => {
    const { flags } = readVerbArgs(rest, JSON_FLAG, [0, 0]);
    const answer = await client.json<{ calls_open: number; waits_for: string }>("POST", "/v1/drain");
    io.stdout(flags.json ? jsonText(answer) + "\n" : `draining, ${drainWords(answer)}\n`);
    return OK;
  },

  backup: async (client, rest, io) => {
    const { words } = readVerbArgs(rest, {}, [1, 1]);
    const size = await writeWhole(words[0]!, await client.stream("POST", "/v1/backup"));
    io.stdout(`${words[0]}: ${size} bytes\n`);
    return OK;
  },
};

function drainWords({ calls_open: open, waits_for: waits }: { calls_open: number; waits_for: string }): string {
  if (open > 0) return `${open} ${open === 1 ? "call is" : "calls are"} open`;
  return waits === "" ? "no calls are open" : `no calls are open, waits for ${waits}`;
}

/** What a push or an eviction did to the phone (R-08, P-04). */
const DEAD = "The token is dead and forgotten, and with it the phone unless it is connected: it must register again.\n";

interface TestPushAnswer {
  provider: string;
  device: string;
  status: number;
  accepted: boolean;
  outcome: string;
  reason: string;
  ms: number;
}

/** Prints one answer, as the server's table or as its JSON. */
export async function show(client: ControlClient, io: Io, path: string, isJson = false): Promise<number> {
  const separator = path.includes("?") ? "&" : "?";
  io.stdout(await client.text("GET", `${path}${separator}format=${isJson ? "json" : "text"}`));
  return OK;
}

/** Prints a list: as JSON all of it, as text one long page. */
async function list(
  client: ControlClient,
  io: Io,
  path: string,
  filters: Record<string, string | undefined>,
  page: { limit?: string; after?: string },
  isJson = false,
): Promise<number> {
  if (isJson && page.limit === undefined && page.after === undefined) {
    io.stdout(jsonText(await client.pages(path, queryOf(filters))) + "\n");
    return OK;
  }
  const query = queryOf({ ...filters, limit: page.limit ?? "1000", after: page.after });
  return await show(client, io, `${path}?${query}`, isJson);
}

function queryOf(values: Record<string, string | undefined>): URLSearchParams {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) if (value !== undefined) query.set(name, value);
  return query;
}

/** Writes beside the file and renames, so that a backup is whole or not there; readable by its owner alone. */
async function writeWhole(file: string, bytes: AsyncIterable<Uint8Array>): Promise<number> {
  const fresh = `${file}.part`;
  let size = 0;
  try {
    const handle = await open(fresh, "w", 0o600);
    try {
      for await (const chunk of bytes) {
        await handle.writeFile(chunk);
        size += chunk.length;
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(fresh, file);
  } catch (error) {
    await unlink(fresh).catch(() => {});
    const { code, message } = error as NodeJS.ErrnoException;
    throw new VerbError(FAILED, `cannot write ${file}: ${WRITE_REASONS[code ?? ""] ?? message}`);
  }
  return size;
}

const WRITE_REASONS: Readonly<Record<string, string>> = {
  ENOENT: "there is no such folder",
  ENOTDIR: "there is no such folder",
  EISDIR: "it is a folder",
  EACCES: "permission denied",
  EPERM: "permission denied",
  EROFS: "the file system is read-only",
  ENOSPC: "the disk is full",
};
