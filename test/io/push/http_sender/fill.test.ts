/** P-10: whatever strangers put into a name, a Call-ID or a token stays a value, in every place of a request. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import type { SenderRequest } from "../../../../src/config/sender/sender.ts";
import { fillRequest, headerText } from "../../../../src/io/push/http_sender/fill.ts";
import { callKey, placeholderValues } from "../../../../src/io/push/http_sender/values.ts";
import type { PushRequest } from "../../../../src/io/push/types.ts";
import { pushRequest } from "../virtual_world.ts";
import { senderOf } from "./senders.ts";

const NOW = Date.parse("2026-01-02T03:04:05.678Z");
const FACTS = { wakeUrl: "linphone://", token: "s3cret" };

function valuesOf(changes: Partial<PushRequest>) {
  return placeholderValues(pushRequest(changes), FACTS, NOW, 29_500);
}

function fill(sender: string, changes: Partial<PushRequest> = {}) {
  const request = senderOf(sender).events.call as SenderRequest;
  return fillRequest(request, valuesOf(changes), new Map());
}

/** The request, which must be one. */
function filled(sender: string, changes: Partial<PushRequest> = {}) {
  const request = fill(sender, changes);
  if (typeof request === "string") throw new Error(request);
  return request;
}

/** RFC 2047 as a receiver reads it. */
function decodedWords(text: string): string {
  return text.replace(/\?= =\?/g, "?==?").replace(
    /(?:=\?UTF-8\?B\?([A-Za-z0-9+/=]*)\?=)/g,
    (_all, base64: string) => Buffer.from(base64, "base64").toString("utf8"),
  );
}

const HOSTILE = fc.oneof(
  fc.constantFrom(
    '"',
    '","x":"',
    "\\",
    "a\r\nx-evil: 1\r\n\r\nb",
    "\r",
    "\n",
    "{prid}",
    "{{token}}",
    "{token?}",
    "&token=1&",
    "%0d%0a",
    "%2e%2e",
    "../../x",
    "..",
    ".",
    "/",
    "\\..\\",
    "?a=b#c",
    "@evil.example",
    "//evil.example/",
    "=?UTF-8?B?DQpYOiAx?=",
    "👩‍👩‍👧‍👦",
    "\ud800",
    "\udc00\ud800",
    "\u2028\u2029",
    "\x00\x1b[31m\x7f\x85",
    "__proto__",
    "x".repeat(6144),
    '"'.repeat(6144),
    "\u202eabc",
  ),
  fc.string({ unit: "binary", maxLength: 200 }),
  fc.string({ unit: "grapheme", maxLength: 200 }),
);

/** All that strangers choose. */
const REQUEST = fc.record({ fromName: HOSTILE, callId: HOSTILE, prid: HOSTILE, param: HOSTILE, device: HOSTILE });

test("P-10 JSON: the structure is that of the config, each value is what was said", () => {
  const sender = '{ url: "https://a.example/x", json: { "__proto__": "{from_name}", list: ["{call_id}", 1, true], ' +
    'deep: { to: "{prid}", both: "<{from_name}|{prid}>" }, ttl: "{ttl}", at: "at {ttl}" } }';
  fc.assert(fc.property(REQUEST, (changes) => {
    const values = valuesOf(changes);
    const request = fill(sender, changes);
    if (typeof request === "string") return expect(request).toBe("what is to be sent is longer than 16384 bytes");
    const parsed = JSON.parse(request.body);
    expect(Object.keys(parsed)).toEqual(["__proto__", "list", "deep", "ttl", "at"]);
    expect(Object.getOwnPropertyDescriptor(parsed, "__proto__")?.value).toBe(values.from_name);
    expect(parsed.list).toEqual([values.call_id, 1, true]);
    expect(parsed.deep).toEqual({ to: values.prid, both: `<${values.from_name}|${values.prid}>` });
    expect([parsed.ttl, parsed.at]).toEqual([30, "at 30"]);
    expect(request.body.isWellFormed()).toBe(true);
  }));
});

