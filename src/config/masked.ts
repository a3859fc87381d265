/**
 * A config as the file would say it, with every default filled in and no secret: what `/v1/config` and `config show`
 * give (X-04). Secrets are in files, named but not read; what is left are passwords and query strings in URLs.
 */
import { stringify } from "yaml";
import type { Config, KeyRow, ListenEntry, LogOverride, PbxUri, Rate, TokenSource } from "./schema.ts";
import { itemOf, ROOT, type TreeNode } from "./tree.ts";
import { formatDuration, formatRate, formatSize } from "./values.ts";

/** Plain JSON: same keys as the file, durations and sizes with their units. */
export function masked(config: Config): Record<string, unknown> {
  return shown(ROOT, config) as Record<string, unknown>;
}

/** The same as YAML that loads again. `pbx` is left out when absent. */
export function configYaml(config: Config): string {
  const { pbx, ...rest } = masked(config);
  return stringify(pbx === null ? rest : { ...rest, pbx }, { lineWidth: 120 });
}

function shown(node: TreeNode, value: unknown): unknown {
  if (node.key !== null) {
    return Array.isArray(value) ? value.map((item) => written(node.key!, item)) : written(node.key, value);
  }
  if (value === null) return null;
  if (node.section?.kind === "list") return (value as unknown[]).map((item) => shown(itemOf(node), item));
  const fields: Record<string, unknown> = {};
  for (const [name, child] of Object.entries(value as object)) {
    const below = node.section?.kind === "map" ? itemOf(node) : node.children.get(name);
    // A rule that has no push section has none in the file either.
    if (below !== undefined && !(child === null && node.name === "[]")) fields[name] = shown(below, child);
  }
  return fields;
}

function written(row: KeyRow, value: unknown): unknown {
  switch (row.type) {
    case "duration":
      return formatDuration(value as number);
    case "size":
      return formatSize(value as number);
    case "rate":
      return formatRate(value as Rate);
    case "cidr":
    case "log_override":
      return (value as LogOverride).text;
    case "control":
      return (value as { url: string }).url;
    case "listen": {
      const { url, advertise } = value as ListenEntry;
      return advertise === "" ? url : { url, advertise };
    }
    case "pbx_uri":
      return (value as PbxUri).uri;
    case "header_match": {
      const match = value as { name: string; pattern: string } | null;
      return match === null ? "" : `${match.name}: ${match.pattern}`;
    }
    case "token_source": {
      const { source, name } = value as TokenSource;
      return `${source}:${name}`;
    }
    case "url":
    case "text":
      return withoutSecrets(value as string);
    default:
      return value;
  }
}

/** `redis://:secret@host/?token=abc` → `redis://***@host/?***` */
function withoutSecrets(text: string): string {
  return text.replace(/^([A-Za-z][A-Za-z0-9+.-]*:\/\/)[^/?#]*@/, "$1***@").replace(
    /^([a-z]+:\/\/[^?#]*\?).+$/i,
    "$1***",
  );
}
