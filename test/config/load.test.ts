/** O-02: a config file is loaded whole, or every problem is told at once, each at its place. */
import { expect, test } from "bun:test";
import { defaultConfig } from "../../src/config/defaults.ts";
import { loadConfig } from "../../src/config/load.ts";
import { renderProblems } from "../../src/config/problem.ts";

/** `line:column path: message (hint)` of each problem. */
function told(text: string): string[] {
  return loadConfig(text).problems.map(({ line, column, path, message, hint }) =>
    `${line}:${column} ${path}: ${message}${hint === "" ? "" : ` (${hint})`}`
  );
}

const QUIET = "security: { trust: [10.0.0.0/8] }\n";

test("O-02 an empty file is the default config, with the warning that nothing can register (R-16)", () => {
  const loaded = loadConfig("");
  expect(loaded.config).toEqual(defaultConfig());
  expect(loaded.problems).toEqual([{
    severity: "warning",
    line: 1,
    column: 1,
    length: 0,
    path: "",
    message: "nothing can register: there is neither pbx nor users_file nor security.trust",
    hint: "set one of them",
  }]);
});

test("O-02 the problem of the manual is shown as the manual shows it", () => {
  const text = `listen:
  - udp://0.0.0.0:5060
  - tcp://0.0.0.0:5060

  - tpc://0.0.0.0:5060
${QUIET}`;
  expect(renderProblems("latefork.yaml", text, loadConfig(text).problems)).toBe(
    `latefork.yaml:5:5: listen[2]: unknown scheme "tpc" (did you mean "tcp"?)
    5 |   - tpc://0.0.0.0:5060
      |     ^^^
latefork.yaml: 1 error
`,
  );
});

test("O-02 a file with ten mistakes gives ten problems, each with line and column", () => {
  const text = `domain: sip:pbx.example.org
lisen: [udp://0.0.0.0:5060]
listen:
  - udp://0.0.0.0:50600000
pbx:
  uri: sip:192.168.1.10;transport=upd
  mode: contacts
registration: { min_expires: 60, max_contacts: 8 }
wake:
  window: "30 seconds"
  ring_timout: 120s
  window: 20s
limits: { requests_per_source: 50 }
security: { deny: [10.0.0.0/33] }
`;
  const { config, problems } = loadConfig(text);
  expect(config).toBeNull();
  expect(renderProblems("latefork.yaml", text, problems)).toBe(
    `latefork.yaml:1:9: domain: "sip:pbx.example.org" is a URI (write only the domain)
    1 | domain: sip:pbx.example.org
      |         ^^^^^^^^^^^^^^^^^^^
latefork.yaml:2:1: lisen: unknown key (did you mean "listen"?)
    2 | lisen: [udp://0.0.0.0:5060]
      | ^^^^^
latefork.yaml:4:19: listen[0]: port "50600000" is not a number from 0 to 65535
    4 |   - udp://0.0.0.0:50600000
      |                   ^^^^^^^^
latefork.yaml:6:35: pbx.uri: unknown transport "upd" (did you mean "udp"?)
    6 |   uri: sip:192.168.1.10;transport=upd
      |                                   ^^^
latefork.yaml:7:9: pbx.mode: unknown value "contacts" (did you mean "contact"?)
    7 |   mode: contacts
      |         ^^^^^^^^
latefork.yaml:8:30: registration.min_expires: duration "60" has no unit (did you mean "60s"?)
    8 | registration: { min_expires: 60, max_contacts: 8 }
      |                              ^^
latefork.yaml:10:11: wake.window: "30 seconds" is not a duration (write a number and ms, s, m, h or d, such as 30s)
   10 |   window: "30 seconds"
      |           ^^^^^^^^^^^^
latefork.yaml:11:3: wake.ring_timout: unknown key (did you mean "ring_timeout"?)
   11 |   ring_timout: 120s
      |   ^^^^^^^^^^^
latefork.yaml:12:3: wake.window: given twice, first on line 10 (remove one of them)
   12 |   window: 20s
      |   ^^^^^^
latefork.yaml:13:32: limits.requests_per_source: "50" is not a rate (write a number per s, m or h, such as 50/s)
   13 | limits: { requests_per_source: 50 }
      |                                ^^
latefork.yaml:14:20: security.deny[0]: "10.0.0.0/33" is not an IP address or network (write an address, or address/prefix such as 192.168.1.0/24)
   14 | security: { deny: [10.0.0.0/33] }
      |                    ^^^^^^^^^^^
latefork.yaml: 11 errors
`,
  );
});

