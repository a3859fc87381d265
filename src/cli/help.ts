/**
 * The verbs as people read them: help texts and shell completion are made from this table. Must not know how a verb
 * works.
 */

export interface VerbHelp {
  name: string;
  /** Behind the name. */
  usage: string;
  /** One line. */
  what: string;
  /** Further lines of `help VERB`. */
  more?: readonly string[];
  options?: readonly string[];
  /** Words that may follow the verb. */
  words?: readonly string[];
  /** Talks to a running appliance. */
  isClient?: boolean;
  /** `help VERB` does not speak of the config file: the verb reads none, or `more` says which. */
  hasNoConfig?: boolean;
}

const CONFIG_OPTION = "-c, --config FILE  default: $LATEFORK_CONFIG, ./latefork.yaml, /etc/latefork.yaml";
const JSON_OPTION = "--json  print the API's JSON";

/** What this version has. */
export const VERBS: readonly VerbHelp[] = [
  {
    name: "serve",
    usage: "",
    what: "run the appliance",
    more: [
      "Prints what it listens on, then `ready`, then log lines, all on stderr. SIGHUP reloads; SIGTERM drains, a second one",
      "ends at once. Exit codes: 78 the config cannot be used, 1 a port cannot be opened.",
    ],
  },
  {
    name: "check",
    usage: "[--live] [--json]",
    what: "say everything that is wrong with the config",
    more: [
      "Reads the config and every file it names, opens ports and looks into the database: a line for each part. What an",
      "appliance that runs with this config holds is no fault. Nothing is changed.",
      "--live also looks up the PBX's names, sends OPTIONS to each of its addresses from a free port, and asks the push",
      "services as far as no phone hears of it: APNs and FCM judge a push to a token nobody has (both say whether the",
      "key is taken), Web Push services of known phones and webhooks are connected to, a sender of push.http is asked what",
      "its `ask` says. Nobody is asked for more than ten seconds. APNs sees a new provider token each time: not more",
      "often than every 20 minutes, please.",
      "Exit codes: 0 all is well, 78 the config is wrong, 1 somebody asked by --live failed.",
    ],
    options: ["--live  ask PBX, DNS and push services, too", "--json  problems and findings as JSON"],
  },
  {
    name: "init",
    usage: "",
    what: "write a first latefork.yaml",
    hasNoConfig: true,
    more: ["Writes to ./latefork.yaml or to -c FILE; never over a file that exists."],
  },
  {
    name: "demo",
    usage: "[--stay]",
    what: "see a sleeping phone woken for a call, with everything on this machine",
    hasNoConfig: true,
    options: ["--stay  keep it running afterwards"],
  },
  {
    name: "status",
    usage: "[--json]",
    what: "one screen: PBX, counts, push, problems",
    options: [JSON_OPTION],
    isClient: true,
  },
  {
    name: "locations",
    usage: "[AOR]",
    what: "registered devices",
    options: [
      "--query TEXT  AoRs that contain it",
      "--limit N  so many (default 1000)",
      "--after AOR  from there on",
      JSON_OPTION,
    ],
    isClient: true,
  },
  {
    name: "calls",
    usage: "[ID]",
    what: "calls, newest first; with an ID the ladder of one",
    more: ["ID is ours (first column) or a Call-ID."],
    options: [
      "--state open|ended",
      "--aor AOR",
      "--limit N  so many (default 1000)",
      "--after ID  from there on",
      JSON_OPTION,
    ],
    isClient: true,
  },
  { name: "silo", usage: "[AOR]", what: "open calls by AoR", options: [JSON_OPTION], isClient: true },
  {
    name: "htable",
    usage: "ls [TABLE] | get TABLE KEY | set TABLE KEY VALUE | rm TABLE KEY",
    what: "read and change tables",
    options: ["--ttl TIME  for set: 90s, 10m, 1h (default: the table's)", JSON_OPTION],
    words: ["ls", "get", "set", "rm"],
    isClient: true,
  },
  {
    name: "push",
    usage: "test AOR",
    what: "send a test push to a device",
    more: ["Exit code 1 if the push service did not accept it."],
    options: ["--device ID  this one; default: the first that can be woken", JSON_OPTION],
    words: ["test"],
    isClient: true,
  },
  {
    name: "trace",
    usage: "[AOR]",
    what: "the last SIP messages",
    options: ["--call ID  of one call", "--limit N  the newest so many (default 200)", JSON_OPTION],
    isClient: true,
  },
  {
    name: "reload",
    usage: "[--json]",
    what: "read the config file again",
    more: ["Exit code 78 and no change if it is wrong."],
    options: [JSON_OPTION],
    isClient: true,
  },
  {
    name: "resync",
    usage: "[--json]",
    what: "renew every registration at the PBX, as after its database was lost",
    options: [JSON_OPTION],
    isClient: true,
  },
  {
    name: "drain",
    usage: "[--json]",
    what: "take no new calls, end when the open ones have ended",
    more: [
      "The process exits, as after SIGTERM, when calls have ended (30 s at most) and what is on its way has arrived (32 s",
      "at most). systemd with Restart=always starts it again.",
    ],
    options: [JSON_OPTION],
    isClient: true,
  },
  { name: "backup", usage: "FILE", what: "write a consistent copy of the database", isClient: true },
  {
    name: "user",
    usage: "add|rm|ls ...",
    what: "edit the users file",
    words: ["add", "rm", "ls"],
  },
  {
    name: "keys",
    hasNoConfig: true,
    usage: "apns FILE | vapid [FILE] [--json]",
    what: "look at a key for a push service or make it, and say what to put where",
    more: [
      "apns FILE: the .p8 file Apple gave for push. Exit code 1 if it is none. Nothing of the key is printed.",
      "vapid FILE: the keys for Web Push and UnifiedPush; made if there is no such file. Prints the public one.",
      "vapid: prints a new pair, as such a file.",
    ],
    options: ["--json  as JSON"],
    words: ["apns", "vapid"],
  },
  {
    name: "config",
    usage: "show",
    what: "the effective config without secrets",
    more: ["Of the config file; with --control of the running appliance."],
    options: ["--json  as JSON"],
    words: ["show"],
  },
  { name: "version", usage: "[--json]", what: "print the version", options: ["--json  as JSON"], hasNoConfig: true },
  {
    name: "completion",
    hasNoConfig: true,
    usage: "[bash]",
    what: "print completion for the shell",
    more: ['eval "$(latefork completion)"'],
    words: ["bash"],
  },
  { name: "help", usage: "[VERB]", what: "print this, or more about a verb", hasNoConfig: true },
];

