/** Owns the HTTP server that stands for the owner's pusher: it records every push and answers as the test says. */
import { within } from "./program.ts";

/** The JSON of a webhook push. */
export interface Push {
  event: string;
  aor: string;
  device: string;
  provider: string;
  param: string;
  prid: string;
  call_id: string;
  uuid: string;
  from_uri: string;
  from_name: string;
  to_uri: string;
  sent_at: string;
  ttl: number;
  reason?: string;
}

/** `accept`: 202. `hang`: no answer, ever. A number: that status. */
export type PushAnswer = "accept" | "hang" | number;

export class PushReceiver {
  readonly pushes: Push[] = [];
  /** Called with each push, before it is answered. */
  onPush: (push: Push) => void = () => {};
  private readonly server: ReturnType<typeof Bun.serve>;
  private readonly waiters = new Set<() => void>();

  constructor(readonly address: string, private readonly answer: PushAnswer = "accept") {
    this.server = Bun.serve({
      hostname: address,
      port: 0,
      idleTimeout: 60,
      fetch: async (request) => {
        const push = await request.json() as Push;
        this.pushes.push(push);
        this.onPush(push);
        for (const waiter of this.waiters) waiter();
        if (this.answer === "hang") await new Promise(() => {});
        return new Response(null, { status: typeof this.answer === "number" ? this.answer : 202 });
      },
    });
  }

  get url(): string {
    return `http://${this.address}:${this.server.port}/wake`;
  }

  /** The first push of this event that fits, arrived or still to come. */
  next(event: string, withinMs = 5000, fits: (push: Push) => boolean = () => true): Promise<Push> {
    let look = () => {};
    const found = new Promise<Push>((resolve) => {
      look = () => {
        const push = this.pushes.find((one) => one.event === event && fits(one));
        if (push !== undefined) resolve(push);
      };
      this.waiters.add(look);
      look();
    });
    const seen = () => this.pushes.map((push) => `${push.event} ${push.prid}`).join(", ") || "none";
    return within(withinMs, `a push "${event}"`, found)
      .catch((error) => Promise.reject(new Error(`${error.message} (pushes: ${seen()})`)))
      .finally(() => this.waiters.delete(look));
  }

  end(): void {
    this.server.stop(true);
  }
}

/** A server that cuts every connection on which something arrives. */
export class ResettingServer {
  connections = 0;
  private readonly server: Bun.TCPSocketListener<undefined>;

  constructor(readonly address: string) {
    this.server = Bun.listen<undefined>({
      hostname: address,
      port: 0,
      socket: {
        open: () => void this.connections++,
        data: (socket) => socket.terminate(),
      },
    });
  }

  get url(): string {
    return `http://${this.address}:${this.server.port}/wake`;
  }

  end(): void {
    this.server.stop(true);
  }
}
