/** The probes of `check`, which are the appliance's: the one file of cli/ that imports them. */
export { probe } from "../appliance/probe.ts";
export { probeLive } from "../appliance/live_probe.ts";
