/** What an admin reads of push services in tables. */
import { expect, test } from "bun:test";
import { type PushBackendJson, pushBackendsText, pushRecentText } from "../../src/control/push.ts";

const backend: PushBackendJson = {
  provider: "webpush",
  kind: "webpush",
  state: "healthy",
  accepted: 2,
  refused: 1,
  failed: 0,
  last_reason: "",
};
const ADVICE = `403 from https://push.example.org; ${"what it means, ".repeat(12)}and what to do about it`;

test("P-08 push services of phones that fail are told below a backend that is healthy by the others", () => {
  const failing = { host: "https://push.example.org", state: "failing" as const, last_reason: ADVICE };
  const healthy = { host: "https://other.example.org", state: "healthy" as const, last_reason: "" };
  expect(pushBackendsText([{ ...backend, hosts: [failing, healthy] }])).toBe(
    "PROVIDER  KIND     STATE    ACCEPTED  REFUSED  FAILED  LAST\n" +
      "webpush   webpush  healthy         2        1       0  -\n\n" +
      "FAILING SERVICE           LAST\n" +
      `https://push.example.org  ${ADVICE}\n`,
  );
  for (const hosts of [undefined, [], [healthy], [failing]]) {
    expect(pushBackendsText([hosts === undefined ? backend : { ...backend, hosts }])).not.toContain("FAILING");
  }
});

test("P-08 what to do about a push is not cut off", () => {
  expect(pushBackendsText([{ ...backend, last_reason: ADVICE }])).toContain("and what to do about it\n");
  const push = { at: "", aor: "a@b", device: "d", event: "call", provider: "fcm", status: 403, ms: 1 };
  expect(pushRecentText([{ ...push, accepted: false, outcome: "refused", reason: ADVICE }])).toContain(
    "and what to do about it\n",
  );
});
