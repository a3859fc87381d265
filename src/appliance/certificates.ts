/**
 * The certificates of the appliance: those the listeners show, what the PBX's must name, how many days are left, and the
 * daily line about one that ends soon (T-06). Reads files when it is told to.
 */
import { type CertificatePair, dateProblem, daysLeft } from "../config/certificate.ts";
import { readTlsFiles, type TlsFiles } from "../config/files.ts";
import type { Config } from "../config/schema.ts";
import { hostKey } from "../core/sip/host.ts";
import type { PbxAddress } from "../core/proxy/pbx.ts";
import type { CertificateState } from "../control/host.ts";
import type { TlsPeer, TlsSettings } from "../io/transport/tls.ts";

const DAY_MS = 86_400_000;

export class Certificates {
  private files: TlsFiles;
  private addresses: readonly PbxAddress[] = [];
  private toldAtMs = -Infinity;

  constructor(private config: Config) {
    this.files = readTlsFiles(config);
  }

  /** In words, one for each file that cannot be used. */
  get problems(): string[] {
    return this.files.problems.map(({ path, message }) => `${path}: ${message}`);
  }

  /** The files of a config, read anew. @param files read already */
  take(config: Config, files: TlsFiles): void {
    this.config = config;
    this.files = files;
    this.toldAtMs = -Infinity;
  }

  settings(files = this.files): TlsSettings {
    return { pairs: files.pairs, clientCa: files.clientCa };
  }

  /** The addresses that the names of `pbx.uri` have now. */
  takeAddresses(addresses: readonly PbxAddress[]): void {
    this.addresses = addresses;
  }

  /** Whom to expect there by TLS: the name in `pbx.uri`. A node of the PBX that is in `pbx.trust` alone has that of the first. */
  peerAt(address: string, isPbx: boolean): TlsPeer | null {
    const { pbx } = this.config;
    if (pbx === null || !isPbx) return null;
    const own = this.addresses.find((known) =>
      known.transport === "tls" && hostKey(known.address) === hostKey(address)
    );
    const entry = pbx.uri.find(({ uri }) => uri === own?.uri) ?? pbx.uri.find(({ transport }) => transport === "tls");
    return entry === undefined ? null : { name: entry.host, ca: this.files.pbxCa };
  }

  infos(): CertificateState[] {
    const nowMs = Date.now();
    return this.files.pairs.map((pair) => infoOf(pair, nowMs));
  }

  /** Lines for the log, once a day and after each reload, about what ends soon or has ended. */
  dueWarnings(): string[] {
    const nowMs = Date.now();
    if (nowMs - this.toldAtMs < DAY_MS) return [];
    this.toldAtMs = nowMs;
    return this.infos().flatMap(({ file, problem }) => problem === "" ? [] : [`The certificate in ${file} ${problem}`]);
  }
}

function infoOf(pair: CertificatePair, nowMs: number): CertificateState {
  return {
    file: pair.certFile,
    names: pair.names,
    issuer: pair.issuer,
    valid_from: new Date(pair.validFromMs).toISOString(),
    valid_to: new Date(pair.validToMs).toISOString(),
    days_left: daysLeft(pair, nowMs),
    problem: dateProblem(pair, nowMs),
  };
}
