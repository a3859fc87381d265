/**
 * The two config files we write: `config/latefork.yaml`, the manual, with every key at its default; and the short one of
 * `latefork init`. The manual says nothing but what the table of keys says.
 */
import { itemOf, type KeyRow, ROOT, type TreeNode } from "./tree.ts";
import { type Unavailable, unavailableFor } from "./unavailable.ts";

const HEAD = `## latefork: every key, at its default. Generated from src/config/schema.ts.
##
## Lines with ## are words. To set a key, remove the "# " before it and before the name of its section.
## (live): a change is applied by \`latefork reload\`. (restart): it waits for the next start.
## Durations carry units (1500ms, 30s, 2m, 1h, 30d), so do sizes (64k, 4m). Secrets stand only in files (*_file);
## relative file names start at the folder of this file. \`latefork check\` says what is wrong with it.
`;

/** The text of config/latefork.yaml. Removing "# " everywhere gives a config that loads. */
export function exampleConfig(): string {
  const lines: string[] = [];
  for (const node of ROOT.children.values()) addNode(lines, node, "");
  return `${HEAD}${lines.join("\n")}\n`;
}

/** The file \`latefork init\` writes: a mid-registrar in front of a PBX, to be edited. */
export function initConfig(): string {
  return INIT;
}

const INIT = `# latefork in front of a PBX. Edit the address of the PBX, then: latefork check && latefork serve
# Every other key with its default: config/latefork.yaml

pbx:
  uri: sip:192.168.1.10:5060     # where the PBX is
  # credentials_file: /etc/latefork/credentials   # lets latefork keep registrations alive while phones sleep

listen:                          # where phones and the PBX reach latefork
  - udp://0.0.0.0:5060
  - tcp://0.0.0.0:5060
# advertise: sip.example.org     # our public name, if phones come from outside

# push:
#   webhook:                     # pn-provider of the phones, and where to POST to wake them
#     acme: { url: "https://push.example.org/wake" }

store:
  path: /var/lib/latefork/latefork.db
`;

function addNode(lines: string[], node: TreeNode, indent: string): void {
  if (indent === "") lines.push("");
  if (node.key !== null) return addKey(lines, node.name, node.key, indent);
  const section = node.section!;
  lines.push(...words(section.doc, indent));
  if (section.shape === "keys" || section.shape === "optional") {
    lines.push(`# ${indent}${node.name}:`);
    for (const child of node.children.values()) addNode(lines, child, `${indent}  `);
    return;
  }
  const names = section.names ?? [];
  const empty = section.shape === "list" ? " []" : " {}";
  lines.push(`# ${indent}${node.name}:${names.length === 0 ? empty : ""}`);
  for (const name of names) {
    lines.push(`# ${indent}  ${name}:`);
    for (const child of itemOf(node).children.values()) addNode(lines, child, `${indent}    `);
  }
  for (const line of section.example ?? []) lines.push(`##${indent}   for instance: ${line}`);
  const item = itemOf(node);
  if (item.key !== null) lines.push(...words(annotated(item.key, ""), `${indent}  `));
  else if (names.length === 0) addItemKeys(lines, item, `${indent}  `, "");
}

/** Keys of a list or map that is empty by default: words alone. */
function addItemKeys(lines: string[], node: TreeNode, indent: string, prefix: string): void {
  for (const child of node.children.values()) {
    if (child.key === null) {
      addItemKeys(lines, child, indent, `${prefix}${child.name}.`);
    } else {
      const { key } = child;
      const value = key.isRequired === true ? "required" : key.default === "" ? "" : `default ${String(key.default)}`;
      lines.push(...words(`${prefix}${child.name}: ${annotated(key, value)}`, indent));
    }
  }
}

function addKey(lines: string[], name: string, key: KeyRow, indent: string): void {
  const value = valueText(key);
  const isShown = value === key.example;
  const example = key.example === undefined || isShown ? "" : `for instance ${key.example}`;
  lines.push(...words(annotated(key, example), indent));
  if (Array.isArray(value)) {
    lines.push(`# ${indent}${name}:`, ...value.map((item) => `# ${indent}  - ${quotedIfNeeded(item)}`));
  } else {
    lines.push(`# ${indent}${name}: ${value}`);
  }
}

/** The words of a key: doc, choices, what this version lacks, a note, and live or restart. */
function annotated(key: KeyRow, note: string): string {
  const choices = key.kind.choices.filter((choice) => choice !== "").join(" | ");
  const parts = [key.doc];
  if (choices !== "") parts.push(`${choices}.`);
  const missing = unavailableFor(key.path);
  if (missing !== undefined) parts.push(missingText(missing));
  if (note !== "") parts.push(`${note.slice(0, 1).toUpperCase()}${note.slice(1)}.`);
  return `${parts.join(" ")} (${key.applies})`;
}

function missingText(row: Unavailable): string {
  return `Not available in this version: ${row.what.replace(/ (is|are)$/, "")}.`;
}

function valueText(key: KeyRow): string | string[] {
  if (typeof key.default === "string") return key.default === "" ? '""' : quotedIfNeeded(key.default);
  if (key.default.length > 0) return [...key.default];
  return key.isRequired === true && key.example !== undefined ? key.example : "[]";
}

function quotedIfNeeded(text: string): string {
  return /^[A-Za-z0-9/][A-Za-z0-9./:_-]*$/.test(text) ? text : JSON.stringify(text);
}

const WIDTH = 118;

/** Comment lines, broken at spaces. */
function words(text: string, indent: string): string[] {
  const lines: string[] = [];
  let line = `##${indent}`;
  for (const word of text.split(" ")) {
    if (line.length + word.length + 1 > WIDTH) {
      lines.push(line);
      line = `##${indent}`;
    }
    line += ` ${word}`;
  }
  lines.push(line);
  return lines;
}