test("P-10 a form: the fields are those of the config, each value is what was said", () => {
  const sender = '{ url: "https://a.example/x", form: { who: "{from_name}", to: "{prid}", id: "a {call_id} b" } }';
  fc.assert(fc.property(REQUEST, (changes) => {
    const values = valuesOf(changes);
    const request = fill(sender, changes);
    if (typeof request === "string") return expect(request).toBe("what is to be sent is longer than 16384 bytes");
    const parsed = [...new URLSearchParams(request.body)];
    expect(parsed).toEqual([["who", values.from_name], ["to", values.prid], ["id", `a ${values.call_id} b`]]);
  }));
});

test("P-10 a text: nobody adds a line or a control character", () => {
  const sender = '{ url: "https://a.example/x", text: "{from_name} calls\\nid {call_id}" }';
  fc.assert(fc.property(REQUEST, (changes) => {
    const { body } = filled(sender, changes);
    expect(body.split("\n").length).toBe(2);
    // deno-lint-ignore no-control-regex
    expect(body).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]/);
  }));
});

test("P-10 a header: one line of visible ASCII that says what was said, and no further header", () => {
  const sender = '{ url: "https://a.example/x", headers: { Title: "{from_name}", X-Id: "<{call_id}>" } }';
  fc.assert(fc.property(REQUEST, (changes) => {
    const values = valuesOf(changes);
    const { headers } = filled(sender, changes);
    expect(Object.keys(headers).sort()).toEqual(["accept-encoding", "title", "user-agent", "x-id"]);
    for (const value of Object.values(headers)) expect(value).toMatch(/^[\x20-\x7e]*$/);
    new Headers(headers);
    // deno-lint-ignore no-control-regex
    const plain = (text: string) => text.replace(/[\x00-\x1f\x7f-\x9f\u2028\u2029]+/g, " ");
    expect(decodedWords(headers.title!)).toBe(plain(values.from_name).trim());
    expect(decodedWords(headers["x-id"]!)).toBe(`<${plain(values.call_id)}>`);
  }));
});

test("P-10 a URL: host, number of segments and names of the query are those of the config, or nothing is sent", () => {
  const sender = '{ url: "https://a.example:8443/v1/{prid}/x?who={from_name}&id={call_id}" }';
  fc.assert(fc.property(REQUEST, (changes) => {
    const values = valuesOf(changes);
    const request = fill(sender, changes);
    if (typeof request === "string") {
      expect(/^\.{0,2}$|[/\\%]/.test(values.prid) || request.includes("longer")).toBe(true);
      return;
    }
    const url = new URL(request.url);
    expect(url.origin).toBe("https://a.example:8443");
    const segments = url.pathname.split("/");
    expect(segments.length).toBe(4);
    expect([segments[1], segments[3]]).toEqual(["v1", "x"]);
    expect(decodeURIComponent(segments[2]!)).toBe(values.prid);
    expect(url.hash).toBe("");
    const query = request.url.slice(request.url.indexOf("?") + 1).split("&").map((pair) => pair.split("="));
    expect(query.map(([name]) => name)).toEqual(["who", "id"]);
    expect(query.map(([, value]) => decodeURIComponent(value!))).toEqual([values.from_name, values.call_id]);
  }));
});

test.each(["..", ".", "%2e%2e", "%2E", "../../x", "a/b", "v1/account", "/", "..\\x", ".%2e", "%2f", "100%"])(
  "P-10 the token %s is no part of a URL",
  (prid) => expect(fill('{ url: "https://a.example/v1/{prid}" }', { prid })).toBe("its prid cannot be a part of a URL"),
);

test("P-10 two values that make dots together, and a place with nothing in it, are no address", () => {
  const together = '{ url: "https://a.example/v1/{prid}{param}" }';
  expect(fill(together, { prid: "x", param: "y" })).toMatchObject({ url: "https://a.example/v1/xy" });
  expect(fill(together, { prid: ".", param: "." })).toBe("its prid cannot be a part of a URL");
  expect(fill('{ url: "https://a.example/{prid}/{call_key}" }', { callId: "" })).toBe(
    "the push has no call_key, which the URL needs",
  );
});

test("P-10 placeholders are not filled twice", () => {
  const { body } = filled('{ url: "https://a.example/x", json: { who: "{from_name} {aor}" } }', {
    fromName: "{token} {aor} {{x}}",
  });
  expect(JSON.parse(body)).toEqual({ who: "{token} {aor} {{x}} alice@example.org" });
});

