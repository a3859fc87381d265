/** What the players of the demo share: waiting for each other with a deadline. Knows no SIP. */

/** What the story waited for did not come. */
export class Missed extends Error {
  override name = "Missed";
}

interface Watcher {
  look(): void;
  fail(error: Error): void;
}

/** A player calls {@link changed} whenever something happened to it; the story waits with {@link until}. */
export class Stage {
  private readonly watchers = new Set<Watcher>();
  private ending: Error | null = null;

  changed(): void {
    for (const watcher of [...this.watchers]) watcher.look();
  }

  /** All who wait, now or later, fail with this. */
  end(error: Error): void {
    this.ending = error;
    for (const watcher of [...this.watchers]) watcher.fail(error);
  }

  /**
   * Waits until `look` gives something other than undefined or false.
   * @param what completes the sentence "waited for ..."
   * @throws Missed after `waitMs`
   */
  until<T>(what: string, waitMs: number, look: () => T | undefined | false): Promise<T> {
    return new Promise((resolve, reject) => {
      const over = () => {
        clearTimeout(timer);
        this.watchers.delete(watcher);
      };
      const watcher: Watcher = {
        look: () => {
          const found = look();
          if (found === undefined || found === false) return;
          over();
          resolve(found as T);
        },
        fail: (error) => {
          over();
          reject(error);
        },
      };
      const timer = setTimeout(() => watcher.fail(new Missed(`waited ${waitMs} ms for ${what}`)), waitMs);
      this.watchers.add(watcher);
      if (this.ending !== null) watcher.fail(this.ending);
      else watcher.look();
    });
  }

  /** Lets time pass. */
  async pause(ms: number): Promise<void> {
    const endMs = performance.now() + ms;
    setTimeout(() => this.changed(), ms);
    await this.until("time to pass", ms + 10_000, () => performance.now() >= endMs - 1);
  }
}
