/** A registrar as small PBXs are: bindings by Contact URI, a digest challenge if told to, an answer that lists everything. */
import { parseNameAddr } from "../../../src/core/sip/name_addr.ts";
import { paramOf } from "../../../src/core/sip/scan.ts";
import { answer, headers, parsed } from "./rig.ts";

export interface PbxPolicy {
  /** Longest expiry it grants, seconds. */
  maxExpires: number;
  /** It wants credentials; what they are is not its business here. */
  isChallenging: boolean;
  /** REGISTERs of these AoRs are refused with 403. */
  refused: Set<string>;
}

export class PbxModel {
  /** AoR → Contact URI → expiry, ms. */
  readonly bindings = new Map<string, Map<string, number>>();
  readonly policy: PbxPolicy = { maxExpires: 1e9, isChallenging: false, refused: new Set() };
  /** REGISTERs it got, newest last. */
  readonly seen: string[] = [];

  /** Takes one REGISTER and gives the answer. */
  take(wire: string, nowMs: number): string {
    this.seen.push(wire);
    const message = parsed(wire);
    const key = `${message.to.uri!.user}@${message.to.uri!.host}`;
    if (this.policy.refused.has(key)) return answer(wire, "403 Forbidden");
    if (this.policy.isChallenging && headers(wire, "Authorization").length === 0) {
      return answer(wire, "401 Unauthorized", ['WWW-Authenticate: Digest realm="pbx", nonce="n1", qop="auth"']);
    }
    let ofAor = this.bindings.get(key);
    if (ofAor === undefined) this.bindings.set(key, ofAor = new Map());
    const header = Number(headers(wire, "Expires")[0] ?? 3600);
    for (const element of headers(wire, "Contact")) {
      if (element === "*") {
        ofAor.clear();
        continue;
      }
      const address = parseNameAddr(element)!;
      const asked = Number(paramOf(address.params, "expires") ?? header);
      if (asked === 0) ofAor.delete(address.uriText);
      else ofAor.set(address.uriText, nowMs + Math.min(asked, this.policy.maxExpires) * 1000);
    }
    const listed = this.live(key, nowMs).map(([uri, atMs]) =>
      `Contact: <${uri}>;expires=${Math.ceil((atMs - nowMs) / 1000)}`
    );
    return answer(wire, "200 OK", listed);
  }

  /** Bindings that have not run out. */
  live(aorKey: string, nowMs: number): [string, number][] {
    return [...this.bindings.get(aorKey) ?? []].filter(([, atMs]) => atMs > nowMs);
  }
}
