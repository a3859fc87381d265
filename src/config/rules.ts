/** Rules about two keys, or about a key and the mode we run in. Must not know YAML. What one key alone shows is its kind's. */
import { isLoopback } from "../core/sip/host.ts";
import type { Place, Problem } from "./problem.ts";
import type { Config } from "./schema.ts";

/** What the rules need to know of the file. Paths as in problems. */
export interface FileView {
  /** False if the key, or anything below it, had an error: rules about it would only repeat it. */
  isSound(path: string): boolean;
  /** True if the key stands in the file. */
  isGiven(path: string): boolean;
  /** Where it stands, or the nearest section that does. */
  placeOf(path: string): Place;
}

interface Rule {
  /** Keys it reads; if one of them had an error the rule is silent. */
  readonly reads: readonly string[];
  check(config: Config, report: Report): void;
}

/** `path` is the key to change. */
type Report = (severity: Problem["severity"], path: string, message: string, hint: string) => void;

/** What is wrong with a config although each of its keys is right by itself. */
export function checkRules(config: Config, file: FileView): Problem[] {
  const problems: Problem[] = [];
  for (const rule of RULES) {
    if (!rule.reads.every((path) => file.isSound(path))) continue;
    rule.check(config, (severity, path, message, hint) => {
      // A default stands nowhere in the file: the place is that of the key that disagrees with it.
      const shown = [path, ...rule.reads].find((candidate) => candidate !== "" && file.isGiven(candidate)) ?? path;
      const { line, column, length } = file.placeOf(shown);
      problems.push({ severity, line, column, length, path, message, hint });
    });
  }
  return problems;
}

const RULES: readonly Rule[] = [
  {
    reads: ["control.listen", "control.token_file"],
    // beyond loopback only with a token.
    check({ control }, report) {
      if (control.token_file !== "") return;
      control.listen.forEach((entry, index) => {
        if (entry.scheme === "unix" || entry.host === "localhost" || isLoopback(entry.host)) return;
        const message = `${entry.host} can be reached from outside and there is no control.token_file`;
        report("error", `control.listen[${index}]`, message, "set token_file, or listen on 127.0.0.1");
      });
    },
  },
  {
    reads: ["wake.window", "wake.ring_timeout"],
    check({ wake }, report) {
      if (wake.ring_timeout >= wake.window) return;
      report(
        "error",
        "wake.ring_timeout",
        "is shorter than wake.window",
        "a call must last as long as its phones may take to wake",
      );
    },
  },
  {
    reads: ["registration.min_expires", "registration.default_expires", "registration.max_expires"],
    check({ registration }, report) {
      const { min_expires, default_expires, max_expires } = registration;
      if (min_expires > max_expires) {
        report("error", "registration.min_expires", "is longer than max_expires", "");
      } else if (default_expires < min_expires) {
        report("error", "registration.default_expires", "is shorter than min_expires", "");
      } else if (default_expires > max_expires) {
        report("error", "registration.default_expires", "is longer than max_expires", "");
      }
    },
  },
  { reads: ["listen", "control.listen"], check: checkListeners },
  { reads: ["listen", "tls"], check: checkCertificates },
  { reads: ["listen", "pbx", "pbx.uri", "pbx.ca_file"], check: checkWayToPbx },
  { reads: ["pbx.trusts_us", "pbx.own_port", "pbx.uri", "listen", "pbx"], check: checkOwnPort },
  {
    reads: ["users_file", "pbx"],
    check(config, report) {
      if (config.pbx === null || config.users_file === "") return;
      report(
        "error",
        "users_file",
        "is for registrar mode, but pbx is set",
        "remove one: with a PBX, the PBX checks the passwords",
      );
    },
  },
  {
    reads: ["security.trust", "pbx"],
    check(config, report) {
      if (config.pbx === null || config.security.trust.length === 0) return;
      report(
        "warning",
        "security.trust",
        "is for registrar mode, and pbx is set: it has no effect",
        "did you mean pbx.trust?",
      );
    },
  },
  {
    reads: ["pbx.uri", "pbx"],
    check({ pbx }, report) {
      pbx?.uri.slice(1).forEach((_, index) => {
        report(
          "warning",
          `pbx.uri[${index + 1}]`,
          "is believed as the PBX and not tried when the first fails: failover is not available in this version",
          "name further addresses of the PBX in pbx.trust",
        );
      });
    },
  },
  {
    reads: ["pbx.mode", "pbx.contact_id"],
    check({ pbx }, report) {
      if (pbx === null || pbx.contact_id !== "aor" || pbx.mode === "aor") return;
      report(
        "warning",
        "pbx.mode",
        `works as mode aor, because contact_id: aor gives all devices of a user one Contact`,
        `contact_id: param or user, if the PBX is to see each device`,
      );
    },
  },
  {
    reads: ["users_file", "pbx", "security.trust"],
    // the start says so.
    check(config, report) {
      if (config.pbx !== null || config.users_file !== "" || config.security.trust.length > 0) return;
      report(
        "warning",
        "",
        "nothing can register: there is neither pbx nor users_file nor security.trust",
        "set one of them",
      );
    },
  },
  {
    reads: ["security.trust"],
    check({ security }, report) {
      security.trust.forEach((network, index) => {
        if (network.prefix > 0) return;
        report("warning", `security.trust[${index}]`, "anybody may register as anybody", "name your own networks");
      });
    },
  },
  { reads: ["push.apns", "push.http", "push.webhook"], check: checkApns },
  { reads: ["push.fcm", "push.http", "push.webhook"], check: checkFcm },
  { reads: ["push.webpush", "push.http", "push.webhook"], check: checkWebPush },
  {
    reads: ["push.http", "push.webhook"],
    check({ push }, report) {
      for (const name of Object.keys(push.http)) {
        if (!Object.hasOwn(push.webhook, name)) continue;
        report("error", `push.http.${name}`, `push.webhook.${name} takes the same pushes`, "remove one of them");
      }
    },
  },
  {
    reads: ["devices"],
    check({ devices }, report) {
      devices.forEach((rule, index) => {
        if (rule.user_agent === "" && rule.header === null) {
          report("error", `devices[${index}]`, "matches nothing", "set user_agent or header");
        } else if (rule.kind === "" && rule.push === null) {
          report("error", `devices[${index}]`, "says nothing about the phone", "set kind or push");
        }
      });
    },
  },
];

