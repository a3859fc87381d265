/** Section `wake:`. */
import { boolean, choice, DAY, duration, HOUR, method, MINUTE } from "../kinds.ts";
import { key, list, section } from "../table.ts";

export const WAKE = section("Calls to sleeping phones.", {
  window: key(duration, {
    default: "30s",
    min: 1,
    max: 10 * MINUTE,
    applies: "live",
    doc: "How long a woken phone has to register.",
  }),
  ring_timeout: key(duration, {
    default: "120s",
    min: 1,
    max: HOUR,
    applies: "live",
    doc: "A call ends unanswered at the latest after this; keep it below the PBX's own.",
  }),
  hedge: key(duration, {
    default: "1500ms",
    max: 10 * MINUTE,
    applies: "live",
    doc: "A phone that seems awake but gives no sign for this long gets a push too; 0 = at once with the INVITE.",
  }),
  idle: key(duration, {
    default: "90s",
    min: 1,
    max: DAY,
    applies: "live",
    doc: "A UDP phone not heard of for this long may be asleep: it gets INVITE and push.",
  }),
  progress: key(choice("none", "180", "183", "110"), {
    default: "none",
    applies: "live",
    doc: "What the caller gets, once, while phones are being woken. A real 180 is always passed.",
  }),
  methods: list(method, {
    default: ["INVITE"],
    applies: "live",
    doc:
      "Requests that wake phones. Inside a call all do but BYE, PRACK and OPTIONS; inside a subscription NOTIFY and SUBSCRIBE do if they are named here.",
  }),
  delayed_cancel: key(choice("auto", "true", "false"), {
    default: "auto",
    applies: "live",
    doc:
      "A phone that wakes after the call is over gets INVITE and CANCEL. auto: for APNs VoIP tokens, as iOS needs it, and for senders of push.http that have nothing for the end of a call.",
  }),
  decline: key(choice("device", "all"), {
    default: "device",
    applies: "live",
    doc: "device: who declines only ends its own branch. all: 603 and other 6xx end the call.",
  }),
  early_media: key(choice("first", "all", "none"), {
    default: "all",
    applies: "live",
    doc: "Whose 183 with SDP passes.",
  }),
  serial: key(boolean, { default: "false", applies: "live", doc: "Try contacts in the order of their q." }),
  q_step: key(duration, { default: "15s", min: 1, max: HOUR, applies: "live", doc: "With serial: time for each q." }),
  single_answer: key(boolean, {
    default: "true",
    applies: "live",
    doc:
      "Two phones answer at once: the second is let go here (ACK, BYE). false: its 200 is passed, as RFC 3261 has it.",
  }),
});
