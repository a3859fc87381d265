/**
 * Draws the text ladder of one call: who, what, when, and the outcome in words (W-22). Knows the shape of a call's
 * timeline and nothing of SIP, the silo or terminals. Same call, same text.
 */
import { clip, displayWidth, padStart, readable } from "./display.ts";

/** One line of the timeline; the silo's `TimelineEntry` is one. */
export interface LadderEntry {
  /** Milliseconds since the INVITE. */
  tMs: number;
  event: string;
  from?: string;
  to?: string;
  label?: string;
  note?: string;
}

/** What the ladder reads of a call; the silo's `CallRecord` is one. */
export interface LadderCall {
  id: string;
  aor: string;
  from: string;
  outcome: string;
  /** Columns in order. */
  parties: readonly string[];
  timeline: readonly LadderEntry[];
}

export interface LadderOptions {
  /** Columns of the terminal the arrows should fit in; notes may run over. Default 100. */
  width?: number;
}

/** An arrow over the columns `from` → `to` (indexes of parties). */
interface Arrow {
  from: number;
  to: number;
  label: string;
  isAnswer: boolean;
  /** Drawn with another arrow of the same label on one line: the label goes to the end that tells them apart. */
  isRelayed: boolean;
}

/** One line of the ladder: no arrow (a remark), one, or two of a relayed message. */
interface Row {
  tMs: number;
  arrows: Arrow[];
  note: string;
}

const HUB = "latefork";
const FIRST_COLUMN = 14;
const WIDEST_GAP = 28;
/** `── ` and ` ─` and the arrow head. */
const LABEL_MARGIN = 4;

/**
 * The text of the ladder, ending in a line feed. Names and labels from the network are made readable. A label that is too
 * long is cut on the arrow and repeated in full in the note.
 */
export function renderLadder(call: LadderCall, options: LadderOptions = {}): string {
  const parties = call.parties.map(readable);
  // The line of the end would repeat the title.
  const told = call.timeline.filter(({ event, note }) => event !== "end" || note !== call.outcome);
  const rows = relayedOnOneLine(told.map((entry) => rowOf(entry, call.parties)), call.parties.indexOf(HUB));
  const hub = Math.max(0, call.parties.indexOf(HUB));
  const columns = columnPositions(parties, rows, hub, options.width ?? 100);
  const timeWidth = rows.reduce((width, row) => Math.max(width, seconds(row.tMs).length), 7);

  const lines = [title(call), header(parties, columns)];
  for (const row of rows) {
    const { cells, cut } = draw(row.arrows, columns, hub, timeWidth);
    const note = [...cut, row.note].filter((part) => part !== "").join(", ");
    lines.push((padStart(seconds(row.tMs), timeWidth) + cells + (note === "" ? "" : "   " + note)).trimEnd());
  }
  return lines.join("\n") + "\n";
}

function title(call: LadderCall): string {
  const outcome = call.outcome === "" ? "open" : readable(call.outcome);
  return `call ${readable(call.id)}  ${readable(call.from)} → ${readable(call.aor)}   ${outcome}`;
}

function header(parties: readonly string[], columns: readonly number[]): string {
  let line = "";
  parties.forEach((party, i) => {
    const start = columns[i]! - (displayWidth(party) >> 1);
    line += " ".repeat(Math.max(i === 0 ? 0 : 1, start - displayWidth(line))) + party;
  });
  return line;
}

function rowOf(entry: LadderEntry, parties: readonly string[]): Row {
  const from = entry.from === undefined ? -1 : parties.indexOf(entry.from);
  const to = entry.to === undefined ? -1 : parties.indexOf(entry.to);
  const label = readable(entry.label ?? entry.event);
  const note = readable(entry.note ?? "");
  if (from < 0 || to < 0 || from === to) {
    // Without two parties there is no arrow: the note says everything.
    const who = [entry.from, entry.to].filter((party) => party !== undefined).map((party) => readable(party!));
    const subject = [...new Set(who), entry.label === undefined ? "" : label].filter((part) => part !== "").join(" ");
    return { tMs: entry.tMs, arrows: [], note: [subject, note].filter((part) => part !== "").join(": ") || label };
  }
  const isAnswer = entry.event === "response" || entry.event === "push_result";
  return { tMs: entry.tMs, arrows: [{ from, to, label, isAnswer, isRelayed: false }], note };
}

