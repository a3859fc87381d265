/** Starts and ends the local push service that pushes are measured with, a process of its own. */
import type { Came, Provider } from "./push_provider.ts";

export interface PushService {
  readonly provider: Provider;
  /** Ends it: what came to it, each with its time. @throws Error if it was sent what no sender must send */
  end(): Promise<Came>;
}

/** @param name section of the config: `apns`, `fcm`, `webpush`, `webhook` */
export async function startPushService(name: string): Promise<PushService> {
  const child = Bun.spawn([process.execPath, `${import.meta.dir}/push_provider.ts`, name], {
    stdin: "pipe",
    stderr: "inherit",
  });
  const lines = linesOf(child.stdout);
  const next = async <T>(): Promise<T> => {
    const { done, value } = await lines.next();
    if (done) throw new Error("The service ended");
    return JSON.parse(value) as T;
  };
  return {
    provider: await next<Provider>(),
    async end() {
      await child.stdin.end();
      const came = await next<Came>();
      await child.exited;
      const { faults, connections } = came;
      if (faults.length > 0 || connections !== 1) throw new Error(`The service complains: ${connections} ${faults}`);
      return came;
    },
  };
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string, void> {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop()!;
    yield* lines;
  }
}
