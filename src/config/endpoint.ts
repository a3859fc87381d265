/**
 * Reads the values that name a place: listen URLs, the PBX's SIP URIs, control URLs, web URLs, hosts. Must not look
 * names up or open anything.
 */
import type { Transport } from "../core/sip/flow.ts";
import { defaultPort } from "../core/sip/host.ts";
import { parseAddress } from "./cidr.ts";
import { bad, didYouMean, ok, type Parsed, quoted } from "./parsed.ts";

export interface ListenEntry {
  /** As written. */
  url: string;
  scheme: Transport;
  /** IP address without brackets. */
  host: string;
  /** 0 = a free one. */
  port: number;
  /** Of ws and wss, "/" if not given; "" otherwise. */
  path: string;
  /** `host` or `host:port`; "" = the top-level `advertise`. */
  advertise: string;
}

export interface PbxUri {
  /** As written. */
  uri: string;
  /** Name or IP address, without brackets, lower-case. */
  host: string;
  /** 5060 (tls: 5061) if the URI has none; see `has_port`. */
  port: number;
  /** False: DNS SRV may choose the port (RFC 3263 §4.2). */
  has_port: boolean;
  transport: Transport;
}

export interface ControlEntry {
  /** As written. */
  url: string;
  scheme: "http" | "unix";
  /** IP address or name without brackets; "" for unix. */
  host: string;
  /** 0 = a free one; 0 for unix. */
  port: number;
  /** Of the unix socket; "" for http. */
  path: string;
}

const LISTEN_PORTS: Readonly<Record<Transport, number>> = { udp: 5060, tcp: 5060, tls: 5061, ws: 80, wss: 443 };
const TRANSPORTS = Object.keys(LISTEN_PORTS) as Transport[];

