/** T-10: a connection to the PBX over which nothing comes any more, though nobody has closed it. */
import { describe, expect, test } from "bun:test";
import { Rig, TCP, type TestFlow } from "./rig.ts";
import { answer, methodOf, request, statusOf, value } from "./sip_text.ts";

const CONTACT = "sip:alice@192.168.9.9:5060";
const FROM = "<sip:alice@pbx.example.org>;tag=a";

function start(transport: "tcp" | "udp" = "tcp", qualify = 0): { rig: Rig; phone: TestFlow; old: TestFlow } {
  const rig = new Rig({
    pbx: { address: "10.0.0.10", port: 5060, transport },
    config: (config) => config.pbx!.qualify = qualify,
  });
  const phone = rig.flow("192.0.2.9", 40000);
  if (qualify === 0) rig.register("alice", phone, CONTACT);
  return { rig, phone, old: rig.pbx };
}

function send(rig: Rig, phone: TestFlow, method: string): void {
  const uri = method === "REGISTER" ? "sip:pbx.example.org" : "sip:bob@pbx.example.org";
  const to = method === "REGISTER" ? "<sip:alice@pbx.example.org>" : `<${uri}>`;
  const contact = method === "REGISTER" ? "<sip:alice@192.168.9.9:5070>" : `<${CONTACT}>`;
  rig.receive(phone, request(method, uri, { from: FROM, to, contact }));
}

describe("T-10 a mute connection to the PBX", () => {
  for (const method of ["REGISTER", "INVITE", "MESSAGE"]) {
    test(`T-10 ${method} times out on it: it is closed, and what comes next goes over a new one`, () => {
      const { rig, phone, old } = start();
      rig.pass(1000);
      send(rig, phone, method);
      expect(methodOf(old.one())).toBe(method);
      rig.pass(32_000);
      expect(old.state).toBe("closed");
      expect(rig.pbx).not.toBe(old);
      expect(rig.logs.filter((line) => line.startsWith("warn Nothing is heard over the connection"))).toHaveLength(1);
      phone.all();
      send(rig, phone, method);
      expect(methodOf(rig.pbx.one())).toBe(method);
    });
  }

  test("T-10 so it is when OPTIONS of qualify time out", () => {
    const { rig, old } = start("tcp", 30_000);
    rig.pass(0);
    expect(methodOf(old.one())).toBe("OPTIONS");
    rig.pass(32_000);
    expect(old.state).toBe("closed");
    rig.pass(5000);
    const options = rig.pbx.all().find((text) => methodOf(text) === "OPTIONS")!;
    rig.receive(rig.pbx, answer(options, 200));
    expect(rig.core.qualify!.state).toBe("up");
  });

  test("T-10 what else waits on it fails at once, not each after its own 32 s", () => {
    const { rig, phone, old } = start();
    rig.pass(1000);
    send(rig, phone, "REGISTER");
    rig.pass(20_000);
    send(rig, phone, "INVITE");
    rig.pass(12_000);
    expect(old.state).toBe("closed");
    expect(phone.all().map(statusOf)).toContain(503);
  });

  test("T-10 a PBX that leaves one request without an answer and answers others keeps its connection", () => {
    const { rig, phone, old } = start();
    rig.pass(1000);
    send(rig, phone, "MESSAGE");
    rig.pass(10_000);
    send(rig, phone, "REGISTER");
    const register = old.all().at(-1)!;
    rig.receive(old, answer(register, 200, { contact: value(register, "Contact") }));
    rig.pass(22_000);
    expect(old.state).toBe("open");
  });

  test("T-10 over UDP there is nothing to close, and a phone's connection is the phone's", () => {
    const { rig, phone, old } = start("udp");
    const other = rig.flow("192.0.2.10", 40001, TCP);
    rig.register("bob", other, "sip:bob@192.168.9.10:5060;transport=tcp");
    send(rig, phone, "MESSAGE");
    rig.receive(rig.pbx, request("INVITE", rig.upstreamUri("bob"), { sentBy: "10.0.0.10" }));
    rig.pass(40_000);
    expect([old.state, other.state]).toEqual(["open", "open"]);
  });
});
