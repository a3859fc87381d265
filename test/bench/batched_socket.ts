/**
 * A UDP socket of the load: everything said in one turn of the loop leaves in one system call, so that the load stays
 * cheaper than what it loads. Knows nothing of SIP.
 */
import type { udp } from "bun";
import { writeLatin1 } from "../../src/io/transport/latin1.ts";
import { openNative } from "../../src/io/transport/native.ts";

const PACKETS_PER_CALL = 128;
const BUFFER_BYTES = 4 * 1024 * 1024;
const scratch = Buffer.allocUnsafeSlow(512 * 1024);

const NO_ROOM = Buffer.alloc(0);

export class BatchedSocket {
  private wires: string[] = [];
  /** Ends of the datagrams in `room` that wait to be sent. */
  private ends: number[] = [];
  private room = NO_ROOM;
  private isFlushSet = false;

  private constructor(
    private readonly socket: udp.Socket<"buffer">,
    private readonly serverPort: number,
    readonly port: number,
  ) {}

  /** @param port 0 takes a free one */
  static async open(
    port: number,
    serverPort: number,
    receive: (bytes: Buffer) => void,
    hostname = "127.0.0.1",
  ): Promise<BatchedSocket> {
    const socket = await Bun.udpSocket({
      hostname,
      port,
      binaryType: "buffer",
      socket: { data: (_socket, bytes) => receive(bytes) },
    });
    const native = openNative();
    const { fd } = socket as unknown as { fd: number };
    native?.ignoreIcmpErrors(fd, false);
    native?.setSendBuffer(fd, BUFFER_BYTES);
    native?.raiseReceiveBuffer(fd, BUFFER_BYTES);
    return new BatchedSocket(socket, serverPort, socket.port);
  }

  send(wire: string): void {
    this.wires.push(wire);
    this.setFlush();
  }

  /** As `send`, of something written in place. @param write gives its length, at most 1 KiB */
  sendWritten(write: (target: Buffer, at: number) => number): void {
    if (this.room === NO_ROOM) this.room = Buffer.allocUnsafeSlow(PACKETS_PER_CALL * 1024);
    const at = this.ends.at(-1) ?? 0;
    this.ends.push(at + write(this.room, at));
    if (this.ends.length === PACKETS_PER_CALL) this.flushWritten();
    else this.setFlush();
  }

  private setFlush(): void {
    if (this.isFlushSet) return;
    this.isFlushSet = true;
    setImmediate(() => this.flush());
  }

  private flushWritten(): void {
    const packets: (Buffer | number | string)[] = [];
    let start = 0;
    for (const end of this.ends) {
      packets.push(this.room.subarray(start, end), this.serverPort, "127.0.0.1");
      start = end;
    }
    this.ends.length = 0;
    for (let head = 0, refusals = 0; head < packets.length && refusals < 1000; refusals++) {
      head += 3 * this.socket.sendMany(head === 0 ? packets : packets.slice(head));
    }
  }

  /** Past the batch, for what is timed from the moment it leaves. */
  sendNow(wire: string): void {
    const length = writeLatin1(scratch, wire);
    this.socket.send(scratch.subarray(0, length), this.serverPort, "127.0.0.1");
  }

  close(): void {
    this.socket.close();
  }

  private flush(): void {
    this.isFlushSet = false;
    if (this.ends.length > 0) this.flushWritten();
    const wires = this.wires;
    this.wires = [];
    let head = 0;
    for (let refusals = 0; head < wires.length && refusals < 1000;) {
      const packets: (Buffer | number | string)[] = [];
      let used = 0;
      for (let at = head; at < wires.length && at - head < PACKETS_PER_CALL; at++) {
        const end = used + writeLatin1(scratch, wires[at]!, used);
        packets.push(scratch.subarray(used, end), this.serverPort, "127.0.0.1");
        used = end;
      }
      const sent = this.socket.sendMany(packets);
      head += sent;
      if (sent === 0) refusals++;
    }
  }
}