/** A message that latefork passes on at once becomes one line through both columns: it reads better. */
function relayedOnOneLine(rows: Row[], hub: number): Row[] {
  const merged: Row[] = [];
  for (const row of rows) {
    const before = merged[merged.length - 1];
    const first = before?.arrows.length === 1 ? before.arrows[0]! : undefined;
    const second = row.arrows.length === 1 ? row.arrows[0]! : undefined;
    const passesHub = first !== undefined && second !== undefined && first.to === hub && second.from === hub &&
      first.label === second.label && Math.sign(first.to - first.from) === Math.sign(second.to - second.from);
    if (before === undefined || !passesHub || Math.abs(row.tMs - before.tMs) >= 1) {
      merged.push(row);
      continue;
    }
    first!.isRelayed = second!.isRelayed = true;
    before.arrows.push(second!);
    before.note = [before.note, row.note].filter((part) => part !== "").join(", ");
  }
  return merged;
}

/** The column of each party: far enough apart for the names, and for the labels between them. */
function columnPositions(parties: readonly string[], rows: readonly Row[], hub: number, width: number): number[] {
  const widths = parties.map(displayWidth);
  const count = parties.length;
  const first = Math.max(FIRST_COLUMN, 9 + ((widths[0] ?? 0) >> 1));
  const comfortable = count < 2 ? 15 : Math.floor((width - first) / (count - 1)) - 1;
  const gaps = Array.from({ length: Math.max(0, count - 1) }, (_, i) => {
    const names = widths[i]! - (widths[i]! >> 1) + (widths[i + 1]! >> 1) + 1;
    return Math.max(Math.min(15, Math.max(9, comfortable)), names);
  });
  for (const row of rows) {
    for (const arrow of row.arrows) {
      const gap = labelGap(arrow, hub);
      gaps[gap] = Math.max(gaps[gap]!, Math.min(WIDEST_GAP, displayWidth(arrow.label) + LABEL_MARGIN));
    }
  }
  const columns = [first];
  for (const gap of gaps) columns.push(columns[columns.length - 1]! + gap + 1);
  return columns;
}

/**
 * The gap between columns that carries the label of an arrow (0 is left of column 1): requests are named beside
 * latefork, answers and relayed messages beside the other party.
 */
function labelGap(arrow: Arrow, hub: number): number {
  const left = Math.min(arrow.from, arrow.to);
  const right = Math.max(arrow.from, arrow.to) - 1;
  const isFar = arrow.isAnswer || arrow.isRelayed;
  if (hub <= left) return isFar ? right : left;
  return isFar ? left : right;
}

/** The part of a line right of the time; `cut` holds the labels that did not fit. */
function draw(
  arrows: readonly Arrow[],
  columns: readonly number[],
  hub: number,
  timeWidth: number,
): { cells: string; cut: string[] } {
  const cut: string[] = [];
  let cells = " ".repeat(Math.max(1, columns[0]! - timeWidth)) + "│";
  for (let gap = 0; gap + 1 < columns.length; gap++) {
    const width = columns[gap + 1]! - columns[gap]! - 1;
    const arrow = arrows.find(({ from, to }) => Math.min(from, to) <= gap && gap < Math.max(from, to));
    if (arrow === undefined) {
      cells += " ".repeat(width) + "│";
      continue;
    }
    const head = arrow.to === gap ? "◀" : "";
    const tail = arrow.to === gap + 1 ? "▶" : "";
    const room = width - head.length - tail.length;
    let label = "";
    if (labelGap(arrow, hub) === gap) {
      label = clip(arrow.label, width - LABEL_MARGIN);
      if (label !== arrow.label) cut.push(arrow.label);
    }
    const crossesNext = gap + 1 < Math.max(arrow.from, arrow.to);
    cells += head + shaft(label, room, lead(arrow, displayWidth(label), room)) + tail + (crossesNext ? "┼" : "│");
  }
  return { cells, cut };
}

function lead(arrow: Arrow, labelWidth: number, room: number): number {
  const span = Math.abs(arrow.from - arrow.to);
  const wanted = arrow.isAnswer && labelWidth <= 3 ? 4 : arrow.isRelayed && span > 1 ? (room - labelWidth - 2) >> 1 : 2;
  return Math.max(0, Math.min(wanted, room - labelWidth - 2));
}

function shaft(label: string, room: number, leadWidth: number): string {
  if (label === "") return "─".repeat(room);
  const text = "─".repeat(leadWidth) + ` ${label} `;
  return text + "─".repeat(Math.max(0, room - displayWidth(text)));
}

function seconds(tMs: number): string {
  return (tMs / 1000).toFixed(3);
}
