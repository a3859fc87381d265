/** The metrics that are read from the parts for each answer of `/metrics` (O-05). Keeps nothing. */
import type { Core } from "../core/core.ts";
import type { Htables } from "../core/htable/htables.ts";
import { upstreamStates } from "../core/registrar/refresh_outlook.ts";
import type { PushRelay } from "../io/push/relay.ts";
import type { Transports } from "../io/transport/transports.ts";
import type { Metrics } from "../observe/metrics.ts";
import type { Certificates } from "./certificates.ts";
import { flowSamples } from "./flow_samples.ts";

/** The parts that are measured. */
export interface GaugedParts {
  readonly core: Core;
  readonly transports: Transports;
  readonly relay: PushRelay;
  readonly htables: Htables;
  readonly certificates: Certificates;
  readonly version: string;
  /** `wake.idle` at this moment, ms. */
  idleMs(): number;
}

/** Registers all gauges. Called once, when every part is there. */
export function registerGauges(metrics: Metrics, parts: GaugedParts): void {
  const { core, transports, relay, htables, certificates, version, idleMs } = parts;
  metrics.gauge("locations", "Registered AoRs and devices", ["kind"], () => [
    [["aor"], core.usrloc.aorCount],
    [["device"], core.usrloc.contactCount],
  ]);
  metrics.gauge("calls_open", "Open calls", [], () => core.silo.openCalls);
  metrics.gauge(
    "flows",
    "Ways back to devices: live, lost, or unknown (silent for wake.idle)",
    ["transport", "state"],
    () => flowSamples(core.usrloc, idleMs()),
  );
  metrics.gauge(
    "sockets",
    "Remote addresses and connections there are, registered or not",
    ["transport", "state"],
    () => transports.flowSamples(),
  );
  // The transports count these in their own fields, once per datagram.
  metrics.gauge(
    "sip_messages_total",
    "SIP messages",
    ["direction", "transport", "kind"],
    () => transports.messageSamples(),
    "counter",
  );
  metrics.gauge(
    "upstream_bindings",
    "AoRs by the state of their binding at the PBX",
    ["state"],
    () =>
      [...upstreamStates(core.usrloc.all(), core.mid, core.clock.nowMs)].map(([state, count]) =>
        [[state], count] as const
      ),
  );
  metrics.gauge(
    "own_port_dropped_total",
    "Requests that came to pbx.own_port, where only answers are taken",
    [],
    () => [[[], transports.counts.ownPortDropped]],
    "counter",
  );
  metrics.gauge(
    "connections_refused_total",
    "Connections refused at once, or closed to make room",
    ["reason"],
    () => {
      const { refusedTotal, refusedPerSource, refusedSources, madeRoom } = transports.counts;
      return [
        [["limit"], refusedTotal],
        [["source_limit"], refusedPerSource],
        [["banned"], refusedSources],
        [["made_room"], madeRoom],
      ];
    },
    "counter",
  );
  metrics.gauge(
    "tls_certificate_days",
    "Days until a certificate expires",
    ["file"],
    () => certificates.infos().map(({ file, days_left }) => [[file], days_left] as const),
  );
  metrics.gauge("tls_handshakes_total", "TLS handshakes, in and out", ["result"], () => {
    const { handshakes, failedHandshakes } = transports.counts;
    return [[["done"], handshakes], [["failed"], failedHandshakes]];
  }, "counter");
  metrics.gauge("banned", "Banned sources", [], () => htables.get("banned")?.size ?? 0);
  metrics.gauge(
    "push_backends",
    "Push services by how they do",
    ["provider", "state"],
    () =>
      relay.backends().map(({ backend, state }) => [[backend.replace(/^(?:webhook|http)\./, ""), state], 1] as const),
  );
  metrics.gauge("build_info", "Version", ["version", "bun"], () => [[[version, Bun.version], 1]]);
  metrics.gauge("transactions", "Transactions in the table", ["side"], () => [
    [["server"], core.table.serverCount],
    [["client"], core.table.clientCount],
  ]);
  metrics.gauge("tombstones", "Ended calls that still listen", [], () => core.silo.tombstoneCount);
}
