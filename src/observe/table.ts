/** Plain tables for terminals (`?format=text`). Must not know what the rows are about. */
import { clip, displayWidth, padEnd, padStart, readable } from "./display.ts";

export interface TableColumn<Row> {
  title: string;
  value(row: Row): string | number | null | undefined;
  /** Numbers and times read better on the right. */
  align?: "left" | "right";
  /** Longer cells are cut; default 60. */
  maxWidth?: number;
}

/**
 * Titles in capitals, two spaces between columns, no lines. Ends with a line feed.
 * @param empty what to say instead of a table without rows.
 */
export function renderTable<Row>(rows: readonly Row[], columns: readonly TableColumn<Row>[], empty = "none"): string {
  if (rows.length === 0) return empty + "\n";
  const cells = rows.map((row) => columns.map((column) => cell(column.value(row), column.maxWidth ?? 60)));
  const widths = columns.map((column, i) =>
    cells.reduce((width, line) => Math.max(width, displayWidth(line[i]!)), column.title.length)
  );
  const line = (texts: readonly string[]) =>
    texts.map((text, i) => (columns[i]!.align === "right" ? padStart : padEnd)(text, widths[i]!)).join("  ").trimEnd();
  const lines = [line(columns.map((column) => column.title.toUpperCase()))];
  for (const texts of cells) lines.push(line(texts));
  return lines.join("\n") + "\n";
}

function cell(value: string | number | null | undefined, maxWidth: number): string {
  if (value === null || value === undefined || value === "") return "-";
  return clip(readable(String(value)), maxWidth);
}
