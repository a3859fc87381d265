/** `/v1/backup`: a consistent copy of the database, streamed from a temporary file that is removed again (S-04). */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ApiError } from "./api_error.ts";
import type { ControlHost } from "./host.ts";
import { type Route, route } from "./route.ts";

const TYPE = "application/vnd.sqlite3";

export const BACKUP: readonly Route[] = [
  route({
    id: "backup",
    method: "POST",
    path: "/v1/backup",
    summary: "a consistent copy of the database",
    example: "/v1/backup -o latefork.db",
    produces: TYPE,
    answer(c, host) {
      c.env.keepOpen();
      const { path, dispose } = copy(host);
      return new Response(fileStream(path, dispose), {
        headers: {
          "content-type": TYPE,
          "content-length": String(Bun.file(path).size),
          "content-disposition": 'attachment; filename="latefork.db"',
        },
      });
    },
  }),
];

/** The copy, at a path nobody else can guess or read; `dispose` removes it. */
function copy({ world, core }: ControlHost): { path: string; dispose(): void } {
  const folder = mkdtempSync(join(tmpdir(), "latefork-backup-"));
  const path = join(folder, "latefork.db");
  const dispose = () => rmSync(folder, { recursive: true, force: true });
  const problem = world.backup(path, core.usrloc.all());
  if (problem === "") return { path, dispose };
  dispose();
  const hint = "The copy is made in the folder for temporary files: TMPDIR names another";
  throw new ApiError(500, "backup_failed", problem, hint);
}

/** The file, and `ended` once, whether it was read to its end or not. */
function fileStream(path: string, ended: () => void): ReadableStream<Uint8Array> {
  const reader = Bun.file(path).stream().getReader();
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const { done, value } = await reader.read();
        if (!done) return controller.enqueue(value);
        controller.close();
      } catch (error) {
        controller.error(error);
      }
      ended();
    },
    async cancel() {
      await reader.cancel();
      ended();
    },
  });
}