function checkApns({ push }: Config, report: Report): void {
  const { apns } = push;
  for (const key of ["key_id", "team_id"] as const) {
    const path = `push.apns.${key}`;
    if (apns.key_file === "") {
      if (apns[key] !== "") report("warning", path, "has no effect without push.apns.key_file", "");
    } else if (apns[key] === "") {
      report("error", path, "is missing", "push.apns.key_file needs it; see `latefork keys apns FILE`");
    } else if (!/^[A-Z0-9]{10}$/.test(apns[key])) {
      report("warning", path, `"${apns[key]}" does not look like one of Apple's`, "10 capital letters and digits");
    }
  }
  if (apns.key_file === "") return;
  for (const key of ["server", "sandbox_server"] as const) {
    if (!apns[key].startsWith("https:")) report("error", `push.apns.${key}`, "must be an https URL", "");
  }
  checkRivals(["apns", "apns.dev"], "push.apns", push, report);
}

function checkFcm({ push }: Config, report: Report): void {
  const { fcm } = push;
  if (fcm.service_account_file === "") return;
  if (!fcm.server.startsWith("https:")) report("error", "push.fcm.server", "must be an https URL", "");
  checkRivals(["fcm"], "push.fcm", push, report);
}

function checkWebPush({ push }: Config, report: Report): void {
  const { webpush } = push;
  const { subject, vapid_file, allow_hosts } = webpush;
  const path = "push.webpush.subject";
  if (vapid_file === "") {
    for (const key of ["subject", "allow_hosts"] as const) {
      if (webpush[key].length === 0) continue;
      report("warning", `push.webpush.${key}`, "has no effect without push.webpush.vapid_file", "");
    }
    return;
  }
  if (subject === "") {
    report(
      "error",
      path,
      "is missing",
      'push services want to know whom to write to, such as "mailto:ops@example.org"',
    );
  } else if (!/^(mailto:[^\s@]+@[^\s@]+|https:\/\/[^\s/]\S*)$/.test(subject)) {
    const hint = subject.includes("@") ? `did you mean "mailto:${subject.replace(/^mailto:/, "")}"?` : "";
    report("error", path, `"${subject}" is neither a mailto: nor an https: URL`, hint);
  }
  allow_hosts.forEach((host, index) => {
    if (host.startsWith("[") || host.endsWith(".")) {
      report("error", `push.webpush.allow_hosts[${index}]`, "write it without brackets and without a last dot", "");
    }
  });
  checkRivals(["webpush", "unifiedpush"], "push.webpush", push, report);
}

