/** `/v1/silo`: the open calls by AoR, and branches for all that is live (`ts.dump`, `ts.lookup`, `ts_append`). */
import { renderTable } from "../observe/table.ts";
import { either, jsonAnswer, listAnswer } from "./answer.ts";
import { aorParam, registeredAor } from "./aor.ts";
import { asInput, type ControlHost } from "./host.ts";
import { AOR, FORMAT, type Route, route } from "./route.ts";

/** `GET /v1/silo/{aor}` */
interface SiloJson {
  aor: string;
  calls: {
    id: string;
    call_id: string;
    from: string;
    held: boolean;
    branches: number;
    /** Devices that are being woken. */
    waiting: number;
    age_ms: number;
  }[];
}

export const SILO: readonly Route[] = [
  route({
    id: "silo",
    method: "GET",
    path: "/v1/silo",
    summary: "open calls by AoR",
    query: [FORMAT],
    example: "/v1/silo",
    isList: true,
    answer(c, host) {
      const aors = [...host.core.silo.openByAor().keys()].sort();
      return listAnswer(c, aors.map((aor) => siloJson(host, aor)), siloText);
    },
  }),
  route({
    id: "siloOf",
    method: "GET",
    path: "/v1/silo/{aor}",
    summary: "open calls of one AoR",
    query: [FORMAT],
    example: `/v1/silo/${AOR}`,
    // An AoR without open calls gives an empty list, not a 404.
    answer: (c, host) => either(c, siloJson(host, aorParam(c, host)), (entry) => siloText([entry])),
  }),
  route({
    id: "append",
    method: "POST",
    path: "/v1/silo/{aor}/append",
    summary: "add branches for all live devices to every open call of the AoR",
    example: `/v1/silo/${AOR}/append`,
    answer(c, host) {
      const aor = registeredAor(host, aorParam(c, host));
      const added = asInput(host, () => host.core.silo.appendAll(aor));
      // Late branches of REGISTERs are counted by the silo; these are made by hand.
      for (let i = 0; i < added.branches; i++) host.metrics.count("late_branches_total");
      return jsonAnswer(added);
    },
  }),
];

function siloJson({ core, turn }: ControlHost, aor: string): SiloJson {
  return {
    aor,
    calls: core.silo.callsOf(aor).map((call) => {
      const record = call.snapshot();
      return {
        id: record.id,
        call_id: record.callId,
        from: record.from,
        held: call.isHeld,
        branches: record.branches.length,
        waiting: record.wakes.filter(({ state }) => state === "waiting").length,
        age_ms: Math.round(turn.nowMs - record.startedAtMs),
      };
    }),
  };
}

function siloText(entries: readonly SiloJson[]): string {
  const rows = entries.flatMap(({ aor, calls }) => calls.map((call) => ({ aor, call })));
  return renderTable(rows, [
    { title: "aor", value: ({ aor }) => aor },
    { title: "call", value: ({ call }) => call.id },
    { title: "from", value: ({ call }) => call.from, maxWidth: 36 },
    { title: "age", value: ({ call }) => `${(call.age_ms / 1000).toFixed(1)} s`, align: "right" },
    { title: "held", value: ({ call }) => call.held ? "yes" : "no" },
    { title: "branches", value: ({ call }) => call.branches, align: "right" },
    { title: "waking", value: ({ call }) => call.waiting, align: "right" },
  ], "no open calls");
}
