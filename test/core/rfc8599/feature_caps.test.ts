import { describe, expect, test } from "bun:test";
import { announcesPush, featureCapsLines, isAnnounceable } from "../../../src/core/rfc8599/feature_caps.ts";

describe("P-02 Feature-Caps", () => {
  test("P-02 one header line a service, to the byte", () => {
    const services = [
      { service: "apns", refreshBefore: 130, purr: "", vapid: "" },
      { service: "webpush", refreshBefore: 0, purr: "p1", vapid: "BPub-Key_9" },
      { service: "fcm", refreshBefore: 0, purr: "p2", vapid: "" },
      { service: "webpush", refreshBefore: 121, purr: "p3", vapid: "k" },
    ];
    expect(featureCapsLines(services)).toBe(
      'Feature-Caps: *;+sip.pns="apns";+sip.pnsreg="130"\r\n' +
        'Feature-Caps: *;+sip.pns="webpush";+sip.pnspurr="p1";+sip.vapid="BPub-Key_9"\r\n' +
        'Feature-Caps: *;+sip.pns="fcm";+sip.pnspurr="p2"\r\n' +
        'Feature-Caps: *;+sip.pns="webpush";+sip.pnsreg="121";+sip.pnspurr="p3";+sip.vapid="k"\r\n',
    );
  });

  test("P-02 nothing to announce: no header", () => expect(featureCapsLines([])).toBe(""));

  const seen: [string, string[], boolean][] = [
    ["none", [], false],
    ["as RFC 8599 has it", ['*;+sip.pns="apns"'], true],
    ["as OpenSIPS sends it", ['+sip.pns="apns"'], true],
    ["any case, white space around", ['* ; +SIP.PNS = "fcm"'], true],
    ["behind other indicators", ['*;+sip.607;+sip.pns="fcm";+sip.pnsreg="130"'], true],
    ["second element of a line", ['*;+sip.607, *;+sip.pns="fcm"'], true],
    ["second line", ["*;+sip.607", '*;+sip.pns="fcm"'], true],
    ["without a value", ["*;+sip.pns"], true],
    ["another indicator", ['*;+sip.pnsreg="130"'], false],
    ["only in a value", ['*;+x="+sip.pns;+sip.pns"'], false],
    ["only a star", ["*"], false],
    ["an open quote", ['*;+x="a;+sip.pns="fcm"'], false],
    ["an open quote on one line alone", ['*;+x="', '*;+sip.pns="fcm"'], true],
    ["empty", ["", ",,,", ";;;"], false],
  ];
  for (const [what, values, expected] of seen) {
    test(`P-02 another proxy's announcement is ${expected ? "seen" : "not seen"}: ${what}`, () => {
      expect(announcesPush(values)).toBe(expected);
    });
  }

  for (const name of ["apns", "apns.dev", "fcm", "webpush", "acme-push_2", "FCM"]) {
    test(`P-02 ${name} can be announced`, () => expect(isAnnounceable(name)).toBe(true));
  }
  const hostile = ["", '"', 'a"b', 'a";+sip.vapid="evil', "a,b", "a;b", "a b", "a\r\nX: y", "a\\", "<a>", "ä", "!a"];
  for (const name of [...hostile, "a".repeat(65)]) {
    test(`P-02 ${JSON.stringify(name)} cannot be announced`, () => expect(isAnnounceable(name)).toBe(false));
  }
});
