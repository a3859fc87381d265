/** How many file descriptors the process may have, as each connection takes one. Knows no sockets. */
import { readFileSync } from "node:fs";

/** Kept for everything else: listeners, the database, the control port, push services. */
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

/** How many connections so many descriptors allow: all but those kept, or half of a small number. At least 1. */
export function connectionsFor(descriptors: number): number {
  return Math.max(1, descriptors - Math.min(RESERVED, Math.ceil(descriptors / 2)));
}
