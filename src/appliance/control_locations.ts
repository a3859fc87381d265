/** `/v1/locations`: who is registered, and devices set by hand. Also reads the AoRs that people type. */
import { ApiError } from "../control/backend.ts";
import type { DevicePatch, Location, LocationDevice, Page, PageQuery } from "../control/backend.ts";
import { deviceShape, locationShape, type Upkeeps } from "../control/shapes.ts";
import type { Flow } from "../core/sip/flow.ts";
import { aorOf, parseUri, type Uri } from "../core/sip/uri.ts";
import type { Aor, Contact, ContactFields } from "../core/usrloc/contact.ts";
import { ControlResource, unknownDevice } from "./control_resource.ts";
import { aorUpkeep, deviceUpkeep } from "../core/registrar/upkeep.ts";

/** Devices set by hand without an expiry: until somebody deletes them. */
const NEVER_MS = 10 * 365 * 86_400_000;

export class ControlLocations extends ControlResource {
  resolveAor(text: string): string {
    const address = text.replace(/^sips?:/i, "");
    const domain = this.domains()[0] ?? "";
    const whole = address.includes("@") || domain === "" ? address : `${address}@${domain}`;
    // Without any domain there is nobody yet, so that whoever is asked for is unknown and not wrong.
    const uri = parseUri("sip:" + (whole.includes("@") ? whole : whole + "@invalid"));
    if (uri === null || uri.user === "") {
      throw new ApiError(
        400,
        "invalid_aor",
        `Cannot read address of record "${text.slice(0, 100)}"`,
        "Give user@domain, or a user of the first domain; escape in a path what is no letter or digit (@ may stay)",
      );
    }
    return whole.includes("@") ? aorOf(uri) : whole;
  }

  locations(query: PageQuery & { filter: string }): Page<Location> {
    const keys: string[] = [];
    for (const aor of this.appliance.core.usrloc.all()) {
      if (aor.key.includes(query.filter) && (query.after === "" || aor.key > query.after)) keys.push(aor.key);
    }
    keys.sort();
    const page = keys.slice(0, query.limit);
    return {
      items: page.map((key) => this.shape(this.appliance.core.usrloc.find(key)!)),
      next: keys.length > page.length ? page.at(-1)! : null,
    };
  }

  location(aor: string): Location {
    return this.shape(this.aor(aor));
  }

  deleteLocation(key: string): void {
    const aor = this.aor(key);
    this.input(() => {
      for (const contact of [...aor.contacts]) this.appliance.core.usrloc.remove(contact, "control");
    });
  }

  putDevice(key: string, id: string, patch: DevicePatch): LocationDevice {
    const { core } = this.appliance;
    const known = core.usrloc.find(key)?.contacts.find((contact) => contact.id === id) ?? null;
    if (known === null) this.checkNew(key, id, patch);
    const uri = patch.contact === undefined ? null : readContact(patch.contact);
    return this.input(() => {
      const flow = uri === null ? known?.flow ?? null : this.flowTo(uri);
      const [user = "", domain = ""] = splitAor(key);
      const aor = core.usrloc.ensure(key, user, domain, core.bindings.aorId(key));
      const fields = fieldsOf(known, patch, flow, this.nowMs);
      const saved = core.usrloc.save(aor, known, id, fields, flow);
      if (patch.push !== undefined) {
        saved.push = fields.push;
        core.usrloc.touched(saved);
      }
      core.deviceSet(saved);
      return deviceShape(saved, this.upkeeps, this.nowMs);
    });
  }

  deleteDevice(key: string, id: string): void {
    const contact = this.aor(key).contacts.find((one) => one.id === id);
    if (contact === undefined) throw unknownDevice(key, id);
    this.input(() => this.appliance.core.usrloc.remove(contact, "control"));
  }

  private checkNew(key: string, id: string, { contact }: DevicePatch): void {
    if (contact === undefined) {
      throw new ApiError(404, "unknown_device", `${key} has no device ${id}`, "Give contact to make a static device");
    }
    if (!/^[a-z0-9]{1,64}$/.test(id)) {
      throw new ApiError(
        400,
        "invalid_device_id",
        `Cannot use "${id.slice(0, 100)}" as a device id`,
        "Take up to 64 lower-case letters and digits",
      );
    }
    const other = this.appliance.core.usrloc.contact(id);
    if (other !== undefined) {
      throw new ApiError(
        409,
        "device_id_taken",
        `${other.aor.key} has a device ${id} already`,
        "Take another id, or DELETE that device",
      );
    }
    this.checkDomain(key);
  }

  /** Nobody would ever call a device of a domain that is not ours. */
  private checkDomain(key: string): void {
    const { domain } = this.appliance.config;
    const own = splitAor(key)[1];
    if (domain.length === 0 || domain.some((name) => name.toLowerCase() === own)) return;
    throw new ApiError(400, "foreign_domain", `${own} is none of our domains`, `Ours: ${domain.join(", ")}`);
  }

  private shape(aor: Aor): Location {
    return locationShape(aor, this.upkeeps, this.nowMs);
  }

  private get upkeeps(): Upkeeps {
    const { core, config } = this.appliance;
    return {
      upstreamMode: core.mid?.mode ?? null,
      upkeepOf: (contact) => deviceUpkeep(contact, core.mid, core.clock.nowMs),
      upkeepOfAor: (aor) => aorUpkeep(aor, core.mid, core.clock.nowMs),
      reachabilityOf: (contact) => core.usrloc.reachability(contact, config.wake.idle),
    };
  }
}

function splitAor(key: string): [string, string] {
  const at = key.lastIndexOf("@");
  return [key.slice(0, at), key.slice(at + 1)];
}

function readContact(contact: string): Uri {
  const uri = parseUri(contact);
  if (uri !== null && uri.scheme !== "tel") return uri;
  throw new ApiError(
    400,
    "invalid_contact",
    `Cannot read contact "${contact}"`,
    "Give a SIP URI such as sip:alice@192.0.2.7:5060",
  );
}

/** What is known of the device, with the patch applied; nothing that a REGISTER said is lost. */
function fieldsOf(known: Contact | null, patch: DevicePatch, flow: Flow | null, nowMs: number): ContactFields {
  const push = patch.push === undefined ? known?.push ?? null : patch.push === null ? null : {
    provider: patch.push.provider.toLowerCase(),
    param: patch.push.param ?? "",
    prid: patch.push.prid,
    tokenState: "unknown" as const,
    registeredAtMs: nowMs,
    keys: patch.push.keys,
    isByHand: true,
  };
  return {
    uri: patch.contact ?? known!.uri,
    params: known?.params ?? "",
    instance: known?.instance ?? "",
    regId: known?.regId ?? 0,
    q: known?.q ?? 1000,
    // Another address: who comes from there has yet to show who it is.
    callId: patch.contact === undefined ? known?.callId ?? "" : "",
    cseq: known?.cseq ?? 0,
    expiresAtMs: patch.expires_in === undefined
      ? known?.expiresAtMs ?? nowMs + NEVER_MS
      : nowMs + patch.expires_in * 1000,
    registeredAtMs: known?.registeredAtMs ?? nowMs,
    path: known?.path ?? "",
    userAgent: patch.user_agent ?? known?.userAgent ?? "",
    kind: patch.kind ?? known?.kind ?? (push === null ? "desk" : "mobile"),
    push,
    flowKey: flow?.key ?? known?.flowKey ?? "",
  };
}
