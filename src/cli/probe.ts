/** The way from `check` to the appliance's probe. */
export { probe } from "../appliance/probe.ts";
