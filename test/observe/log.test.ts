import { expect, test } from "bun:test";
import { Log, type LogConfig, parseOverride } from "../../src/observe/log.ts";
import { maskPrivate, maskSecrets } from "../../src/observe/privacy.ts";

/** A stream in memory and a clock that stands still until told. */
class Stream {
  text = "";
  nowMs = Date.UTC(2026, 0, 2, 3, 4, 5, 678);
  /** What somebody set the clock of the machine ahead by; negative: back. */
  clockJumpMs = 0;
  isTty = false;
  scheduled: { flush: () => void; delayMs: number }[] = [];
  failure: string | null = null;
  takes = Infinity;
  private decoder = new TextDecoder();

  write(bytes: Uint8Array): number {
    if (this.failure !== null) throw Object.assign(new Error(this.failure), { code: this.failure });
    const taken = bytes.subarray(0, this.takes);
    this.text += this.decoder.decode(taken, { stream: true });
    return taken.length;
  }
  later(flush: () => void, delayMs: number): void {
    this.scheduled.push({ flush, delayMs });
  }
  get lines(): string[] {
    return this.text.split("\n").filter((line) => line !== "");
  }
}

function open(config: Partial<LogConfig> = {}): { log: Log; stream: Stream } {
  const stream = new Stream();
  const output = {
    get isTty() {
      return stream.isTty;
    },
    write: (bytes: Uint8Array) => stream.write(bytes),
    nowMs: () => stream.nowMs + stream.clockJumpMs,
    steadyMs: () => stream.nowMs,
    later: (flush: () => void, delayMs: number) => stream.later(flush, delayMs),
  };
  return { log: new Log({ level: "info", format: "auto", privacy: "full", overrides: [], ...config }, output), stream };
}

test("O-05 a line is text for a terminal and JSON otherwise, unless the config says", () => {
  const cases = [
    { format: "auto", isTty: true, line: '2026-01-02T03:04:05.678Z INFO  Listening port=5060 text="a b" open=true' },
    { format: "text", isTty: false, line: '2026-01-02T03:04:05.678Z INFO  Listening port=5060 text="a b" open=true' },
    {
      format: "auto",
      isTty: false,
      line:
        '{"at":"2026-01-02T03:04:05.678Z","level":"info","message":"Listening","port":5060,"text":"a b","open":true}',
    },
    {
      format: "json",
      isTty: true,
      line:
        '{"at":"2026-01-02T03:04:05.678Z","level":"info","message":"Listening","port":5060,"text":"a b","open":true}',
    },
  ] as const;
  for (const { format, isTty, line } of cases) {
    const { log, stream } = open({ format });
    stream.isTty = isTty;
    log.log("info", "Listening", { port: 5060, text: "a b", open: true, absent: undefined });
    log.flush();
    expect(stream.lines).toEqual([line]);
  }
});

test("O-05 an override raises the level for one AoR and no other", () => {
  const { log, stream } = open({ overrides: [parseOverride("aor=alice@example.org -> debug")] });
  expect(log.isLogged("debug")).toBe(false);
  expect(log.isLogged("debug", "bob@example.org")).toBe(false);
  expect(log.isLogged("debug", "alice@example.org")).toBe(true);
  log.log("debug", "one", { aor: "alice@example.org" });
  log.log("debug", "two", { aor: "bob@example.org" });
  log.log("debug", "three");
  log.flush();
  expect(stream.lines.length).toBe(1);
});

test("O-05 an override can also silence", () => {
  const { log } = open({ overrides: [parseOverride("aor=noisy@example.org -> error")] });
  expect(log.isLogged("warn", "noisy@example.org")).toBe(false);
  expect(log.isLogged("warn", "alice@example.org")).toBe(true);
});

test("O-05 overrides for calls, devices and flows", () => {
  const { log, stream } = open({ overrides: [parseOverride("call=abc -> debug")] });
  expect(log.isLogged("debug", "alice@example.org")).toBe(true);
  log.log("debug", "one", { call: "abc" });
  log.log("debug", "two", { call: "abd" });
  log.flush();
  expect(stream.lines.length).toBe(1);
});

