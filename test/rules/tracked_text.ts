/** What no file of the repository may say: where one developer's machine keeps things, and where packages came from. */

/** Split, so that this file does not break its own rule. */
const hosts = [["registry", "npmjs", "org"], ["registry", "yarnpkg", "com"], ["npm", "jsr", "io"], [
  "deb",
  "debian",
  "org",
]]
  .map((parts) => parts.join("."));

const patterns: [RegExp, string][] = [
  [/(?<![\w.$}~-])\/(?:work|home|root|Users|private|mnt)\/[\w.-]+/g, "is a path of one machine"],
  [/\bfile:\/\/\/\w/g, "is a path of one machine"],
  [/(?<![\w.$}~-])\/tmp\/(?:probe|frame|bash_jobs)\b/g, "is a path of one machine"],
  [/"resolved": *"/g, "tells where a package came from (npm install --omit-lockfile-registry-resolved)"],
  [/https?:\/\/[^\s/"'`]*(?:registry|artifactory|verdaccio|npmmirror)[^\s"'`]*/g, "is a package registry"],
  ...hosts.map((host): [RegExp, string] => [new RegExp(host.replaceAll(".", "\\."), "g"), "is a package registry"]),
];

/** Breaches in one file's text, as `line: what`. */
export function textBreaches(text: string): string[] {
  return patterns.flatMap(([pattern, reason]) =>
    [...text.matchAll(pattern)].map((match) =>
      `${text.slice(0, match.index).split("\n").length}: "${match[0]}" ${reason}`
    )
  );
}
