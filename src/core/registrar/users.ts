/**
 * Who may register in registrar mode: the users by name and realm. Must not know where they are kept nor what
 * a password is.
 */
import { type DigestUser, wireText } from "../sip/digest.ts";

/** The hashes a user has. */
export interface HashOffer {
  hasMd5: boolean;
  hasSha256: boolean;
}

/** Read-only: a reload makes a new one. Asked and answering in wire text, one character a byte, as messages are. */
export class UserDirectory {
  private readonly users = new Map<string, DigestUser>();
  /**
   * What most users have, both if there is no user. A challenge to a name that is not here offers this, so that it
   * looks like the challenge to a name that is.
   */
  readonly commonOffer: HashOffer;
  /** Every realm there is a user of, as first spelled: what to challenge with where no domain is configured. */
  readonly realms: readonly string[];

  /** @param users with Unicode names, as the users file has them; of two of the same name and realm the first counts */
  constructor(users: readonly DigestUser[]) {
    let both = 0;
    let md5Alone = 0;
    let sha256Alone = 0;
    const realms = new Map<string, string>();
    for (const written of users) {
      const user = { ...written, user: wireText(written.user), realm: wireText(written.realm) };
      const key = keyOf(user.user, user.realm);
      if (this.users.has(key)) continue;
      this.users.set(key, user);
      if (!realms.has(user.realm.toLowerCase())) realms.set(user.realm.toLowerCase(), user.realm);
      if (user.ha1Md5 === "") sha256Alone++;
      else if (user.ha1Sha256 === "") md5Alone++;
      else both++;
    }
    this.realms = [...realms.values()];
    const isBoth = both >= Math.max(md5Alone, sha256Alone);
    this.commonOffer = {
      hasMd5: isBoth || md5Alone >= sha256Alone,
      hasSha256: isBoth || md5Alone < sha256Alone,
    };
  }

  get size(): number {
    return this.users.size;
  }

  /** @param realm in any case, as it is a domain; the name is compared to the byte */
  find(user: string, realm: string): DigestUser | null {
    return this.users.get(keyOf(user, realm)) ?? null;
  }
}

function keyOf(user: string, realm: string): string {
  // No name in a users file holds a line end, so no name from the network can reach into the realm.
  return `${user}\n${realm.toLowerCase()}`;
}
