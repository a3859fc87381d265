/** The way from `check` to the appliance's probes. */
export { probe } from "../appliance/probe.ts";
export { probeLive } from "../appliance/live_probe.ts";
