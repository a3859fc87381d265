/** Places for database copies that are streamed out and removed again. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export class Backups {
  /** A path nobody else can guess or read; `dispose` removes it. */
  place(): { path: string; dispose(): void } {
    const folder = mkdtempSync(join(tmpdir(), "latefork-backup-"));
    return { path: join(folder, "latefork.db"), dispose: () => rmSync(folder, { recursive: true, force: true }) };
  }
}
