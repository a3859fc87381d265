/**
 * Which credentials go on to the PBX, and which of them are a login. A login answers a nonce that was sent over its
 * flow: each challenge is good for one, and one the PBX refuses is a failed login. Everything else is a question (RFC 7616
 * §3.3): an empty nonce, or one we never saw because it is from before our start. Must not know who is banned for what.
 *
 * | the nonce                                   | goes on | refused with 401 |
 * | ------------------------------------------- | ------- | ---------------- |
 * | empty, or never seen                        | yes     | a question       |
 * | sent over this flow and not yet answered    | yes     | a failed login   |
 * | the PBX accepted it from this user          | yes     | a question       |
 * | sent, but answered already or to another    | no      | a question       |
 */
import { Recent } from "../guard/recent.ts";
import { type AuthValue, parseAuthValue } from "../sip/auth_value.ts";
import type { Flow } from "../sip/flow.ts";
import { AUTHORIZATION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, WWW_AUTHENTICATE } from "../sip/header.ts";
import type { Message } from "../sip/message.ts";
import { detached } from "../sip/scan.ts";

/** Lines of credentials that one REGISTER takes to the PBX. */
const MAX_LINES = 8;
/** Nonces remembered, and flows they were sent over. */
const MAX_NONCES = 10_000;
/** Users that one nonce was accepted from: some PBXs give all phones of a second the same. */
const MAX_USERS = 16;

/** A nonce, and who the PBX took it from. */
interface Nonce {
  readonly users: string[];
}

/** A nonce on one flow. */
interface Challenge {
  readonly nonce: Nonce;
  /** Challenges with it that were not answered. */
  open: number;
}

/** Credentials that go on. */
interface Credentials {
  /** `alice@example.org`: who says it is, and the realm. */
  readonly name: string;
  readonly user: string;
  /** What it answers; null: it is a question. */
  readonly challenge: Challenge | null;
  /** It cannot be read, so it cannot be told from a login. */
  readonly isUnreadable: boolean;
}

/** The credentials of one REGISTER. */
export interface Login {
  readonly credentials: readonly Credentials[];
  /** Header lines that do not go on. */
  readonly dropped: readonly number[];
}

const NONE: Login = { credentials: [], dropped: [] };
const NOBODY: readonly string[] = [];

export class Logins {
  private readonly nonces = new Recent<Nonce>(MAX_NONCES);
  private readonly challenges = new Recent<Challenge>(MAX_NONCES);

  /** Entries held, for the test that they are bounded. */
  get size(): number {
    return this.nonces.size + this.challenges.size;
  }

  /** A REGISTER is about to go to the PBX. What it answers is used up until {@link judged}. */
  begin(request: Message, flow: Flow): Login {
    if (!request.has(AUTHORIZATION) && !request.has(PROXY_AUTHORIZATION)) return NONE;
    const credentials: Credentials[] = [];
    const dropped: number[] = [];
    const seen = new Set<string>();
    for (const id of [AUTHORIZATION, PROXY_AUTHORIZATION]) {
      for (let n = request.find(id); n >= 0; n = request.find(id, n + 1)) {
        const values = parseAuthValue(request.raw.slice(request.valueStart(n), request.valueEnd(n)));
        const key = `${id} ${kindOf(values)}`;
        // RFC 3261 §22.3, RFC 8760 §2.4: one answer to each challenge. More of them are guesses.
        const isSurplus = values.length > 1 || seen.has(key) || seen.size >= MAX_LINES;
        seen.add(key);
        const one = isSurplus ? null : this.read(values[0], flow);
        if (one === null) dropped.push(n);
        else credentials.push(one);
      }
    }
    for (const { challenge } of credentials) if (challenge !== null) challenge.open--;
    return { credentials, dropped };
  }

  /**
   * What the PBX says of a login that {@link begin} began.
   * @param response null: it did not answer
   * @returns `passed`, or the name of each failed login; none where it said nothing of the password
   */
  judged({ credentials }: Login, flow: Flow, response: Message | null): "passed" | readonly string[] {
    const status = response === null ? 0 : response.status;
    const isChallenge = status === 401 || status === 407;
    const isStale = isChallenge && response !== null && this.noteChallenge(response, flow);
    if (credentials.length === 0 || isStale) return NOBODY;
    if (status >= 200 && status < 300) {
      for (const one of credentials) accepted(one);
      return "passed";
    }
    if (status === 403) return credentials.map(({ name }) => name);
    if (isChallenge) return credentials.filter(isAnswer).map(({ name }) => name);
    // The same answer may come again.
    for (const { challenge } of credentials) if (challenge !== null) challenge.open++;
    return NOBODY;
  }

  /** The PBX's challenge goes to a phone. @returns true if it says `stale`: an old nonce says nothing of the password */
  private noteChallenge(response: Message, flow: Flow): boolean {
    const sent = new Set<string>();
    let isStale = false;
    for (const id of [WWW_AUTHENTICATE, PROXY_AUTHENTICATE]) {
      for (const value of response.values(id)) {
        for (const { params } of parseAuthValue(value)) {
          sent.add(params.get("nonce") ?? "");
          isStale ||= params.get("stale")?.toLowerCase() === "true";
        }
      }
    }
    sent.delete("");
    for (const nonce of sent) this.noteSent(nonce, flow);
    return isStale;
  }

  private noteSent(text: string, flow: Flow): void {
    let nonce = this.nonces.get(text);
    if (nonce === undefined) this.nonces.set(detached(text), nonce = { users: [] });
    const key = keyOf(flow, text);
    const known = this.challenges.get(key);
    if (known === undefined) this.challenges.set(key, { nonce, open: 1 });
    else known.open++;
  }

  /** Null: it does not go on. */
  private read(value: AuthValue | undefined, flow: Flow): Credentials | null {
    const user = value?.params.get("username") ?? "";
    const realm = value?.params.get("realm") ?? "";
    const name = realm === "" ? user : `${user}@${realm}`;
    const text = value?.params.get("nonce") ?? "";
    const isUnreadable = value === undefined || value.isMalformed;
    const question: Credentials = { name, user, challenge: null, isUnreadable };
    if (text === "") return question;
    const challenge = this.challenges.get(keyOf(flow, text));
    if (challenge !== undefined && challenge.open > 0) return { name, user, challenge, isUnreadable };
    const nonce = this.nonces.get(text);
    return nonce === undefined || nonce.users.includes(user) ? question : null;
  }
}

/** What comes with the same nonce from the same user is a refresh. */
function accepted({ challenge, user }: Credentials): void {
  const users = challenge?.nonce.users;
  if (users === undefined || users.includes(user)) return;
  users.push(detached(user));
  if (users.length > MAX_USERS) users.shift();
}

function isAnswer({ challenge, isUnreadable }: Credentials): boolean {
  return challenge !== null || isUnreadable;
}

/** Scheme, realm and hash: of each kind the first line counts. */
function kindOf([value]: readonly AuthValue[]): string {
  if (value === undefined || value.isMalformed) return "unreadable";
  const { scheme, params } = value;
  const hash = (params.get("algorithm") ?? "md5").toLowerCase().replace(/-sess$/, "");
  return `${scheme} ${(params.get("realm") ?? "").toLowerCase()} ${hash}`;
}

/** Joined: a sum keeps its pieces. */
function keyOf(flow: Flow, nonce: string): string {
  return [flow.id, nonce].join(" ");
}
