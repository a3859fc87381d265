/**
 * Owns the keys and values that this version does not support. The loader reports them as errors, and the example file
 * says so. Must not know how a key is read.
 */
import type { PbxUri } from "./endpoint.ts";

/** A key, or some of its values, that this version does not support. The error says what to do instead. */
export interface Unavailable {
  /** As in the tree of keys, or with a trailing `.*` for all keys of a section. */
  readonly path: string;
  /** Reads before "not available in this version". */
  readonly what: string;
  readonly instead: string;
  /** Which values; for lists it is asked about each item. Not given: every value but the default. */
  readonly when?: (value: never) => boolean;
}

/** A feature that gets built loses its line here; nothing else changes. */
export const UNAVAILABLE: readonly Unavailable[] = [
  {
    path: "pbx.uri",
    when: (uri: PbxUri) => uri.transport === "ws" || uri.transport === "wss",
    what: "ws and wss towards the PBX are",
    instead: "use transport=tls, tcp or udp",
  },
  {
    path: "wake.methods",
    when: (method: string) => !["INVITE", "NOTIFY", "SUBSCRIBE"].includes(method),
    what: "holding other requests than INVITE, and NOTIFY and SUBSCRIBE of a subscription, is",
    instead: "use INVITE, NOTIFY or SUBSCRIBE",
  },
  { path: "wake.early_media", what: "early media other than all is", instead: "use all" },
  { path: "wake.serial", what: "serial forking is", instead: "use false" },
  { path: "wake.q_step", what: "serial forking is", instead: "remove the key" },
  { path: "push.proxy", what: "a proxy for pushes is", instead: "remove the key" },
  { path: "store.cluster", what: "a cluster is", instead: "remove the key" },
  {
    path: "trace.hep",
    what: "HEP export is",
    instead: "remove the key; `latefork trace` shows the messages",
  },
];

/** The line of UNAVAILABLE that speaks about this key, if any. */
export function unavailableFor(path: string): Unavailable | undefined {
  return UNAVAILABLE.find((row) =>
    row.path === path || (row.path.endsWith(".*") && path.startsWith(row.path.slice(0, -1)))
  );
}