test("O-05 a change at run time ends by itself, and with the next config", () => {
  const { log, stream } = open();
  log.change({ level: "debug", overrides: [parseOverride("aor=alice@example.org -> error")], forMs: 60_000 });
  expect(log.isLogged("debug")).toBe(true);
  expect(log.state()).toEqual({
    level: "debug",
    overrides: ["aor=alice@example.org -> error"],
    expiresInMs: 60_000,
  });
  stream.nowMs += 59_999;
  expect(log.isLogged("debug")).toBe(true);
  stream.nowMs += 1;
  expect(log.isLogged("debug")).toBe(false);
  expect(log.isLogged("info", "alice@example.org")).toBe(true);
  expect(log.state()).toEqual({ level: "info", overrides: [], expiresInMs: null });

  log.change({ level: "debug", forMs: 0 });
  stream.nowMs += 1e9;
  expect(log.isLogged("debug")).toBe(true);
  log.configure({ level: "warn", format: "json", privacy: "full", overrides: [] });
  expect(log.isLogged("info")).toBe(false);
});

test("O-05 a change takes the place of the one before: no part of that outlives its time", () => {
  const { log, stream } = open();
  log.change({ level: "debug", forMs: 1000 });
  log.change({ overrides: [parseOverride("aor=alice@example.org -> debug")], forMs: 60_000 });
  expect(log.state()).toEqual({
    level: "info",
    overrides: ["aor=alice@example.org -> debug"],
    expiresInMs: 60_000,
  });
  stream.nowMs += 60_000;
  log.change({ forMs: 0 });
  expect(log.state()).toEqual({ level: "info", overrides: [], expiresInMs: null });
});

test("O-05 an override that cannot be read says what was expected", () => {
  for (const text of ["", "alice -> debug", "aor=alice@example.org -> loud", "user=1 -> debug"]) {
    expect(() => parseOverride(text)).toThrow(`Cannot parse log override "${text}": expected`);
  }
});

test("O-05 a flood of one message is bounded and counted, others go on", () => {
  const { log, stream } = open();
  for (let i = 0; i < 1000; i++) log.log("warn", "Malformed message", { flow: "f" + i });
  log.log("warn", "Something else");
  log.flush();
  expect(stream.lines.length).toBe(51);
  stream.nowMs += 1000;
  stream.scheduled.at(-1)!.flush();
  log.flush();
  expect(stream.lines.at(-1)).toContain("Malformed message: 950 more suppressed");
  log.log("warn", "Malformed message");
  log.flush();
  expect(stream.lines.length).toBe(53);
});

test("O-05 a flood whose text is never the same is bounded, too", () => {
  const { log, stream } = open();
  for (let i = 0; i < 10_000; i++) log.log("warn", "Malformed " + i);
  log.flush();
  expect(stream.lines.length).toBe(256 + 50);
});

test("O-05 lines wait for one write", () => {
  const { log, stream } = open();
  log.log("info", "one");
  log.log("info", "two");
  expect(stream.text).toBe("");
  expect(stream.scheduled.length).toBe(1);
  stream.scheduled[0]!.flush();
  expect(stream.lines.length).toBe(2);
});

test("O-05 a closed stderr is survived", () => {
  const { log, stream } = open();
  stream.failure = "EPIPE";
  log.log("info", "one");
  log.flush();
  stream.failure = null;
  log.log("info", "two");
  log.flush();
  expect(stream.lines.length).toBe(1);
});

test("O-05 a full pipe loses nothing until the buffer is full, then counts what it lost", () => {
  const { log, stream } = open();
  stream.takes = 10;
  log.log("info", "é one");
  log.flush();
  stream.failure = "EAGAIN";
  log.flush();
  stream.failure = null;
  stream.takes = Infinity;
  log.log("info", "two");
  log.flush();
  expect(stream.lines.map((line) => JSON.parse(line).message)).toEqual(["é one", "two"]);

  stream.text = "";
  stream.failure = "EAGAIN";
  for (let i = 0; i < 500; i++) {
    stream.nowMs += 1000;
    log.log("info", "long", { text: "x y ".repeat(400) });
    log.flush();
  }
  stream.failure = null;
  log.flush();
  log.flush();
  expect(stream.text.length).toBeLessThan(300_000);
  expect(stream.text).toMatch(/Log lines dropped.*"lines":\d+/);
});