test("P-10 a field that may be left out is, with the mapping that holds nothing else; others stay empty", () => {
  const sender = '{ url: "https://a.example/x", headers: { X-Who: "{from_name?}" }, json: { who: "{from_name?}", ' +
    'number: "{from_user}", deep: { deeper: { who: "{from_name?}" } }, list: ["{from_name?}"], none: {} } }';
  const { body, headers } = filled(sender, { fromName: "", fromUri: "" });
  expect(JSON.parse(body)).toEqual({ number: "", list: [], none: {} });
  expect("x-who" in headers).toBe(false);
});

test("P-10 what is too long is not sent, in words", () => {
  const prid = "x".repeat(4096);
  const five = '{ url: "https://a.example/x", json: ["{prid}", "{prid}", "{prid}", "{prid}", "{prid}"] }';
  expect(fill(five, { prid })).toBe("what is to be sent is longer than 16384 bytes");
  expect(fill('{ url: "https://a.example/{prid}/{prid}" }', { prid })).toBe("the URL is longer than 8192 characters");
  expect(fill('{ url: "https://a.example/x", headers: { A: "{prid}{prid}" } }', { prid: `${prid}x` })).toBe(
    "the header a is longer than 8192 bytes",
  );
});

test("P-10 the values: caller, numbers, parts of a token, time", () => {
  const name = "👩".repeat(200);
  const values = valuesOf({
    fromName: Buffer.from(name).toString("latin1"),
    fromUri: "sip:%2b49301234;phone-context=x@example.org;user=phone",
    toUri: "sip:alice@example.org",
    prid: "TOKEN,SELECTOR:7C,OTHER",
    param: "app.one,app.two",
    callId: "a b",
  });
  expect(values).toMatchObject({
    from_name: "👩".repeat(128),
    caller: "👩".repeat(128),
    from_user: "+49301234",
    to_user: "alice",
    "prid.1": "TOKEN",
    "prid.2": "SELECTOR:7C",
    "prid.3": "OTHER",
    "param.2": "app.two",
    call_id: "a b",
    plain_call_id: "",
    call_key: callKey("a b"),
    ttl: "30",
    sent_at: "2026-01-02T03:04:05.678Z",
    sent_unix: "1767323045",
  });
  expect(values.call_key).toMatch(/^[\w-]{22}$/);
  expect(valuesOf({ callId: "" }).call_key).toBe("");
  expect(valuesOf({ fromName: "", fromUri: "sip:bob@b.example" }).caller).toBe("bob");
  expect(valuesOf({ fromName: "", fromUri: "tel:+4930;ext=1" }).from_user).toBe("+4930");
  expect(valuesOf({ fromName: " ", fromUri: "" }).caller).toBe("Unknown caller");
  expect(valuesOf({ fromUri: `sip:${"x".repeat(600)}@a` }).from_uri).toBe("");
});

test("P-10 a phone with a token for each kind of Apple's pushes is split, others are not", () => {
  const linphone = { provider: "apns", param: "ABC.org.linphone.phone.remote&voip", prid: "aa:remote&bb:voip" };
  expect(valuesOf(linphone)).toMatchObject({
    call_prid: "bb",
    call_param: "ABC.org.linphone.phone.voip",
    other_prid: "aa",
    other_param: "ABC.org.linphone.phone",
  });
  const android = { provider: "fcm", param: "929724111839", prid: "a:b&c" };
  expect(valuesOf(android)).toMatchObject({ call_prid: "a:b&c", other_prid: "a:b&c", call_param: "929724111839" });
});

test.each<[string, string]>([
  ["Bob", "Bob"],
  ["=?x", "=?UTF-8?B?PT94?="],
  ["Zoë", "=?UTF-8?B?Wm/Dqw==?="],
])("P-10 the header %s is written %s", (text, header) => expect(headerText(text)).toBe(header));

test("P-10 a long header is made of words of at most 75 characters that tear no character", () => {
  const text = "Zoë 👩‍👩‍👧‍👦 ".repeat(30);
  const words = headerText(text).split(" ");
  expect(Math.max(...words.map((word) => word.length))).toBeLessThanOrEqual(75);
  expect(decodedWords(words.join(" "))).toBe(text);
});