const ONE_PROBLEM: [name: string, text: string, problem: string][] = [
  ["a tab", `wake:\n\twindow: 1s\n`, "2:1 : tabs are not allowed as indentation (use spaces)"],
  [
    "an unclosed quote, where it opens",
    `users_file: "/etc/u\nadvertise: x\n`,
    '1:13 : missing closing "quote (a quote, bracket or colon is missing)',
  ],
  [
    "an unclosed bracket",
    `domain: [a, b\nadvertise: c\n`,
    "2:1 : flow sequence in block collection must be sufficiently indented and end with a ] (check the indentation, and that brackets are closed)",
  ],
  [
    "two documents",
    `domain: a\n---\ndomain: b\n`,
    "2:1 : source contains multiple documents; please use YAML.parseAllDocuments() (one file holds one document: remove the ---)",
  ],
  ["an anchor", `${QUIET}domain: &d a\n`, "2:12 : anchors are not supported (remove the &name)"],
  ["an alias", `${QUIET}domain: *d\n`, "2:9 : aliases are not supported (write the value again)"],
  [
    "a tag",
    `${QUIET}limits: { calls: !!int 3 }\n`,
    "2:24 : tags are not supported (every value is read as the text that is written)",
  ],
  ["a key that is no word", `${QUIET}? [a]\n: 1\n`, "2:3 : a key must be a word"],
  ["a list for a file", `- a\n`, "1:1 : the file must be a mapping of keys"],
  ["a text for a section", `${QUIET}wake: yes\n`, '2:7 wake: expected a mapping of keys, found "yes"'],
  [
    "a text for a list",
    `${QUIET}control: { listen: "http://127.0.0.1:1" }\n`,
    '2:20 control.listen: expected a list, found "http://127.0.0.1:1" (write it as a list: [http://127.0.0.1:1])',
  ],
  ["a list for a text", `${QUIET}wake: { window: [1s] }\n`, "2:17 wake.window: expected a duration, found a list"],
  [
    "a key in the wrong section",
    `${QUIET}hedge: 1s\n`,
    '2:1 hedge: unknown key (did you mean "wake.hedge"?)',
  ],
  ["no value", `${QUIET}log:\n  level:\n`, "3:3 log.level: has no value (remove the key for the default, info)"],
  ["null", `${QUIET}users_file: null\n`, "2:13 users_file: there is no null here (remove the key for its default)"],
  ["an unknown unit", `${QUIET}wake: { hedge: 2sec }\n`, '2:17 wake.hedge: unknown unit "sec" (use ms, s, m, h or d)'],
  ["too little", `${QUIET}push:\n  refresh_before: 120s\n`, "3:19 push.refresh_before: must be at least 121s"],
  [
    "a section without its required key",
    "pbx: { qualify: 30s }\n",
    "1:1 pbx.uri: is missing (for instance uri: sip:192.168.1.10:5060;transport=udp)",
  ],
  ["an empty pbx section", "pbx:\n", "1:1 pbx.uri: is missing (for instance uri: sip:192.168.1.10:5060;transport=udp)"],
  ["an empty required list", "pbx: { uri: [] }\n", "1:13 pbx.uri: must not be empty"],
  ["no listener", `${QUIET}listen: []\n`, "2:9 listen: must not be empty"],
  ["a webhook without url", `${QUIET}push: { webhook: { acme: {} } }\n`, "2:20 push.webhook.acme.url: is missing"],
  [
    "a webhook that is not http",
    `${QUIET}push: { webhook: { acme: { url: "htp://x" } } }\n`,
    '2:34 push.webhook.acme.url: unknown scheme "htp" (did you mean "http"?)',
  ],
  [
    "a password in a URL",
    `${QUIET}push: { webhook: { acme: { url: "https://u:p@x/" } } }\n`,
    "2:42 push.webhook.acme.url: the URL holds a password (put the secret into a file and name it in token_file)",
  ],
  [
    "a webhook twice",
    `${QUIET}push: { webhook: { A: { url: "http://a" }, a: { url: "http://b" } } }\n`,
    "2:44 push.webhook.a: given twice",
  ],
  [
    "a table whose name is no name",
    `${QUIET}htables: { __proto__: { max: 3 } }\n`,
    "2:12 htables.__proto__: is not a name (use letters, digits, -, _ and .)",
  ],
  [
    "a listener without url",
    `${QUIET}listen: [{ advertise: a.example }]\n`,
    "2:10 listen[0].url: is missing (for instance udp://0.0.0.0:5060)",
  ],
  [
    "an unknown key of a listener",
    `${QUIET}listen: [{ url: "udp://0.0.0.0", advertize: a.example }]\n`,
    '2:34 listen[0].advertize: unknown key (did you mean "advertise"?)',
  ],
  [
    "a listener on a name",
    `${QUIET}listen: [udp://sip.example.org]\n`,
    '2:16 listen[0]: "sip.example.org" is not an IP address (listen on an address; put the name into advertise)',
  ],
  [
    "an environment variable",
    `${QUIET}users_file: "\${HOME}/users"\n`,
    '2:13 users_file: "${HOME}/users" is not expanded (write the value itself, or name a file)',
  ],
  [
    "an octal-looking address",
    `${QUIET}listen: [udp://010.0.0.1]\n`,
    '2:16 listen[0]: "010.0.0.1" is not a host name or address',
  ],
  [
    "a PBX without scheme",
    "pbx: { uri: 192.168.1.10:5060 }\n",
    '1:13 pbx.uri: "192.168.1.10:5060" is not a SIP URI (did you mean "sip:192.168.1.10:5060"?)',
  ],
];

