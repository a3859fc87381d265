/** What `check` says of a sender in the config file: every problem, at its place, with what to do (P-10, O-02). */
import { expect, test } from "bun:test";
import { masked } from "../../../src/config/masked.ts";
import { loadConfig } from "../../../src/config/load.ts";
import { PRESETS } from "../../../src/config/sender/presets.ts";
import { SENDER_EVENTS } from "../../../src/config/sender/sender.ts";

const HEAD = "security: { trust: [10.0.0.0/8] }\npush: { http: { own: ";

/** Errors of a sender that is written in one line, each behind the text it points at. */
function errorsOf(sender: string): string[] {
  const text = `${HEAD}${sender} } }\n`;
  return loadConfig(text).problems.map(({ line, column, length, path, message, hint }) => {
    const pointed = text.split("\n")[line - 1]!.slice(column - 1, column - 1 + length);
    return `${pointed} ${path.replace("push.http.own", "own")}: ${message}${hint === "" ? "" : ` (${hint})`}`;
  });
}

test.each<[what: string, sender: string, error: string]>([
  ["no url", '{ json: { to: "{prid}" } }', "own own.url: is missing (write the https:// URL of the service)"],
  ["a text", "ntfy", "ntfy own: expected { preset: NAME }, or url and what is sent"],
  [
    "an unknown preset",
    "{ preset: ntfi }",
    'ntfi own.preset: unknown preset "ntfi" (did you mean "ntfy"?)',
  ],
  [
    "an unknown placeholder",
    '{ url: "https://a.example", json: { who: "Call from {form_name}" } }',
    "{form_name} own.json.who: unknown placeholder {form_name} (did you mean {from_name}?)",
  ],
  [
    "a placeholder in the host",
    '{ url: "https://{prid}.example/x" }',
    "{prid}.example own.url: a placeholder stands in the host (phones and callers must not choose who is asked: write the host itself)",
  ],
  [
    "a placeholder in the port",
    '{ url: "https://a.example:{param}/x" }',
    "{param} own.url: a placeholder stands in the host (phones and callers must not choose who is asked: write the host itself)",
  ],
  ["no scheme", "{ url: a.example }", 'a.example own.url: "a.example" is not a URL (write an https:// or http:// URL)'],
  [
    "a placeholder as URL",
    '{ url: "{prid}" }',
    '"{prid}" own.url: "{prid}" is not a URL (write an https:// or http:// URL)',
  ],
  [
    "a password in the URL",
    '{ url: "https://u:p@a.example/x" }',
    "u:p@ own.url: the URL holds a password (put the secret into a file and name it in token_file)",
  ],
  [
    "a secret in a header",
    '{ url: "https://a.example", headers: { Authorization: Bearer abc } }',
    "Bearer abc own.headers.Authorization: a secret stands in the file (put the whole value of the header into a file and write { file: NAME })",
  ],
  [
    "another secret in a header",
    '{ url: "https://a.example", headers: { X-Api-Key: abc } }',
    "abc own.headers.X-Api-Key: a secret stands in the file (put the whole value of the header into a file and write { file: NAME })",
  ],
  [
    "a secret in a form",
    '{ url: "https://a.example", form: { token: abc, user: "{prid}" } }',
    "abc own.form.token: a secret stands in the file (put it into token_file and write {token})",
  ],
  [
    "a secret in JSON",
    '{ url: "https://a.example", json: { deep: { api_key: abc } } }',
    "abc own.json.deep.api_key: a secret stands in the file (put it into token_file and write {token})",
  ],
  [
    "a secret in a query",
    '{ url: "https://a.example/x?token=abc" }',
    '"https://a.example/x?token=abc" own.url: a secret stands in the file (put it into token_file and write {token})',
  ],
  [
    "a secret behind another parameter of a query",
    '{ url: "https://a.example/x?v=1&token=abc" }',
    '"https://a.example/x?v=1&token=abc" own.url: a secret stands in the file (put it into token_file and write {token})',
  ],
  [
    "a token that is nowhere",
    '{ url: "https://a.example/{token}" }',
    "own own.token_file: is missing: {token} stands in this sender (name the file that holds it)",
  ],
  [
    "an event no one sends",
    '{ url: "https://a.example", events: { canceled: null } }',
    'canceled own.events.canceled: nobody sends such an event (did you mean "cancel"?)',
  ],
  [
    "an unknown key",
    '{ url: "https://a.example", jason: {} }',
    'jason own.jason: unknown key (did you mean "json"?)',
  ],
  [
    "a key of the sender below an event",
    '{ url: "https://a.example", events: { call: { answers: {} } } }',
    "answers own.events.call.answers: unknown key",
  ],
  [
    "two bodies",
    '{ url: "https://a.example", json: {}, text: x }',
    "json own.json: stands beside text (a request has one body)",
  ],
  [
    "a body where the preset has its own",
    "{ preset: ntfy, json: { a: b } }",
    "json own.json: each event of the preset has a body of its own (write it below events, for instance events: { call: { json: … } })",
  ],
  [
    "an unknown method",
    '{ url: "https://a.example", method: PSOT }',
    'PSOT own.method: unknown method "PSOT" (did you mean "POST"?)',
  ],
  [
    "GET with a body",
    '{ url: "https://a.example", method: GET, text: x }',
    "GET own.method: GET carries no body (use POST, or put what is to be said into the query)",
  ],
  [
    "a header of the connection",
    '{ url: "https://a.example", headers: { Host: "{prid}" } }',
    "Host own.headers.Host: belongs to the connection and cannot be set",
  ],
  [
    "no header",
    '{ url: "https://a.example", headers: { "X Y": a } }',
    '"X Y" own.headers.X Y: is no name of a header',
  ],
  [
    "a header of two lines",
    '{ url: "https://a.example", headers: { X-A: "a\\nb" } }',
    '"a\\nb" own.headers.X-A: a header is one line',
  ],
  [
    "JSON by hand",
    '{ url: "https://a.example", headers: { Content-Type: application/json }, text: \'{{"to":"{prid}"}}\' }',
    '\'{{"to":"{prid}"}}\' own.text: is plain text: a name could break out of anything else (use json or form)',
  ],
  [
    "a fragment",
    '{ url: "https://a.example/x#{prid}" }',
    "# own.url: a part behind # is never sent (remove it)",
  ],
  [
    "dots in a path",
    '{ url: "https://a.example/a/../b" }',
    '"https://a.example/a/../b" own.url: a path with . or .. leads elsewhere (write it out)',
  ],
  [
    "a part of a URL that may be left out",
    '{ url: "https://a.example/{prid?}" }',
    "? own.url: a part of a URL cannot be left out (remove the ? of the placeholder)",
  ],
  [
    "a part of a query that may be left out",
    '{ url: "https://a.example/x?a={prid}&b={param?}" }',
    "? own.url: a part of a URL cannot be left out (remove the ? of the placeholder)",
  ],
  [
    "a path without a slash",
    '{ url: "https://a.example", events: { cancel: { path: "x/{call_key}" } } }',
    '"x/{call_key}" own.events.cancel.path: must begin with a slash',
  ],
  [
    "an answer that is no status",
    '{ url: "https://a.example", answers: { dead: [4040] } }',
    "4040 own.answers.dead.0: 4040 is no status (write a number from 100 to 599, or a text in quotes)",
  ],
  [
    "an answer told by too little",
    '{ url: "https://a.example", answers: { dead: no } }',
    "no own.answers.dead: is too short to tell an answer by (write at least four characters of the answer)",
  ],
  [
    "an unknown kind of answer",
    '{ url: "https://a.example", answers: { deed: 404 } }',
    'deed own.answers.deed: unknown key (did you mean "dead"?)',
  ],
  [
    "no link",
    '{ url: "https://a.example", wake_url: linphone }',
    'linphone own.wake_url: "linphone" is no link (for instance linphone://)',
  ],
  [
    "a timeout without unit",
    '{ url: "https://a.example", timeout: 5 }',
    '5 own.timeout: duration "5" has no unit (did you mean "5s"?)',
  ],
  ["a timeout of an hour", '{ url: "https://a.example", timeout: 1h }', "1h own.timeout: must be between 1ms and 60s"],
  ["a key without value", '{ url: "https://a.example", json: }', "} own.json: has no value (write null for nothing)"],
  [
    "a key twice",
    '{ url: "https://a.example", json: { a: b, a: c } }',
    "a own.json.a: given twice (remove one of them)",
  ],
])("P-10 check tells %s", (_what, sender, error) => {
  expect(errorsOf(sender)).toEqual([error]);
});

