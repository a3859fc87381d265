/** Section `tls:`. */
import { file, secretFile } from "../kinds.ts";
import { key, section } from "../table.ts";

export const TLS = section("Certificate of the tls and wss listeners.", {
  cert_file: key(file, { default: "", applies: "live", doc: "Certificate chain (PEM)." }),
  key_file: key(secretFile, { default: "", applies: "live", doc: "Private key (PEM)." }),
  client_ca_file: key(file, {
    default: "",
    applies: "live",
    doc: "Ask clients for a certificate of this CA. Empty: do not ask.",
  }),
});