test.each(ONE_PROBLEM)("O-02 %s is one problem at its place", (_name, text, problem) => {
  expect(told(text)).toEqual([problem]);
});

test("O-02 problems above a syntax error are told with it, what it tears apart is not", () => {
  expect(told(`domian: x\nwake:\n\twindow: soon\nlimits: { calls: x }\n`)).toEqual([
    '1:1 domian: unknown key (did you mean "domain"?)',
    "3:1 : tabs are not allowed as indentation (use spaces)",
  ]);
});

test("O-02 values keep every character that was written", () => {
  const { config } = loadConfig(`
domain: [0123.example, "1e3"]
users_file: 0123456789
devices: [{ user_agent: x, push: { provider: +15551234, token_from: "contact:t" } }]
`);
  expect(config?.domain).toEqual(["0123.example", "1e3"]);
  expect(config?.users_file).toBe("0123456789");
  expect(config?.devices[0]?.push?.provider).toBe("+15551234");
});

test("O-02 a full mid-registrar config is read", () => {
  const { config, problems } = loadConfig(
    `
domain: PBX.example.org
listen:
  - udp://192.0.2.1
  - { url: "tcp://[::1]:0", advertise: "sip.example.org:443" }
pbx:
  uri: ["sip:10.0.0.1", "sip:PBX.example.org:5080;transport=tcp"]
  trust: [10.0.0.0/30]
  qualify: 0
devices:
  - { header: "X-App: ^Foo", push: { provider: acme, token_from: "contact:PN-TOK" } }
push: { webhook: { ACME: { url: "https://push.example.org/wake", token_file: token }, "*": { url: "http://127.0.0.1:1" } } }
htables: { seen: { ttl: 0 } }
limits: { message: 8k, auth_failures: 5/10s }
control: { listen: ["unix:/run/latefork.sock", "http://[::1]:0"] }
log: { overrides: ["aor=alice@example.org -> debug"] }
`,
    { folder: "/etc/latefork" },
  );
  expect(problems).toMatchObject([{ severity: "warning", path: "pbx.uri[1]" }]);
  expect(config?.domain).toEqual(["pbx.example.org"]);
  expect(config?.listen).toEqual([
    { url: "udp://192.0.2.1", scheme: "udp", host: "192.0.2.1", port: 5060, path: "", advertise: "" },
    { url: "tcp://[::1]:0", scheme: "tcp", host: "::1", port: 0, path: "", advertise: "sip.example.org:443" },
  ]);
  expect(config?.pbx?.uri).toEqual([
    { uri: "sip:10.0.0.1", host: "10.0.0.1", port: 5060, has_port: false, transport: "udp" },
    {
      uri: "sip:PBX.example.org:5080;transport=tcp",
      host: "pbx.example.org",
      port: 5080,
      has_port: true,
      transport: "tcp",
    },
  ]);
  expect(config?.pbx?.trust.map((network) => network.contains("10.0.0.3"))).toEqual([true]);
  expect(config?.pbx?.qualify).toBe(0);
  expect(config?.devices).toEqual([{
    user_agent: "",
    header: { name: "X-App", pattern: "^Foo" },
    kind: "",
    push: { provider: "acme", token_from: { source: "contact", name: "pn-tok" } },
  }]);
  expect({ ...config?.push.webhook }).toEqual({
    acme: { url: "https://push.example.org/wake", token_file: "/etc/latefork/token", timeout: 5000 },
    "*": { url: "http://127.0.0.1:1", token_file: "", timeout: 5000 },
  });
  expect(config?.push.webhook["constructor"]).toBeUndefined();
  expect({ ...config?.htables }).toEqual({
    banned: { ttl: 600_000, max: 10_000, persist: true },
    seen: { ttl: 0, max: 10_000, persist: true },
  });
  expect(config?.limits.message).toBe(8192);
  expect(config?.limits.auth_failures).toEqual({ count: 5, per_ms: 10_000 });
  expect(config?.control.listen).toEqual([
    { url: "unix:/run/latefork.sock", scheme: "unix", host: "", port: 0, path: "/run/latefork.sock" },
    { url: "http://[::1]:0", scheme: "http", host: "::1", port: 0, path: "" },
  ]);
  expect(config?.log.overrides).toEqual([
    { text: "aor=alice@example.org -> debug", field: "aor", value: "alice@example.org", level: "debug" },
  ]);
});