/** Verbs that this version does not have yet, and what to use until then. */
export const NOT_BUILT: Readonly<Record<string, string>> = {
  explain: "`latefork locations AOR` says whether a phone can be woken, `latefork calls ID` what became of a call",
  service: "the README has a unit for systemd, to be copied",
  restore: "stop latefork, copy the backup to the place of store.path, and remove the -wal file beside it",
};

/** What a call of a verb in {@link NOT_BUILT} is answered. */
export function notBuilt(verb: string): string {
  return `${verb} is not in this version\nInstead: ${NOT_BUILT[verb]}`;
}

const GLOBAL = `Options of every verb:
  -c, --config FILE    config file (default: $LATEFORK_CONFIG, ./latefork.yaml, /etc/latefork.yaml)
  -h, --help           help for the verb
Of verbs that talk to a running appliance:
  --control URL        http://127.0.0.1:8060 or unix:/run/latefork.sock (default: from the config)
  --token-file FILE    bearer token (default: from the config)

Exit codes: 0 ok, 1 failed, 64 usage, 69 control port not answering, 78 config
`;

/** `latefork help` */
export function helpText(): string {
  const width = Math.max(...VERBS.map(({ name }) => name.length));
  const lines = VERBS.map(({ name, what }) => `  ${name.padEnd(width)}  ${what}`);
  return `latefork: wakes sleeping phones for the calls of a PBX\n\nusage: latefork VERB [ARGUMENTS]\n\n${
    lines.join("\n")
  }\n\n${GLOBAL}`;
}

/** `latefork push test AOR`: how the verb is called; null if there is no such verb. */
export function verbUsage(name: string): string | null {
  const verb = VERBS.find((candidate) => candidate.name === name);
  return verb === undefined ? null : usageOf(verb);
}

function usageOf({ name, usage }: VerbHelp): string {
  return usage === "" ? `latefork ${name}` : `latefork ${name} ${usage}`;
}

/** `latefork help VERB`; null if there is no such verb. */
export function verbHelpText(name: string): string | null {
  const verb = VERBS.find((candidate) => candidate.name === name);
  if (verb === undefined) return null;
  const options = [
    ...verb.options ?? [],
    ...(verb.hasNoConfig ? [] : [CONFIG_OPTION]),
    ...(verb.isClient ? ["--control URL, --token-file FILE  where the appliance is (default: from the config)"] : []),
  ];
  return [
    `usage: ${usageOf(verb)}`,
    "",
    verb.what[0]!.toUpperCase() + verb.what.slice(1) + ".",
    ...verb.more ?? [],
    ...(options.length === 0 ? [] : ["", ...options.map((option) => `  ${option}`)]),
    "",
  ].join("\n");
}

/** A completion function for bash. */
export function bashCompletion(): string {
  const options = (verb: VerbHelp) => {
    const own = (verb.options ?? []).map((option) => option.split(/[ ,]/)[0]!);
    return [...own, "--config", "--help", ...(verb.isClient ? ["--control", "--token-file"] : [])].join(" ");
  };
  const cases = VERBS.map((verb) => {
    const words = verb.name === "help" ? VERBS.map(({ name }) => name) : verb.words ?? [];
    return `    ${verb.name}) words="${[...words, options(verb)].join(" ")}" ;;`;
  });
  return `_latefork() {
  local word="\${COMP_WORDS[COMP_CWORD]}" words
  case "\${COMP_WORDS[COMP_CWORD-1]}" in
    -c|--config|--token-file|backup|apns|vapid) COMPREPLY=($(compgen -f -- "$word")); return ;;
  esac
  case "\${COMP_WORDS[1]}" in
${cases.join("\n")}
    *) words="" ;;
  esac
  [ "$COMP_CWORD" -eq 1 ] && words="${VERBS.map(({ name }) => name).join(" ")}"
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -F _latefork latefork
`;
}
