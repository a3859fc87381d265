/** Section `pbx:`. */
import { CONTACT_PLACEMENTS, REGISTRAR_MODES } from "../../core/registrar/settings.ts";
import { boolean, choice, count, DAY, duration, file, HOUR, MINUTE, network, pbxUri, secretFile } from "../kinds.ts";
import { key, list, optional } from "../table.ts";

export const PBX = optional(
  "The PBX behind latefork (mid-registrar). Without this section latefork is the registrar itself.",
  {
    uri: list(pbxUri, {
      default: [],
      takesOne: true,
      isRequired: true,
      applies: "restart",
      doc:
        "Where the PBX is, or a list in order of preference, of which this version tries the first. Names are looked up as A " +
        "and AAAA, not SRV.",
      example: "sip:192.168.1.10:5060;transport=udp",
    }),
    ca_file: key(file, {
      default: "",
      applies: "live",
      doc: "transport=tls and sips: the CA (PEM) that the PBX's certificate is of. Empty: the well-known ones.",
      example: "/etc/latefork/pbx-ca.pem",
    }),
    trust: list(network, {
      default: [],
      applies: "live",
      doc: "Where the PBX's requests come from. Empty: the addresses of uri.",
      example: "[192.168.1.10/32]",
    }),
    mode: key(choice(...REGISTRAR_MODES), {
      default: "aor",
      applies: "restart",
      doc: "Upstream Contacts: one per AoR, one per device, or one per device with every REGISTER forwarded.",
    }),
    contact_id: key(choice(...CONTACT_PLACEMENTS), {
      default: "param",
      applies: "restart",
      doc: "Where our id stands in the Contact the PBX gets: sip:USER@us;lf=ID, sip:ID@us, or nowhere (sip:USER@us).",
    }),
    expires: key(duration, {
      default: "1h",
      min: MINUTE,
      max: 30 * DAY,
      applies: "live",
      doc: "Expiry we ask of the PBX.",
    }),
    credentials_file: key(secretFile, {
      default: "",
      applies: "live",
      doc: 'Lets latefork refresh registrations while phones sleep: "user:password" or "user:realm:ha1" a line.',
    }),
    trusts_us: key(boolean, {
      default: "false",
      applies: "live",
      doc:
        "The PBX takes our REGISTER without a challenge. It must do so for own_port alone: what phones register leaves " +
        "from the listeners, and whoever came from a trusted address could register as anybody.",
    }),
    own_port: key(count, {
      default: "0",
      max: 65_535,
      applies: "restart",
      doc: "UDP port from which our own REGISTERs leave, and nothing else. 0: they leave with the rest.",
      example: "5066",
    }),
    verify: key(duration, {
      default: "5m",
      min: 10_000,
      max: HOUR,
      applies: "live",
      doc:
        "After a doubt about the PBX (silence, a closed connection, other answers than before) no refresh of a phone is " +
        "answered here beyond this time before the PBX has granted it anew.",
    }),
    qualify: key(duration, {
      default: "30s",
      max: HOUR,
      applies: "live",
      doc: "How often the PBX is asked with OPTIONS; 0 = off.",
    }),
  },
);
