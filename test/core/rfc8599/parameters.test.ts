import { expect, test } from "bun:test";
import {
  isPushParam,
  isPushQuery,
  type ParamLookup,
  pushParamsOf,
  stripPushHeaderParams,
  stripPushParams,
} from "../../../src/core/rfc8599/parameters.ts";

const of = (params: Record<string, string>): ParamLookup => (name) => params[name];
const none = of({});

const targets: [string, Record<string, string>, ReturnType<typeof pushParamsOf>][] = [
  ["the three of RFC 8599", { "pn-provider": "apns", "pn-param": "ABC.org.app.voip", "pn-prid": "00fc13adff78512" }, {
    provider: "apns",
    param: "ABC.org.app.voip",
    prid: "00fc13adff78512",
  }],
  ["a provider in capitals", { "pn-provider": "FCM", "pn-prid": "x" }, { provider: "fcm", param: "", prid: "x" }],
  ["escapes, once", { "pn-provider": "fcm", "pn-prid": "a%3Ab%253Ac", "pn-param": "%C3%A9" }, {
    provider: "fcm",
    param: "\xc3\xa9",
    prid: "a:b%3Ac",
  }],
  ["stray percent signs", { "pn-provider": "fcm", "pn-prid": "100%,%4,%zz%41%" }, {
    provider: "fcm",
    param: "",
    prid: "100%,%4,%zzA%",
  }],
  ["two tokens of Linphone", {
    "pn-provider": "apns",
    "pn-param": "T.org.linphone.phone.voip&remote",
    "pn-prid": "AA:voip&BB:remote",
  }, { provider: "apns", param: "T.org.linphone.phone.voip&remote", prid: "AA:voip&BB:remote" }],
  ["legacy apple", { "pn-type": "apple", "app-id": "org.linphone.phone.prod", "pn-tok": "AA" }, {
    provider: "apns",
    param: "org.linphone.phone.prod",
    prid: "AA",
  }],
  ["legacy apple sandbox", { "pn-type": "apple", "app-id": "org.linphone.phone.dev", "pn-tok": "AA" }, {
    provider: "apns.dev",
    param: "org.linphone.phone.dev",
    prid: "AA",
  }],
  ["legacy firebase", { "pn-type": "firebase", "app-id": "123", "pn-tok": "t" }, {
    provider: "fcm",
    param: "123",
    prid: "t",
  }],
  ["legacy android", { "pn-type": "Android", "app-id": "1", "pn-tok": "t" }, {
    provider: "fcm",
    param: "1",
    prid: "t",
  }],
  ["legacy google", { "pn-type": "google", "app-id": "1", "pn-tok": "t" }, { provider: "fcm", param: "1", prid: "t" }],
  ["an unknown legacy type", { "pn-type": "w10", "pn-tok": "t" }, { provider: "w10", param: "", prid: "t" }],
  ["no token", { "pn-provider": "apns", "pn-param": "x" }, null],
  ["an empty token", { "pn-provider": "apns", "pn-prid": "" }, null],
  ["a token without provider", { "pn-prid": "x" }, null],
  ["a legacy token without type", { "pn-tok": "x" }, null],
  ["the longest token", { "pn-provider": "p", "pn-prid": "x".repeat(4096) }, {
    provider: "p",
    param: "",
    prid: "x".repeat(4096),
  }],
  ["a token one too long", { "pn-provider": "p", "pn-prid": "x".repeat(4097) }, null],
  ["a huge escaped token", { "pn-provider": "p", "pn-prid": "%41".repeat(100_000) }, null],
  ["a huge provider", { "pn-provider": "p".repeat(65), "pn-prid": "x" }, null],
  ["a huge param", { "pn-provider": "p", "pn-prid": "x", "pn-param": "p".repeat(1025) }, null],
  ["a line break in the token", { "pn-provider": "p", "pn-prid": "x%0d%0aHost:y" }, null],
  ["a NUL in the param", { "pn-provider": "p", "pn-prid": "x", "pn-param": "%00" }, null],
  ["a space in the provider", { "pn-provider": "p%20q", "pn-prid": "x" }, null],
];

