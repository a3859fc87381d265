import { describe, expect, test } from "bun:test";
import { filesThere, read, repositoryFiles } from "./repository.ts";
import { blankLiterals } from "./source_text.ts";
import { textBreaches } from "./tracked_text.ts";

const files = repositoryFiles();

test("without git the same files are judged", () => {
  expect(filesThere().toSorted()).toEqual(files.toSorted());
});

/** Folders at a depth of `under` that hold files but no README.md, or an empty one. */
function withoutReadme(paths: readonly string[], under: string, textOf: (path: string) => string): string[] {
  const folders = new Set(
    paths.filter((path) => path.startsWith(under)).map((path) => path.split("/").slice(0, -1).join("/")),
  );
  folders.delete(under.slice(0, -1));
  return [...folders].filter((folder) => {
    const readme = `${folder}/README.md`;
    return !paths.includes(readme) || textOf(readme).trim() === "";
  });
}

test("every folder of src/ says in a README.md what it owns", () => {
  expect(withoutReadme(files, "src/", read)).toEqual([]);
});

test("a folder without README.md, or with an empty one, is found", () => {
  const paths = ["src/main.ts", "src/sip/via.ts", "src/push/a.ts", "src/push/README.md", "src/silo/README.md"];
  const textOf = (path: string) => path === "src/push/README.md" ? " \n" : "It owns the silo.";
  expect(withoutReadme(paths, "src/", textOf)).toEqual(["src/sip", "src/push"]);
});

test("file names are snake_case", () => {
  const names = files.map((path) => path.slice(path.lastIndexOf("/") + 1));
  expect(names.filter((name) => name.endsWith(".ts") && !isSnakeCase(name))).toEqual([]);
  expect(["via.ts", "name_addr.test.ts", "npm_sip.d.ts", "http1.ts"].every(isSnakeCase)).toBe(true);
  expect(["name-addr.ts", "nameAddr.ts", "Via.ts", "a-b.test.ts"].some(isSnakeCase)).toBe(false);
});

function isSnakeCase(name: string): boolean {
  return /^[a-z0-9]+(?:_[a-z0-9]+)*(?:\.test|\.d)?\.ts$/.test(name);
}

test("the top level holds what the tools force and nothing else", () => {
  const top = new Set(files.map((path) => path.split("/")[0]));
  const house = [".ci", ".gitignore", "LICENSE", "README.md", "build.ts", "config", "deno.json"];
  expect([...top].toSorted()).toEqual([...house, "package-lock.json", "package.json", "src", "test"].toSorted());
});

test("no file tells of one machine or of a package registry", () => {
  const texts = files.filter((path) => !path.endsWith(".dat"));
  expect(texts.flatMap((path) => textBreaches(read(path)).map((breach) => `${path}:${breach}`))).toEqual([]);
});

describe("the check of texts", () => {
  const path = (...parts: string[]) => ["", ...parts].join("/");
  const refused = [
    `see ${path("home", "ann", "latefork")}`,
    `"${path("root", ".npmrc")}"`,
    `cd ${path("work", "main")}`,
    `import "file:${path("", "", "x.ts")}"`,
    `"resolved${'": "'}https://x/y.tgz"`,
    `https://${["registry", "npmjs", "org"].join(".")}/yaml`,
    `http://npm-${"registry"}.local:4873/`,
  ];
  for (const text of refused) {
    test(`refuses ${text}`, () => expect(textBreaches(`first line\n${text}`)[0]).toStartWith("2: "));
  }

  const accepted = [
    "/etc/latefork.yaml",
    "/var/lib/latefork/latefork.db",
    "https://example.org/home/page",
    "$HOME/work",
    "/v1/work",
  ];
  for (const text of accepted) {
    test(`accepts ${text}`, () => expect(textBreaches(text)).toEqual([]));
  }
});

test("private members are marked one way: the keyword, which constructor parameters need anyway", () => {
  const sources = files.filter((path) => path.endsWith(".ts"));
  const marked = (source: string) => /(?<![\w$])#[a-zA-Z_]/.test(blankLiterals(source));
  expect(sources.filter((path) => marked(read(path)))).toEqual([]);
  expect(marked("class A { #a = 1; }") && !marked('// #a\nconst a = "#a"; class A { private a = 1; }')).toBe(true);
});