test("O-05 a line of the log stays one line", () => {
  for (const format of ["text", "json"] as const) {
    const { log, stream } = open({ format });
    log.log("info", "Refused\nfake", { text: "a\r\n2026 INFO fake\u2028\u001b[2J" });
    log.flush();
    expect(stream.text.split("\n").length).toBe(2);
    expect(stream.text).not.toContain("\u001b");
  }
});

test("X-04 a line of the log holds no control character, in no format", () => {
  const harmful = "a\u007f\u009b31m\u0085\u202ez";
  for (const format of ["text", "json"] as const) {
    const { log, stream } = open({ format });
    log.log("info", harmful, { text: harmful });
    log.flush();
    expect([format, stream.text]).not.toEqual([format, expect.stringMatching(/[\u007f-\u009f\u202e]/)]);
    if (format === "json") expect(JSON.parse(stream.text).message).toBe(harmful);
  }
});

test("X-04 secrets are in no log line, whatever privacy says", () => {
  const { log, stream } = open();
  log.log("info", "Sent Authorization: Bearer eyJhbGciOi.abc.def", {
    token: "s3cret",
    prid: "s3cret",
    header: 'Proxy-Authorization: Digest username="a", response="0123456789abcdef"',
    uri: "sip:a@h;pn-prid=ABCDEFGHIJKLMNOPQRSTUVWXYZ;pn-provider=apns",
  });
  log.flush();
  expect(stream.text).not.toMatch(/s3cret|eyJ|0123456789abcdef|EFGHIJ/);
  expect(stream.text).toContain("pn-prid=ABCD…WXYZ;pn-provider=apns");
});

test("X-04 privacy masks numbers, names and tokens", () => {
  const cases: [string, string][] = [
    ["sip:alice@example.org", "sip:a***@example.org"],
    ["+15551234567@example.org", "***67@example.org"],
    ['"Bob Smith" <sip:bob@[::1]:5060>', '"***" <sip:b***@[::1]:5060>'],
    ["From: Bob Smith <sip:bob@h>;tag=1", "From: *** <sip:b***@h>;tag=1"],
    ["tel:+15551234567", "tel:***67"],
    ["Call to 0301234567 failed", "Call to ***67 failed"],
    ["udp|127.0.0.1:5060|192.0.2.7:40123", "udp|127.0.0.1:5060|192.0.2.7:40123"],
    ["a".repeat(40), "aaaa…aaaa"],
  ];
  for (const [text, masked] of cases) expect(maskPrivate(text)).toBe(masked);
  const { log, stream } = open({ privacy: "mask" });
  log.log("info", "Registered", { aor: "alice@example.org" });
  log.flush();
  expect(stream.text).toContain('"aor":"a***@example.org"');
});

test("X-04 masking a hostile text costs no more than reading it", () => {
  for (const piece of ["a", "a ", '"', "<", "@", "1", "bearer ", "Authorization:", "sip:", "pn-prid="]) {
    const text = piece.repeat(60_000 / piece.length);
    expect(typeof maskPrivate(text)).toBe("string");
    expect(typeof maskSecrets(text)).toBe("string");
  }
});

test("O-05 a clock that is set back or ahead silences nothing, and moves the end of no change", () => {
  for (const clockJumpMs of [-86_400_000, 86_400_000]) {
    const { log, stream } = open({ format: "text" });
    for (let i = 0; i < 60; i++) log.log("warn", "Again");
    log.change({ level: "debug", forMs: 60_000 });
    stream.clockJumpMs = clockJumpMs;
    expect([clockJumpMs, log.state().level, log.state().expiresInMs]).toEqual([clockJumpMs, "debug", 60_000]);
    stream.nowMs += 2000;
    log.log("warn", "Again");
    log.flush();
    expect([clockJumpMs, stream.lines.filter((line) => line.endsWith("Again")).length]).toEqual([clockJumpMs, 51]);
    expect(stream.lines.at(-1)).toStartWith(new Date(stream.nowMs + clockJumpMs).toISOString());
    stream.nowMs += 58_000;
    expect([clockJumpMs, log.state().level]).toEqual([clockJumpMs, "info"]);
  }
});
