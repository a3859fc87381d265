/** The probes of `check`, which are the appliance's: the one file of cli/ that imports them. */
export { probeLocal } from "../appliance/local_probe.ts";
export { probeLive } from "../appliance/live_probe.ts";
