/** Few models, apps and domains, many phones: one string for all that are equal. Knows nothing of what they say. */

/** So many different texts are remembered; then it starts anew. */
const MAX_TEXTS = 1000;

export class SharedTexts {
  private readonly texts = new Map<string, string>();

  constructor(private readonly max = MAX_TEXTS) {}

  /** The text as it was given first. */
  of(text: string): string {
    const known = this.texts.get(text);
    if (known !== undefined) return known;
    if (this.texts.size >= this.max) this.texts.clear();
    this.texts.set(text, text);
    return text;
  }
}
