/** How many file descriptors the process may have, as each connection takes one. Knows no sockets. */
import { readFileSync } from "node:fs";

/** For everything that is no connection of ours: listeners, the database, the control port, push services. */
const RESERVED = 256;

/** The limit of this process (`ulimit -n`); Infinity where it cannot be asked. */
export function descriptorLimit(): number {
  try {
    const found = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "latin1"));
    return found === null ? Infinity : Number(found[1]);
  } catch {
    return Infinity;
  }
}

/** How many connections so many descriptors allow: the rest is reserved, of a small number half. At least 1. */
export function connectionsFor(descriptors: number): number {
  return Math.max(1, descriptors - Math.min(RESERVED, Math.ceil(descriptors / 2)));
}