/** `udp://0.0.0.0:5060`, `tcp://[::]`, `ws://127.0.0.1:8080/sip`. The host is an IP address. */
export function parseListen(text: string): Parsed<ListenEntry> {
  const split = splitScheme(text, TRANSPORTS);
  if (!split.ok) return split;
  const { scheme, rest, at } = split.value;
  const slash = rest.indexOf("/");
  const path = slash < 0 ? "" : rest.slice(slash);
  const isWeb = scheme === "ws" || scheme === "wss";
  if (!isWeb && path !== "" && path !== "/") return bad("only ws and wss have a path", "", at + slash, path.length);
  if (/[\s?#]/.test(path)) {
    return bad(`path ${quoted(path)} has a character that is not allowed`, "", at + slash, path.length);
  }
  const place = parseHostPort(slash < 0 ? rest : rest.slice(0, slash), at);
  if (!place.ok) return place;
  const { host, port } = place.value;
  if (parseAddress(host) === null) {
    return bad(
      `${quoted(host)} is not an IP address`,
      "listen on an address; put the name into advertise",
      at,
      host.length,
    );
  }
  return ok({
    url: text,
    scheme,
    host,
    port: port ?? LISTEN_PORTS[scheme],
    path: isWeb ? path || "/" : "",
    advertise: "",
  });
}

/** `sip:192.168.1.10:5060;transport=udp`, `sips:pbx.example.org`. */
export function parsePbxUri(text: string): Parsed<PbxUri> {
  const match = /^(sips?):/i.exec(text);
  if (match === null) {
    const hint = parseHostPort(text, 0).ok
      ? `did you mean "sip:${text}"?`
      : "write it like sip:192.168.1.10:5060;transport=udp";
    return bad(`${quoted(text)} is not a SIP URI`, hint);
  }
  const at = match[0].length;
  const [hostPort = "", ...params] = text.slice(at).split(";");
  if (hostPort.includes("@")) {
    return bad("the PBX's URI has no user part", "users come from the phones", at, hostPort.indexOf("@") + 1);
  }
  if (/[?\s<>"]/.test(text)) return bad(`${quoted(text)} is not a SIP URI`, "no headers, spaces or brackets");
  const place = parseHostPort(hostPort, at);
  if (!place.ok) return place;
  let transport: Transport = match[1]!.toLowerCase() === "sips" ? "tls" : "udp";
  let offset = at + hostPort.length;
  for (const param of params) {
    const start = offset + 1;
    offset = start + param.length;
    const [name = "", value = ""] = param.split("=");
    if (name.toLowerCase() === "lr" || param === "") continue;
    if (name.toLowerCase() !== "transport") {
      return bad(`unknown URI parameter ${quoted(name)}`, didYouMean(name, ["transport"]), start, name.length);
    }
    const known = TRANSPORTS.find((word) => word === value.toLowerCase());
    if (known === undefined) {
      const hint = didYouMean(value, TRANSPORTS, "use udp or tcp");
      return bad(`unknown transport ${quoted(value)}`, hint, start + name.length + 1, value.length);
    }
    transport = known;
  }
  const { host, port } = place.value;
  if (port === 0) return bad("the PBX's port cannot be 0", "", at, hostPort.length);
  return ok({
    uri: text,
    host,
    port: port ?? (defaultPort(transport)),
    has_port: port !== null,
    transport,
  });
}

/** `http://127.0.0.1:8060`, `unix:/run/latefork.sock`. */
export function parseControl(text: string): Parsed<ControlEntry> {
  if (text.startsWith("unix:")) {
    const path = text.slice(5).replace(/^\/\/(?=\/)/, "");
    if (!path.startsWith("/")) return bad("the socket path must begin with /", "write it like unix:/run/latefork.sock");
    // sockaddr_un holds 108 bytes with the closing zero.
    if (path.length > 107) return bad("the socket path is longer than 107 characters");
    return ok({ url: text, scheme: "unix", host: "", port: 0, path });
  }
  if (/^https:\/\//i.test(text)) {
    return bad("the control port has no TLS", "use http:// on loopback behind a TLS proxy, or unix:/PATH", 0, 5);
  }
  const split = splitScheme(text, ["http"]);
  if (!split.ok) return split;
  const { rest, at } = split.value;
  const hostPort = rest.endsWith("/") ? rest.slice(0, -1) : rest;
  const place = parseHostPort(hostPort, at);
  if (!place.ok) return place;
  const { host, port } = place.value;
  return ok({ url: text, scheme: "http", host, port: port ?? 8060, path: "" });
}

/** `https://push.example.org/wake`, without user and password. */
export function parseWebUrl(text: string): Parsed<string> {
  if (text === "") return bad("must not be empty", "write an http:// or https:// URL");
  const split = splitScheme(text, ["https", "http"]);
  if (!split.ok) return split;
  const { rest, at } = split.value;
  const authority = /^[^/?#]*/.exec(rest)![0];
  if (authority.includes("@")) {
    return bad(
      "the URL holds a password",
      "put the secret into a file and name it in token_file",
      at,
      authority.lastIndexOf("@") + 1,
    );
  }
  const place = parseHostPort(authority, at);
  if (!place.ok) return place;
  if (/\s/.test(text) || text.length > 2048 || !URL.canParse(text)) return bad(`${quoted(text)} is not a URL`);
  return ok(text);
}

/** `sip.example.org`, `192.0.2.1:5060`, `[2001:db8::1]:5060`. */
export function parseAdvertise(text: string): Parsed<string> {
  if (text.includes("://")) return bad(`${quoted(text)} is a URL`, "write a name or address, and a port if it differs");
  const place = parseHostPort(text, 0);
  if (!place.ok) return place;
  if (place.value.port === 0) return bad("port 0 cannot be reached", "write the real port or none");
  return ok(text);
}

/** A domain: name or address, lower-cased. */
export function parseHost(text: string): Parsed<string> {
  if (isHostName(text) || parseAddress(text) !== null) return ok(text.toLowerCase());
  if (text.startsWith("[") && text.endsWith("]") && parseAddress(text.slice(1, -1)) !== null) {
    return ok(text.toLowerCase());
  }
  if (/^sips?:/i.test(text) || text.includes("@")) return bad(`${quoted(text)} is a URI`, "write only the domain");
  if (/:\d+$/.test(text)) return bad(`${quoted(text)} has a port`, "write only the domain");
  return bad(`${quoted(text)} is not a domain`);
}

/** RFC 1123 name. `_` is allowed, as people use it; a dotted IPv4 address passes too. */
export function isHostName(text: string): boolean {
  if (text.length === 0 || text.length > 253) return false;
  const labels = (text.endsWith(".") ? text.slice(0, -1) : text).split(".");
  const isShaped = labels.every((label) => /^[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/.test(label));
  // A last label of digits means an address: 192.168.1 and 192.168.1.999 are no names.
  return isShaped && (!/^\d+$/.test(labels.at(-1)!) || parseAddress(text) !== null);
}

function splitScheme<S extends string>(
  text: string,
  schemes: readonly S[],
): Parsed<{ scheme: S; rest: string; at: number }> {
  const mark = text.indexOf("://");
  const list = schemes.map((scheme) => `${scheme}://`).join(", ");
  if (mark < 0) return bad(`${quoted(text)} has no scheme`, `begin with ${list}`);
  const name = text.slice(0, mark);
  const scheme = schemes.find((candidate) => candidate === name.toLowerCase());
  if (scheme !== undefined) return ok({ scheme, rest: text.slice(mark + 3), at: mark + 3 });
  return bad(`unknown scheme ${quoted(name)}`, didYouMean(name, schemes, `use ${list}`), 0, mark);
}

/** `host`, `host:port`, `[v6]:port` → host without brackets, lower-case; `at` is where the text begins in its value. */
function parseHostPort(text: string, at: number): Parsed<{ host: string; port: number | null }> {
  if (text === "") return bad("has no host", "", Math.max(0, at - 1), 1);
  const end = text.startsWith("[") ? text.indexOf("]") + 1 : text.includes(":") ? text.lastIndexOf(":") : text.length;
  const hostText = text.slice(0, end);
  const host = hostText.startsWith("[") ? hostText.slice(1, -1) : hostText;
  if (text.startsWith("[") ? !host.includes(":") || parseAddress(host) === null : !isHostName(host)) {
    const hint = parseAddress(text) === null ? "" : `did you mean "[${text}]"?`;
    return bad(`${quoted(hint === "" ? hostText || text : text)} is not a host name or address`, hint, at, text.length);
  }
  const rest = text.slice(end);
  if (rest === "") return ok({ host: host.toLowerCase(), port: null });
  const portText = rest.slice(1);
  if (rest[0] !== ":" || !/^\d{1,5}$/.test(portText) || Number(portText) > 65535) {
    return bad(
      `port ${quoted(portText)} is not a number from 0 to 65535`,
      "",
      at + end + 1,
      Math.max(1, portText.length),
    );
  }
  return ok({ host: host.toLowerCase(), port: Number(portText) });
}