test.each(targets)("R-20 push parameters are read from %s", (_name, params, expected) => {
  expect(pushParamsOf(of(params), none)).toEqual(expected);
});

test("R-20 push parameters are also read from Contact header parameters, quoted or not", () => {
  const header = of({ "pn-provider": "acme", "pn-param": '"a%41"', "pn-prid": "t%41" });
  expect(pushParamsOf(none, header)).toEqual({ provider: "acme", param: "a%41", prid: "tA" });
});

test("R-20 a parameter of the URI wins over the header's", () => {
  expect(pushParamsOf(of({ "pn-provider": "fcm", "pn-prid": "uri" }), of({ "pn-prid": "header" }))?.prid).toBe("uri");
});

test.each<[string, Record<string, string>, boolean]>([
  ["provider without value", { "pn-provider": "" }, true],
  ["provider without token", { "pn-provider": "apns", "pn-param": "x" }, true],
  ["provider with token", { "pn-provider": "apns", "pn-prid": "x" }, false],
  ["provider with legacy token", { "pn-provider": "apns", "pn-tok": "x" }, false],
  ["no push parameter", { transport: "tcp" }, false],
])("P-02 a query is told from a registration: %s", (_name, params, expected) => {
  expect(isPushQuery(of(params), none)).toBe(expected);
  expect(isPushQuery(none, of(params))).toBe(expected);
});

test.each([
  [
    "sip:alice@192.0.2.1:5060;transport=tcp;pn-provider=acme;pn-prid=t;pn-param=x;ob",
    "sip:alice@192.0.2.1:5060;transport=tcp;ob",
  ],
  ["sip:alice@h;PN-Prid=t", "sip:alice@h"],
  ["sip:alice@h;pn-purr=abc;pn-prid=t;x=1", "sip:alice@h;pn-purr=abc;x=1"],
  ["sip:alice@h;app-id=o;pn-type=apple;pn-tok=AA;pn-silent=1;pn-timeout=0;pn-msg-str=IM_MSG;x", "sip:alice@h;x"],
  ["sip:alice@h;pn%2Dprid=t;%70n-tok=u;x", "sip:alice@h;x"],
  ["sip:alice;pn-prid=mine@h;pn-prid=t;x", "sip:alice;pn-prid=mine@h;x"],
  ["sip:a?b;c@h;x?Subject=a;pn-prid=t", "sip:a?b;c@h;x?Subject=a;pn-prid=t"],
  ["sip:h;pn-prid=t?Subject=x", "sip:h?Subject=x"],
  ["sip:a@[2001:db8::1]:5060;pn-prid=t;lr", "sip:a@[2001:db8::1]:5060;lr"],
  ["tel:+1555;pn-prid=t;phone-context=x", "tel:+1555;phone-context=x"],
  ["sip:a@h;;pn-prid;=;x=\xe9%zz", "sip:a@h;;=;x=\xe9%zz"],
  ["sip:a@h;xpn-prid=t;pnprid=t;app-idx=1", "sip:a@h;xpn-prid=t;pnprid=t;app-idx=1"],
  ['sip:a@h;x=";pn-prid=t;y="', 'sip:a@h;x=";y="'],
  ["sip:alice@h", "sip:alice@h"],
  ["", ""],
])("P-02 push parameters are taken out of %s", (uri, expected) => {
  expect(stripPushParams(uri)).toBe(expected);
});

test.each([
  [";expires=60;pn-prid=t;q=1", ";expires=60;q=1"],
  ['; pn-prid = "a;b" ;x', ";x"],
  [';+sip.instance="<urn:x;pn-prid=t>";pn-tok=u', ';+sip.instance="<urn:x;pn-prid=t>"'],
  [';x="a\\";pn-prid=t";pn-prid=u;y', ';x="a\\";pn-prid=t";y'],
  ["", ""],
])("P-02 push parameters are taken out of header parameters %s", (params, expected) => {
  expect(stripPushHeaderParams(params)).toBe(expected);
});

test("P-02 pn-purr is no parameter to hide", () => {
  expect(isPushParam("pn-purr")).toBe(false);
  expect(isPushParam("PN-PURR")).toBe(false);
  expect(isPushParam("pn-prid")).toBe(true);
});
