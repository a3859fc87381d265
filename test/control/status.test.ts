import { expect, test } from "bun:test";
import { controlApp } from "../../src/control/app.ts";
import { type StatusJson, statusText } from "../../src/control/status.ts";
import { duration } from "../../src/control/text.ts";
import { TestHost } from "./test_host.ts";

test("a duration is told in its two largest units", () => {
  const cases: [number, string][] = [[0, "0s"], [59.9, "59s"], [61, "1m 1s"], [3600, "1h"], [90_061, "1d 1h"], [
    -5,
    "0s",
  ]];
  for (const [seconds, text] of cases) expect(duration(seconds)).toBe(text);
});

test("the status screen counts in words, and cuts off no advice", () => {
  const advice = "The PBX grants only 60 s: raise " + "its maximum ".repeat(20) + "end";
  const counts = {
    aors: 1,
    devices: 2,
    push_devices: 1,
    at_risk: 1,
    upstream_failing: 2,
    short_grants: 1,
    flows: 2,
    calls_open: 0,
    calls_held: 0,
    banned: 0,
  };
  const status: StatusJson = {
    state: "ready",
    version: "0.1.0",
    uptime: 1,
    pbx: { uri: "sip:pbx", state: "up", mode: "aor", rtt_ms: 1, reason: "", doubt: null },
    counts,
    push: [],
    tls: null,
    problems: [{ at: "2026-01-02T03:04:05.678Z", level: "warn", message: advice }],
  };
  const text = statusText(status);
  expect(text).toContain("registered  2 devices of 1 AoR, 1 can be woken\n");
  expect(text).toContain(
    "1 device AT RISK (latefork locations), 2 bindings cannot be renewed, 1 AoR granted less than a push needs: " +
      "raise the PBX's maximum registration time (Asterisk: maximum_expiration, Kamailio: max_expires, " +
      "FreeSWITCH: sip-force-expires), or set pbx.credentials_file\n",
  );
  expect(text).toContain(advice);
  expect(text).not.toContain("certificate");
  const ending = statusText({ ...status, tls: { names: ["sip.example.org"], days_left: 3, problem: "expires soon" } });
  expect(ending).toContain("certificate  sip.example.org: EXPIRES SOON\n");
  const sound = statusText({
    ...status,
    tls: { names: ["a.example.org", "b.example.org"], days_left: 60, problem: "" },
  });
  expect(sound).toContain("certificate  a.example.org, b.example.org: 60 days left\n");
  expect(statusText({ ...status, pbx: null })).not.toContain("at the pbx");
});

test("T-06 GET /v1/tls tells names, issuer and days left of each certificate, as JSON and as a table", async () => {
  const host = new TestHost();
  host.certified = [{
    file: "/etc/latefork/sip.pem",
    names: ["sip.example.org", "phone.example.org"],
    issuer: "CN=R11, O=Let's Encrypt",
    valid_from: "2026-01-01T00:00:00.000Z",
    valid_to: "2026-04-01T00:00:00.000Z",
    days_left: 9,
    problem: "expires on 2026-04-01, in 9 days",
  }];
  const app = controlApp(host, () => "");
  const ask = (query: string) =>
    app.fetch(new Request("http://127.0.0.1:8060/v1/tls" + query, { headers: { host: "127.0.0.1:8060" } }), {
      address: "127.0.0.1",
      isUnix: false,
      keepOpen() {},
    });
  expect(await (await ask("")).json()).toEqual({ items: host.certified, next: null });
  const text = await (await ask("?format=text")).text();
  for (const part of ["sip.example.org, phone.example.org", "CN=R11", " 9 ", "in 9 days"]) expect(text).toContain(part);
});
