/** `latefork demo` (O-01): starts the players, plays the story, says what to try next, cleans up. Knows no SIP. */
import { assemble, type Cast, dismiss } from "./cast.ts";
import { Missed, Stage } from "./stage.ts";
import { Chapters } from "./chapters.ts";
import { afterwards, opening, staying } from "./before_and_after.ts";

/** Where the demo's text goes. */
export interface DemoIo {
  stdout(text: string): void;
  stderr(text: string): void;
}

/** Ctrl-C was pressed. */
class Interrupted extends Error {}

/**
 * Plays the whole story on loopback. With `stay` latefork, PBX and phones stay up until SIGINT or SIGTERM.
 * @returns the exit code: 0 if everything was as it should be, 1 if not or if it was interrupted
 */
export async function runDemo(options: { stay: boolean }, io: DemoIo): Promise<number> {
  const stage = new Stage();
  const interrupt = () => stage.end(new Interrupted("interrupted"));
  process.on("SIGINT", interrupt).on("SIGTERM", interrupt);
  let cast: Cast | null = null;
  let chapters: Chapters | null = null;
  let isOver = false;
  try {
    cast = await assemble(stage, (user) => {
      if (!isOver) return "the story is still being told";
      (chapters as Chapters).encore(user).then(
        (call) => io.stdout(`call ${call} is over\n`),
        (error) => io.stdout(`call to ${user}: ${error.message}\n`),
      );
      return `the PBX calls ${user}`;
    });
    const startedMs = performance.now();
    await cast.box.start();
    io.stdout(opening(cast));
    chapters = new Chapters(cast, (text) => io.stdout(text));
    await chapters.oneAwakeOneAsleep();
    cast.wakeAfterMs = 300;
    await chapters.everybodyAsleep();
    await chapters.callerGivesUp();
    await chapters.nobodyWakes();
    await chapters.twoCallers();
    await chapters.killed();
    const took = ((performance.now() - startedMs) / 1000).toFixed(1);
    io.stdout(`\n${chapters.claims} checks held, ${took} s.\n`);
    if (!options.stay) {
      io.stdout(afterwards());
      return 0;
    }
    isOver = true;
    cast.wakeAfterMs = 1000;
    io.stdout(staying(cast));
    await stage.until("Ctrl-C", 2 ** 31 - 1, () => undefined);
    return 0;
  } catch (error) {
    if (error instanceof Interrupted && isOver) return 0;
    if (error instanceof Interrupted) {
      io.stderr("\ninterrupted\n");
      return 1;
    }
    io.stderr(`\n  ✗ ${error instanceof Missed ? error.message : (error as Error).stack}\n`);
    io.stderr(`\n${await chapters?.evidence() ?? ""}`);
    for (const line of cast?.box.logged ?? []) io.stderr(`    latefork: ${line}\n`);
    return 1;
  } finally {
    process.off("SIGINT", interrupt).off("SIGTERM", interrupt);
    if (cast !== null) await dismiss(cast);
  }
}
