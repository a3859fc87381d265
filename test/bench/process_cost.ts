/** What Linux says a server's processes cost: CPU and memory. Reads /proc alone. */
import { readFileSync } from "node:fs";

/** USER_HZ, 100 on every Linux of the supported machines: the unit of /proc/PID/stat. */
const TICKS_PER_SECOND = 100;

/** A process and all below it: Kamailio works in children. */
function family(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
  return [pid, ...(children === "" ? [] : children.split(" ")).flatMap((child) => family(Number(child)))];
}

/** User and system time of a process, its threads and its children so far, in seconds (steps of 10 ms). */
export function cpuSeconds(pid: number): number {
  let ticks = 0;
  for (const member of family(pid)) {
    // The command name, in parentheses, may hold spaces; user and system time are fields 14 and 15.
    const stat = readFileSync(`/proc/${member}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks / TICKS_PER_SECOND;
}

/** Resident memory of a process alone, in MiB. */
export function residentMib(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return Number(kib) / 1024;
}
