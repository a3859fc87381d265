/** Who takes part in the demo, and on which ports: builds the PBX, the push receiver, latefork and the phones. */
import { Box } from "./box.ts";
import { CertificateAuthority } from "./certificate.ts";
import { freePort, type LineTransport, LOOPBACK } from "./line.ts";
import { DemoPbx } from "./pbx.ts";
import { Phone } from "./phone.ts";
import { Receiver } from "./receiver.ts";
import type { Stage } from "./stage.ts";
import { fresh } from "./ua.ts";

export const DOMAIN = "example.org";
/** `wake.window` of the demo. The default of 30 s is too long to watch. */
export const WINDOW_MS = 2500;

export interface Cast {
  readonly stage: Stage;
  readonly pbx: DemoPbx;
  readonly box: Box;
  readonly receiver: Receiver;
  readonly config: string;
  readonly ports: Ports;
  /** Alice has a desk phone that is always awake, and a mobile. */
  readonly desk: Phone;
  readonly mobile: Phone;
  /** Carol has a mobile that uses TLS, Dave a web page that uses WSS. */
  readonly carol: Phone;
  readonly dave: Phone;
  /** How long a push takes to wake its phone; null: the push is lost. */
  wakeAfterMs: number | null;
}

/** latefork's. */
export interface Ports {
  /** UDP and TCP. */
  readonly sip: number;
  readonly tls: number;
  readonly wss: number;
  readonly control: number;
}

/** Starts PBX, receiver and phones. Of latefork it writes the config; `cast.box.start()` starts it. */
export async function assemble(stage: Stage, onCallWanted: (user: string) => string): Promise<Cast> {
  const ports: Ports = {
    sip: await freePort(),
    tls: await freePort(),
    wss: await freePort(),
    control: await freePort(),
  };
  const authority = new CertificateAuthority("The demo's CA");
  const portOf = { udp: ports.sip, tcp: ports.sip, tls: ports.tls, wss: ports.wss };
  const users = new Map(["alice", "carol", "dave"].map((user) => [user, fresh("secret")]));
  const phone = (name: string, user: string, transport: LineTransport, token: string | null) => {
    const [password, proxyPort] = [users.get(user)!, portOf[transport]];
    return new Phone({ stage, name, user, domain: DOMAIN, password, transport, proxyPort, ca: authority.cert, token });
  };
  const desk = phone("alice's desk phone", "alice", "udp", null);
  const mobiles = [
    phone("alice's mobile", "alice", "tcp", fresh("token")),
    phone("carol's mobile", "carol", "tls", fresh("token")),
    phone("dave's web page", "dave", "wss", fresh("token")),
  ];
  const pbx = await DemoPbx.start({ stage, domain: DOMAIN, users, proxyPort: ports.sip });
  const token = fresh("bearer");
  const receiver = new Receiver({
    stage,
    token,
    onCallWanted,
    onPush: ({ body }) => {
      const woken = mobiles.find((mobile) => mobile.options.token === body.prid);
      if (body.event !== "call" || woken === undefined || cast.wakeAfterMs === null) return;
      setTimeout(() => woken.wake().catch((error) => stage.end(error)), cast.wakeAfterMs);
    },
  });
  const box = new Box(ports.control);
  const config = configText(ports, pbx.port, receiver.url);
  box.write(config, token, authority.issue({ names: ["sip.example.org"], addresses: [LOOPBACK] }));
  const [mobile, carol, dave] = mobiles as [Phone, Phone, Phone];
  const cast: Cast = { stage, pbx, box, receiver, config, ports, desk, mobile, carol, dave, wakeAfterMs: 1000 };
  return cast;
}

/** Ends all of them. */
export async function dismiss(cast: Cast): Promise<void> {
  for (const phone of [cast.desk, cast.mobile, cast.carol, cast.dave]) phone.sleep();
  cast.receiver.stop();
  await cast.box.remove();
  cast.pbx.stop();
}

function configText({ sip, tls, wss, control }: Ports, pbxPort: number, receiverUrl: string): string {
  return `domain: ${DOMAIN}
pbx: { uri: "sip:127.0.0.1:${pbxPort};transport=udp" }
push: { webhook: { acme: { url: "${receiverUrl}/wake", token_file: push.token } } }
store: { path: latefork.db }
# ports of the demo, and a short window so that you need not wait
listen: ["udp://127.0.0.1:${sip}", "tcp://127.0.0.1:${sip}", "tls://127.0.0.1:${tls}", "wss://127.0.0.1:${wss}/sip"]
tls: { cert_file: sip.pem, key_file: sip.key }
control: { listen: ["http://127.0.0.1:${control}"] }
wake: { window: ${WINDOW_MS}ms }
log: { level: warn }
`;
}
