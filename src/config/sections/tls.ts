/** Section `tls:`. */
import { file, secretFile } from "../kinds.ts";
import { key, list, section } from "../table.ts";

export const TLS = section(
  "Certificate of the tls and wss listeners. Instead of this section: a list of { cert_file, key_file }, for several names.",
  {
    cert_file: list(file, {
      default: [],
      takesOne: true,
      applies: "live",
      doc: "Certificate (PEM), followed by its chain; a list for several names, in the order of key_file.",
      example: "/etc/latefork/sip.example.org.pem",
    }),
    key_file: list(secretFile, {
      default: [],
      takesOne: true,
      applies: "live",
      doc: "Its private key (PEM), or a list in the order of cert_file. Both are read again at each reload.",
      example: "/etc/latefork/sip.example.org.key",
    }),
    client_ca_file: key(file, {
      default: "",
      applies: "live",
      doc: "Only phones with a certificate of this CA may connect. Empty: they are not asked for one.",
    }),
  },
);
