/**
 * Answers of `security.trust` by address, remembered: reading an address anew with every REGISTER costs as much as parsing
 * its Via.
 */

/** Addresses that are remembered; the next one begins anew. */
const MAX_REMEMBERED = 4096;

export class TrustedSources {
  private readonly known = new Map<string, boolean>();

  constructor(private judge: (address: string) => boolean) {}

  has(address: string): boolean {
    const known = this.known.get(address);
    if (known !== undefined) return known;
    const isTrusted = this.judge(address);
    if (this.known.size >= MAX_REMEMBERED) this.known.clear();
    this.known.set(address, isTrusted);
    return isTrusted;
  }

  /** The config was read again. */
  replace(judge: (address: string) => boolean): void {
    this.judge = judge;
    this.known.clear();
  }
}
