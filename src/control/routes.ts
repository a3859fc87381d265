/** All routes of the control port, resource by resource: the order of `GET /`. */
import { BACKUP } from "./backup.ts";
import { CALLS } from "./calls.ts";
import { CONFIG } from "./config.ts";
import { DEVICES } from "./devices.ts";
import { directory } from "./directory.ts";
import { EVENTS } from "./events.ts";
import { EXPLAIN } from "./explain.ts";
import { HEALTH } from "./health.ts";
import { HTABLES } from "./htables.ts";
import { LOCATIONS } from "./locations.ts";
import { OPERATION } from "./operation.ts";
import { PBX } from "./pbx.ts";
import { PUSH } from "./push.ts";
import type { Route } from "./route.ts";
import { SILO } from "./silo.ts";
import { STATUS } from "./status.ts";
import { TLS } from "./tls.ts";
import { TRACE } from "./trace.ts";

export const ROUTES: readonly Route[] = [
  ...directory(() => ROUTES),
  ...HEALTH,
  ...STATUS,
  ...LOCATIONS,
  ...DEVICES,
  ...CALLS,
  ...SILO,
  ...HTABLES,
  ...PUSH,
  ...PBX,
  ...EXPLAIN,
  ...EVENTS,
  ...TRACE,
  ...TLS,
  ...CONFIG,
  ...OPERATION,
  ...BACKUP,
];