function checkCertificates({ listen, tls }: Config, report: Report): void {
  const [certs, keys] = [tls.cert_file.length, tls.key_file.length];
  if (certs !== keys) {
    const [more, less] = certs > keys ? ["cert_file", "key_file"] as const : ["key_file", "cert_file"] as const;
    if (tls[less].length === 0) report("error", `tls.${more}`, `has no ${less}`, `set tls.${less}`);
    else {
      const hint = "one key for each certificate, in their order";
      report("error", `tls.${more}`, `there is no ${less} for each of them`, hint);
    }
  }
  const secure = listen.findIndex(({ scheme }) => scheme === "tls" || scheme === "wss");
  if (secure >= 0 && certs === 0 && keys === 0) {
    const { scheme } = listen[secure]!;
    report("error", `listen[${secure}]`, `${scheme} needs a certificate`, "set tls.cert_file and tls.key_file");
  } else if (secure < 0 && certs > 0) {
    report(
      "warning",
      "tls.cert_file",
      "has no effect without a tls or wss listener",
      "add tls://0.0.0.0:5061 to listen",
    );
  }
}

/** The PBX is called from a listener of its transport, and answers and calls us there. */
/** a PBX that trusts our address must not see the REGISTERs of phones come from there. */
function checkOwnPort({ listen, pbx }: Config, report: Report): void {
  if (pbx === null) return;
  const { trusts_us, own_port } = pbx;
  const stream = pbx.uri.find(({ transport }) => transport !== "udp")?.transport;
  if (own_port === 0) {
    if (!trusts_us) return;
    const message =
      "anybody could register as anybody: what phones register leaves from the address that the PBX trusts";
    const hint = stream === undefined
      ? "set own_port, and have the PBX trust that port alone, or use credentials_file"
      : `use credentials_file: a ${stream} connection cannot leave from an own_port`;
    return report("error", "pbx.trusts_us", message, hint);
  }
  if (stream !== undefined) {
    const message = `works over UDP alone, a ${stream} connection takes another source port each time`;
    return report("error", "pbx.own_port", message, "use credentials_file, or transport=udp in pbx.uri");
  }
  if (!listen.some(({ scheme }) => scheme === "udp")) {
    return report("error", "pbx.own_port", "there is no udp listener beside it", "add udp://0.0.0.0:5060 to listen");
  }
  const same = listen.findIndex(({ scheme, port }) => scheme === "udp" && port === own_port);
  if (same < 0) return;
  report("error", "pbx.own_port", `is the port of listen[${same}], from where phones are forwarded`, "take another");
}

function checkWayToPbx({ listen, pbx }: Config, report: Report): void {
  if (pbx === null) return;
  const isTls = pbx.uri.some(({ transport }) => transport === "tls");
  if (isTls && !listen.some(({ scheme }) => scheme === "tls")) {
    report("error", "pbx.uri", "there is no tls listener to call it from", "add tls://0.0.0.0:5061 to listen");
  }
  if (!isTls && pbx.ca_file !== "") {
    report("warning", "pbx.ca_file", "has no effect: pbx.uri is not called by TLS", "add ;transport=tls to pbx.uri");
  }
}

/** A webhook or sender with the name of a push service takes the pushes of that service. */
function checkRivals(
  names: readonly string[],
  service: string,
  push: Config["push"],
  report: Report,
): void {
  for (const name of names) {
    for (const rival of ["http", "webhook"] as const) {
      if (!Object.hasOwn(push[rival], name)) continue;
      report("warning", `push.${rival}.${name}`, `takes the pushes that ${service} would send`, "remove one of them");
    }
  }
}

/** TCP, TLS, WebSocket and the control port share one space of ports; UDP has its own. Port 0 never clashes. */
function checkListeners(config: Config, report: Report): void {
  const taken = new Map<string, string>();
  const claim = (space: string, host: string, port: number, path: string) => {
    const name = `${space} ${host.toLowerCase()} ${port}`;
    const first = taken.get(name);
    if (port === 0 || first === undefined) taken.set(name, path);
    else report("error", path, `listens on the same address and port as ${first}`, "");
  };
  config.listen.forEach((entry, index) => {
    claim(entry.scheme === "udp" ? "udp" : "tcp", entry.host, entry.port, `listen[${index}]`);
  });
  config.control.listen.forEach((entry, index) => {
    if (entry.scheme === "http") claim("tcp", entry.host, entry.port, `control.listen[${index}]`);
    else claim("unix", entry.path, 1, `control.listen[${index}]`);
  });
}