test("P-10 every problem of a sender is told at once", () => {
  const sender = '{ url: "https://{x}/", json: { a: "{y}", token: z }, events: { foo: null }, answers: { dead: x } }';
  expect(errorsOf(sender).map((error) => error.split(": ").find((part) => part.includes(" own."))!.split(" ").at(-1)!))
    .toEqual([
      "own.url",
      "own.json.a",
      "own.json.token",
      "own.events.foo",
      "own.answers.dead",
    ]);
});

const MANUAL = `
security: { trust: [10.0.0.0/8] }
push:
  http:
    own:
      url: "https://push.example.org/{event}"
      method: POST
      headers: { X-Api-Key: { file: own.key } }
      json: { to: "{prid}", call: { id: "{call_id}", name: "{from_name}" }, wake: "{ttl}" }
      events: { cancel: { json: { to: "{prid}", drop: "{call_id}" } }, refresh: null }
      answers: { dead: [404, 410, "unknown token"], retry: [429, 5xx], accepted: { field: a.b, is: true } }
      timeout: 3s
`;

test("P-10 the sender of the manual loads: events, headers from a file, answers", () => {
  const { config, problems } = loadConfig(MANUAL, { folder: "/etc/latefork" });
  expect(problems).toEqual([]);
  const own = config!.push.http["own"]!;
  expect(own).toMatchObject({ origin: "https://push.example.org", timeout: 3000, preset: "" });
  expect(own.events.call).toMatchObject({
    method: "POST",
    path: ["/", { names: ["event"] }],
    headers: [["x-api-key", { file: "/etc/latefork/own.key" }]],
  });
  expect(own.events.refresh).toBeNull();
  expect(own.events.test).toEqual(own.events.call);
  expect(own.answers).toEqual({
    accepted: [{ kind: "field", path: ["a", "b"], value: "true" }],
    dead: [
      { kind: "status", from: 404, to: 404 },
      { kind: "status", from: 410, to: 410 },
      { kind: "text", text: "unknown token" },
    ],
    retry: [{ kind: "status", from: 429, to: 429 }, { kind: "status", from: 500, to: 599 }],
    refused: [],
  });
});

