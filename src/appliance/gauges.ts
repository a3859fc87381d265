/** What metrics are read from the appliance when somebody asks for them (O-05). Keeps nothing. */
import type { Appliance } from "./appliance.ts";
import { flowSamples } from "./flow_samples.ts";
import { upstreamStates } from "../core/registrar/upkeep.ts";

/** Registers them all; called once, when every part is there. */
export function registerGauges(appliance: Appliance): void {
  const { metrics, core } = appliance;
  metrics.gauge("locations", "Registered AoRs and devices", ["kind"], () => [
    [["aor"], core.usrloc.aorCount],
    [["device"], core.usrloc.contactCount],
  ]);
  metrics.gauge("calls_open", "Open calls", [], () => core.silo.openCalls);
  metrics.gauge(
    "flows",
    "Ways back to devices: live, lost, or unknown (silent for wake.idle)",
    ["transport", "state"],
    () => flowSamples(core.usrloc, appliance.config.wake.idle),
  );
  metrics.gauge(
    "sockets",
    "Remote addresses and connections there are, registered or not",
    ["transport", "state"],
    () => appliance.transports.flowSamples(),
  );
  // Counted in the transports' own fields, once per datagram, and only read here.
  metrics.gauge(
    "sip_messages_total",
    "SIP messages",
    ["direction", "transport", "kind"],
    () => appliance.transports.messageSamples(),
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
    "connections_refused_total",
    "Connections refused at once, or closed to make room",
    ["reason"],
    () => {
      const { refusedTotal, refusedPerSource, refusedSources, madeRoom } = appliance.transports.counts;
      return [
        [["limit"], refusedTotal],
        [["source_limit"], refusedPerSource],
        [["banned"], refusedSources],
        [["made_room"], madeRoom],
      ];
    },
    "counter",
  );
  metrics.gauge("banned", "Banned sources", [], () => appliance.htables.get("banned")?.size ?? 0);
  metrics.gauge(
    "push_backends",
    "Push services by how they do",
    ["provider", "state"],
    () =>
      appliance.relay.backends().map(({ backend, state }) => [[backend.replace(/^webhook\./, ""), state], 1] as const),
  );
  metrics.gauge("build_info", "Version", ["version", "bun"], () => [[[appliance.version, Bun.version], 1]]);
  metrics.gauge("transactions", "Transactions in the table", ["side"], () => [
    [["server"], core.table.serverCount],
    [["client"], core.table.clientCount],
  ]);
  metrics.gauge("tombstones", "Ended calls that still listen", [], () => core.silo.tombstoneCount);
}
