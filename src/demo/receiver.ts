/** The owner's pusher, as latefork sees it: an HTTP server that takes wake-ups. Knows no SIP. */
import type { Stage } from "./stage.ts";

/** The fields of the webhook body that the story looks at. */
export interface PushBody {
  event: string;
  aor: string;
  prid: string;
  call_id: string;
  from_name: string;
  reason?: string;
}

export interface ReceivedPush {
  readonly body: PushBody;
  readonly atMs: number;
}

export interface ReceiverOptions {
  stage: Stage;
  /** Expected as `Authorization: Bearer`. */
  token: string;
  onPush(push: ReceivedPush): void;
  /** `POST /call/USER` asks for one more call. @returns the text of the answer. */
  onCallWanted(user: string): string;
}

export class Receiver {
  readonly pushes: ReceivedPush[] = [];
  private readonly server: ReturnType<typeof Bun.serve>;

  constructor(private readonly options: ReceiverOptions) {
    this.server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: (request) => this.answer(request) });
  }

  /** `http://127.0.0.1:40123` */
  get url(): string {
    return `http://127.0.0.1:${this.server.port}`;
  }

  stop(): void {
    this.server.stop(true);
  }

  private async answer(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (request.method !== "POST") return new Response("POST only\n", { status: 405 });
    if (pathname.startsWith("/call/")) return new Response(this.options.onCallWanted(pathname.slice(6)) + "\n");
    if (pathname !== "/wake") return new Response("no such path\n", { status: 400 });
    if (request.headers.get("authorization") !== `Bearer ${this.options.token}`) {
      return new Response("wrong token\n", { status: 401 });
    }
    const push = { body: await request.json() as PushBody, atMs: performance.now() };
    this.pushes.push(push);
    this.options.onPush(push);
    this.options.stage.changed();
    return new Response(null, { status: 202 });
  }
}
