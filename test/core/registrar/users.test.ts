import { describe, expect, test } from "bun:test";
import { UserDirectory } from "../../../src/core/registrar/users.ts";
import { digestUser, wireText } from "../../../src/core/sip/digest.ts";

const alice = digestUser("alice", "example.org", "wonder");

describe("R-16 the directory", () => {
  test("finds by exact name and by realm in any case", () => {
    const directory = new UserDirectory([alice, { ...alice, realm: "other.org" }, { ...alice, ha1Md5: "0" }]);
    expect(directory.size).toBe(2);
    expect(directory.find("alice", "Example.ORG")).toEqual(alice);
    expect(directory.find("Alice", "example.org")).toBeNull();
    expect(directory.find("alice", "elsewhere.org")).toBeNull();
    expect(directory.find("__proto__", "example.org")).toBeNull();
  });

  test("a name from the network cannot reach into the realm", () => {
    const directory = new UserDirectory([{ ...alice, realm: "a:example.org" }]);
    expect(directory.find("alice:a", "example.org")).toBeNull();
    expect(directory.find("alice\na:example.org", "")).toBeNull();
  });

  test("knows its realms, each once", () => {
    const realms = ["b.org", "a.org", "B.org"];
    const directory = new UserDirectory(realms.map((realm, index) => digestUser(`user${index}`, realm, "p")));
    expect(directory.realms).toEqual(["b.org", "a.org"]);
    expect(new UserDirectory([]).realms).toEqual([]);
  });

  test("knows what most users have", () => {
    const old = (user: string) => ({ ...alice, user, ha1Sha256: "" });
    const offer = (...users: typeof alice[]) => new UserDirectory(users).commonOffer;
    expect(offer()).toEqual({ hasMd5: true, hasSha256: true });
    expect(offer(alice, old("b"))).toEqual({ hasMd5: true, hasSha256: true });
    expect(offer(alice, old("b"), old("c"))).toEqual({ hasMd5: true, hasSha256: false });
    expect(offer({ ...alice, ha1Md5: "" })).toEqual({ hasMd5: false, hasSha256: true });
  });

  test("names beyond ASCII are found as they come in messages", () => {
    const directory = new UserDirectory([digestUser("jörg", "bücher.example", "größe")]);
    expect(directory.find(wireText("jörg"), wireText("bücher.example"))?.realm).toBe(wireText("bücher.example"));
    expect(directory.find("jörg", "bücher.example")).toBeNull();
  });
});
