/**
 * Owns what `pn-provider`, `pn-param` and `pn-prid` of an iPhone mean: environment, team, bundle, and a token for each
 * kind of push (RFC 8599, and what Linphone sends). Pure. It must not know events, payloads or connections.
 */

export interface ApnsTarget {
  /** Empty if `pn-param` names none. */
  readonly team: string;
  /** The topic without `.voip`. */
  readonly bundle: string;
  /** PushKit token; empty if there is none. */
  readonly voipToken: string;
  /** Token for alerts and background pushes; empty if there is none. */
  readonly alertToken: string;
  /** A development build, as far as the phone says. */
  readonly isSandbox: boolean;
}

/** Longest token and bundle; Apple promises no length for tokens. */
const MAX_TOKEN = 512;
const MAX_BUNDLE = 255;

/** @returns the problem in words if the parameters name no app or no token. */
export function apnsTargetOf(provider: string, param: string, prid: string): ApnsTarget | string {
  const app = appOf(param);
  if (app === null) {
    return "pn-param names no app: it must be TEAMID.BUNDLEID, with .voip behind it for a PushKit token";
  }
  const tokens = tokensOf(prid, app.isVoip);
  if (tokens === null) return "pn-prid is no APNs token";
  return { team: app.team, bundle: app.bundle, ...tokens, isSandbox: provider === "apns.dev" };
}

function appOf(param: string): { team: string; bundle: string; isVoip: boolean } | null {
  // RFC 8599: the first dot ends the team. The older app-id has none, and bundles begin in lower case.
  const dot = param.indexOf(".");
  const first = param.slice(0, Math.max(0, dot));
  const team = /^[A-Z0-9]+$/.test(first) ? first : "";
  // The older form ends in the environment, which the provider tells already.
  let bundle = team === "" ? param.replace(/\.(dev|prod)$/, "") : param.slice(dot + 1);
  let isVoip = false;
  const service = bundle.slice(bundle.lastIndexOf(".") + 1);
  if (/^(voip|remote)(&(voip|remote))?$/.test(service)) {
    isVoip = service.includes("voip");
    bundle = bundle.slice(0, Math.max(0, bundle.length - service.length - 1));
  }
  // It becomes a header.
  return bundle.length <= MAX_BUNDLE && /^[\w.-]+$/.test(bundle) ? { team, bundle, isVoip } : null;
}

/** `TOKEN`, or `TOKEN:remote&TOKEN:voip`. */
function tokensOf(prid: string, isVoip: boolean): { voipToken: string; alertToken: string } | null {
  const tokens = { voipToken: "", alertToken: "" };
  for (const part of prid.split("&")) {
    const colon = part.indexOf(":");
    const token = colon === -1 ? part : part.slice(0, colon);
    const kind = colon === -1 ? (isVoip ? "voip" : "remote") : part.slice(colon + 1);
    // It becomes a part of a path.
    if (token.length > MAX_TOKEN || !/^[\w.~-]+$/.test(token) || /^\.+$/.test(token)) return null;
    if (kind === "voip") tokens.voipToken = token;
    else if (kind === "remote") tokens.alertToken = token;
    else return null;
  }
  return tokens;
}
