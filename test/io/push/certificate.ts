/** Certificates for 127.0.0.1 and push.test, made for each run. */
import { CertificateAuthority, selfSigned } from "../../../src/demo/certificate.ts";

const PLACE = { names: ["push.test"], addresses: ["127.0.0.1"] };

/** A self-signed one. */
export function certificate(): { key: string; cert: string } {
  return selfSigned(PLACE);
}

/** One that a CA of our own made. */
export function issuedCertificate(): { ca: string; key: string; cert: string } {
  const authority = new CertificateAuthority("Test CA");
  return { ca: authority.cert, ...authority.issue(PLACE) };
}
