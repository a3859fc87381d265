/** Owns the reading of an answer's body, however long or slow it is. It must not know what stands in it. */

/** So much of what a stranger's server says is shown. */
const MAX_WORDS = 200;

/** The start of a body. */
export class BodyStart {
  private readonly chunks: Uint8Array[] = [];

  constructor(private readonly maxBytes: number) {}

  /** Settles at the end of the body, of its allowance, or of the request (its signal fails the read). Never rejects. */
  async from(response: Response): Promise<void> {
    if (response.body === null) return;
    const reader = response.body.getReader();
    try {
      for (let left = this.maxBytes; left > 0;) {
        const { done, value } = await reader.read();
        if (done) return;
        this.chunks.push(value.slice(0, left));
        left -= value.length;
      }
      await reader.cancel();
    } catch {
      // Cut off: what came is all there is.
    }
  }

  text(): string {
    return Buffer.concat(this.chunks).toString("utf8");
  }
}

/** A server's words on one line, bounded, for people. @param secrets what it may have echoed, and must not be shown. */
export function shownWords(text: string, secrets: readonly string[]): string {
  let words = text;
  for (const secret of secrets) if (secret !== "") words = words.replaceAll(secret, "***");
  // deno-lint-ignore no-control-regex
  words = words.replace(/[\x00-\x20\x7f-\x9f]+/g, " ").trim();
  return words.length > MAX_WORDS ? `${words.slice(0, MAX_WORDS).toWellFormed()}…` : words;
}