test("P-10 a token that no template mentions is a bearer token; one that is mentioned goes there alone", () => {
  const headersOf = (sender: string) => {
    const { config } = loadConfig(`${HEAD}${sender} } }`);
    return config!.push.http["own"]!.events.call!.headers.map(([name]) => name);
  };
  expect(headersOf('{ url: "https://a.example", token_file: t }')).toEqual(["authorization"]);
  expect(headersOf('{ url: "https://a.example/{token}", token_file: t }')).toEqual([]);
  expect(headersOf('{ url: "https://a.example", headers: { X-Key: "{token}" }, token_file: t }')).toEqual(["x-key"]);
});

test.each(Object.keys(PRESETS))("P-11 the preset %s, printed by config show, loads again as what it is", (name) => {
  const needs = { url: "https://a.example/x", token_file: "t" };
  const preset = PRESETS[name]!;
  const own = { preset: name, ...("url" in preset ? {} : { url: needs.url }), token_file: needs.token_file };
  const { config, problems } = loadConfig(`${HEAD}${JSON.stringify(own)} } }`);
  expect(problems).toEqual([]);
  const { http } = (masked(config!) as { push: { http: Record<string, object> } }).push;
  expect(JSON.stringify(http)).not.toContain("preset");
  const again = loadConfig(JSON.stringify({ security: { trust: ["10.0.0.0/8"] }, push: { http } }));
  expect(again.problems).toEqual([]);
  const { preset: _name, ...sender } = config!.push.http["own"]!;
  expect(again.config!.push.http["own"]).toMatchObject({ ...sender, written: sender.written });
});

