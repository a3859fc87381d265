/** Owns baresip as a phone: its config without audio hardware, and the commands it takes over TCP. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Program, within } from "./program.ts";

export interface BaresipOptions {
  address: string;
  user: string;
  password: string;
  /** latefork's `host:port`, its outbound proxy. */
  outbound: string;
  transport: "udp" | "tcp" | "tls";
  /** PEM of the CA it believes, over TLS. */
  caFile?: string;
  /** Where it listens at each start; without, on a free port. It has an instance then, too. */
  port?: number;
}

/** Where Debian puts its modules. */
const MODULES = "/usr/lib/baresip/modules";
const COMMAND_PORT = 4444;

const SPEECH_RATE = 8000;

/** So many samples of silence, 16 bit, mono (its sine source speaks only 48 kHz). */
function wav(samples: number): Buffer {
  const bytes = Buffer.alloc(44 + samples * 2);
  bytes.write("RIFF", 0, "latin1");
  bytes.writeUInt32LE(36 + samples * 2, 4);
  bytes.write("WAVEfmt ", 8, "latin1");
  bytes.writeUInt32LE(16, 16);
  bytes.writeUInt16LE(1, 20);
  bytes.writeUInt16LE(1, 22);
  bytes.writeUInt32LE(SPEECH_RATE, 24);
  bytes.writeUInt32LE(SPEECH_RATE * 2, 28);
  bytes.writeUInt16LE(2, 32);
  bytes.writeUInt16LE(16, 34);
  bytes.write("data", 36, "latin1");
  bytes.writeUInt32LE(samples * 2, 40);
  return bytes;
}

export class Baresip {
  program: Program;

  constructor(private readonly folder: string, private readonly options: BaresipOptions) {
    const { address, user, password, outbound, transport, port } = options;
    mkdirSync(folder, { recursive: true });
    const silence = join(folder, "silence.wav");
    writeFileSync(silence, wav(SPEECH_RATE * 10));
    const config = [
      `net_interface ${address}`,
      `audio_source aufile,${silence}`,
      `audio_player aufile,${join(folder, "heard.wav")}`,
      `audio_alert aufile,${join(folder, "alert.wav")}`,
      ...[`ausrc_srate ${SPEECH_RATE}`, `auplay_srate ${SPEECH_RATE}`, "ausrc_channels 1", "auplay_channels 1"],
      ...(options.caFile === undefined ? [] : [`sip_cafile ${options.caFile}`, "sip_verify_server yes"]),
      ...(port === undefined ? [] : [`sip_listen ${address}:${port}`]),
      `module_path ${MODULES}`,
      ...(port === undefined ? [] : ["module_tmp uuid.so"]),
      ...["g711", "aufile"].map((module) => `module ${module}.so`),
      ...["account", "menu", "ctrl_tcp"].map((module) => `module_app ${module}.so`),
      `ctrl_tcp_listen ${address}:${COMMAND_PORT}`,
    ];
    const account = [
      `<sip:${user}@example.com;transport=${transport}>`,
      `auth_user=${user}`,
      `auth_pass=${password}`,
      `outbound="sip:${outbound};transport=${transport}"`,
      "regint=120",
      "answermode=auto",
    ];
    writeFileSync(join(folder, "config"), config.join("\n") + "\n");
    writeFileSync(join(folder, "accounts"), account.join(";") + "\n");
    this.program = this.started();
  }

  /** Starts it anew where it was: the same instance and port, but libre makes itself another Contact. */
  startAgain(): void {
    this.program = this.started();
  }

  private started(): Program {
    return new Program("baresip", "baresip", ["-f", this.folder, "-s", "-v"], { cwd: this.folder });
  }

  /** Resolves once it says that it is registered. */
  async registered(): Promise<void> {
    await this.program.waitFor(/200 OK.*\[1 binding\]|All 1 useragent registered successfully/, 8000);
  }

  /** `dial` with a URI, `hangup`, ... */
  async command(command: string, params = ""): Promise<string> {
    const text = JSON.stringify({ command, params, token: command });
    let answer = "";
    let finish = () => {};
    const finished = new Promise<void>((resolve) => finish = resolve);
    const socket = await Bun.connect({
      hostname: this.options.address,
      port: COMMAND_PORT,
      socket: {
        data: (_, data) => {
          answer += data.toString();
          if (answer.includes('"response":true')) finish();
        },
        close: () => finish(),
      },
    });
    socket.write(`${text.length}:${text},`);
    await within(3000, `baresip's answer to ${command}`, finished).finally(() => socket.end());
    return answer;
  }

  async end(): Promise<void> {
    // It de-registers before it goes, if it is let.
    this.program.signal("SIGKILL");
    await this.program.exited;
  }
}