test("O-02 a section whose lines are all commented out is as if it were not there", () => {
  expect(loadConfig(`${QUIET}wake:\n  # window: 5s\nlog:\ndevices:\n`).config?.wake).toEqual(defaultConfig().wake);
});

test("O-02 a byte order mark and CRLF lines move no column", () => {
  expect(told(`\ufeffdomian: x\r\nlog: { level: inof }\r\n${QUIET}`)).toEqual([
    '1:1 domian: unknown key (did you mean "domain"?)',
    '2:15 log.level: unknown value "inof" (did you mean "info"?)',
  ]);
});

test("O-02 what a file can hold at most is bounded", () => {
  expect(told("#".repeat(256 * 1024 + 1))).toEqual(["1:1 : is larger than 256 KiB"]);
  expect(told("[".repeat(100_000))).toEqual(["1:1 : is nested too deeply"]);
  expect(told("- ".repeat(100_000))).toEqual(["1:1 : is nested too deeply"]);
  const keys = Array.from({ length: 5000 }, (_, index) => `key${index}: 1`).join("\n");
  const problems = told(keys);
  expect(problems.length).toBe(101);
  expect(problems.at(-1)).toBe("100:1 : 4901 further problems are not shown");
});

test("O-02 carets stand right below a line with tabs", () => {
  const text = `limits:\t{ calls: x }\n${QUIET}`;
  expect(renderProblems("c", text, loadConfig(text).problems).split("\n").slice(1, 3)).toEqual([
    "    1 | limits:\t{ calls: x }",
    "      |        \t         ^",
  ]);
});

test("O-02 a long line is shown around its problem, and nothing in it reaches the terminal", () => {
  const text = `domain: [${"a.example, ".repeat(30)}"\\e[31mx y"]\n${QUIET}`;
  const shown = renderProblems("c", text, loadConfig(text).problems);
  expect(shown.split("\n").every((line) => line.length < 260)).toBe(true);
  const raw = `# \u001b[31m\nlog: { level: \u009bx }\n${QUIET}`;
  // deno-lint-ignore no-control-regex
  expect(renderProblems("c", raw, loadConfig(raw).problems)).not.toMatch(/[\u001b\u009b]/);
});
