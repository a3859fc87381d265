/**
 * What the PBX's answer to a REGISTER of our own means: answering its challenges with `pbx.credentials_file`, whether a
 * refusal passes by itself, and when. Must not know what the REGISTER was for.
 */
import { type DigestSecret, DigestSession, parseChallenges } from "../../sip/digest.ts";
import { PROXY_AUTHENTICATE, RETRY_AFTER, WWW_AUTHENTICATE } from "../../sip/header.ts";
import type { Message } from "../../sip/message.ts";
import type { Aor } from "../../usrloc/contact.ts";
import { expiresOf } from "../register.ts";
import type { UpstreamLink } from "./own_register.ts";

/** Answers to challenges and to 423 in one go: a first one and a stale one, of a proxy and of the registrar. */
const MAX_ANSWERS = 4;
const MAX_RETRY_AFTER_MS = 600_000;

/** True if it says nothing against us: the PBX, or what is behind it, cannot now. */
export function isPassing(status: number): boolean {
  return (status >= 500 && status < 600) || status === 408 || status === 480;
}

/** RFC 3261 §20.33, ten minutes at most; 0: not said. */
export function retryAfterMs(response: Message): number {
  const seconds = expiresOf(response.value(RETRY_AFTER)?.match(/^\d+/)?.[0]) ?? 0;
  return Math.min(seconds * 1000, MAX_RETRY_AFTER_MS);
}

/** Our credentials for one user: for the registrar, for a proxy before it, or for both. */
export class UpstreamCredentials {
  private secret: DigestSecret | null = null;
  private sessions: { www: DigestSession; proxy: DigestSession } | null = null;
  private answers = 0;

  constructor(private readonly link: UpstreamLink) {}

  /** A REGISTER goes that answers nothing yet. */
  begin(): void {
    this.answers = 0;
  }

  /** One more answer. @returns false if that is enough of them */
  mayAnswer(): boolean {
    return ++this.answers <= MAX_ANSWERS;
  }

  /** Header lines of the next REGISTER; empty as long as none was asked for. */
  lines(aor: Aor): string {
    const sessions = this.sessionsFor(aor);
    if (sessions === null) return "";
    const request = () => ({ method: "REGISTER", uri: "sip:" + aor.domain, cnonce: this.link.port.token(16) });
    const www = sessions.www.authorize(request());
    const proxy = sessions.proxy.authorize(request());
    return (www === null ? "" : `Authorization: ${www}\r\n`) +
      (proxy === null ? "" : `Proxy-Authorization: ${proxy}\r\n`);
  }

  /**
   * A 401 or 407 came.
   * @returns empty: send again with {@link lines}; else why that is no use, in words
   */
  challenged(aor: Aor, response: Message): string {
    const isProxy = response.status === 407;
    const sessions = this.sessionsFor(aor);
    if (sessions === null) return "it asks for a password, and pbx.credentials_file has none for this user";
    const challenges = parseChallenges(response.values(isProxy ? PROXY_AUTHENTICATE : WWW_AUTHENTICATE));
    const session = isProxy ? sessions.proxy : sessions.www;
    const verdict = this.mayAnswer() ? session.challenged(challenges) : "refused";
    if (verdict === "answer") return "";
    return verdict === "refused"
      ? "the PBX does not take the password of pbx.credentials_file"
      : "it asks for a kind of authentication we cannot answer";
  }

  /** The PBX took them. */
  accepted(): void {
    this.sessions?.www.accepted();
    this.sessions?.proxy.accepted();
  }

  private sessionsFor(aor: Aor): { www: DigestSession; proxy: DigestSession } | null {
    const secret = this.link.policy.settings.credentials(aor.user);
    if (secret === null) return this.sessions = null;
    // Another password after a reload: what was agreed with the old one is over.
    if (this.secret !== secret) this.sessions = null;
    this.secret = secret;
    return this.sessions ??= { www: new DigestSession(secret), proxy: new DigestSession(secret) };
  }
}