test("P-11 what an admin writes lies over the preset: fields, headers, events, answers, and null takes away", () => {
  const { config, problems } = loadConfig(`${HEAD}{ preset: ntfy, url: "https://ntfy.example.org/{prid}",
    headers: { Authorization: { file: basic } }, answers: { refused: [404, 507] },
    events: { call: { headers: { Title: "Anruf von {caller}", Tags: null }, text: "Antippen" }, cancel: null } } } }`);
  expect(problems).toEqual([]);
  const { events, answers } = config!.push.http["own"]!;
  expect(events.call!.headers.map(([name, value]) => [name, "file" in value ? value.file : value[0]])).toEqual([
    ["authorization", "basic"],
    ["title", "Anruf von "],
    ["priority", "max"],
    ["click", { names: ["wake_url"], isOptional: true }],
    ["x-sequence-id", { names: ["call_key"], isOptional: true }],
  ]);
  expect(events.call!.body).toEqual({ kind: "text", template: ["Antippen"] });
  expect([events.cancel, events.refresh]).toEqual([null, null]);
  expect(answers.refused.length).toBe(2);
});

test("P-11 fields of a body are called as they are, also preset, text and json, with a preset and without", () => {
  const json = '{ preset: "{prid}", text: "{caller}", form: { json: a }, "loc-key": CALL }';
  const { config, problems } = loadConfig(
    `${HEAD}{ url: "https://a.example", json: ${json} }, over: { preset: bark, events: { call: { json: ${json} } } } } }`,
  );
  expect(problems).toEqual([]);
  const fieldsOf = (name: string) => {
    const body = config!.push.http[name]!.events.call!.body;
    return body.kind === "json" && body.json.kind === "fields" ? body.json.fields.map(([field]) => field) : [];
  };
  expect(fieldsOf("own")).toEqual(["preset", "text", "form", "loc-key"]);
  expect(fieldsOf("over").slice(-4)).toEqual(["preset", "text", "form", "loc-key"]);
  expect(fieldsOf("over")).toContain("device_key");
});

test("P-10 files are shown as they are used, from whatever folder", () => {
  const sender = "{ preset: ntfy, token_file: t, headers: { X-A: { file: a } }, " +
    "events: { call: { headers: { X-B: { file: /b } } } } }";
  const { config } = loadConfig(`${HEAD}${sender} } }`, { folder: "/etc/latefork" });
  const { http } = (masked(config!) as { push: { http: { own: unknown } } }).push;
  expect(http.own).toMatchObject({
    token_file: "/etc/latefork/t",
    headers: { "X-A": { file: "/etc/latefork/a" } },
    events: { call: { headers: { "X-B": { file: "/b" }, title: "{caller}" } } },
  });
});

test("P-10 X-04 a query is shown without its values, placeholders stay", () => {
  const { config } = loadConfig(`${HEAD}{ url: "https://a.example/x?who={prid}&auth=hunter2&b", json: {} } } }`);
  const shown = JSON.stringify(masked(config!));
  expect(shown).toContain("https://a.example/x?who={prid}&auth=***&b");
  expect(shown).not.toContain("hunter2");
});

test("P-11 every preset says of every event what is sent, or that nothing is", () => {
  for (const preset of Object.values(PRESETS)) {
    const events = Object.keys(preset.events as object).filter((event) => event !== "answered_elsewhere");
    const stand = ["test", "answered_elsewhere"];
    expect(events.sort()).toEqual(SENDER_EVENTS.filter((event) => !stand.includes(event)).sort());
  }
});

test("P-10 names of senders are compared as pn-provider is, and no name reaches into the prototype", () => {
  const { config } = loadConfig(`${HEAD.replace("own", "OWN")}{ url: "https://a.example", json: {} } } }`);
  expect(Object.keys(config!.push.http)).toEqual(["own"]);
  expect(config!.push.http["constructor"]).toBeUndefined();
  expect(errorsOf('{ url: "https://a.example", json: {} }, "*": { url: "https://a.example" }')[0]).toContain(
    "is not a name",
  );
});

test("P-10 a webhook of the same name is told", () => {
  const { problems } = loadConfig(
    'security: { trust: [10.0.0.0/8] }\npush: { http: { a: { preset: yak } }, webhook: { a: { url: "http://a" } } }',
  );
  expect(problems.map(({ path, message }) => `${path}: ${message}`)).toEqual([
    "push.http.a: push.webhook.a takes the same pushes",
  ]);
});
