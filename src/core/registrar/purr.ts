/**
 * Owns the PURR of RFC 8599 §6.1 (P-02), the value of `+sip.pnspurr` and `pn-purr`: a name of a device that a phone puts
 * into its Contact and that its dialogs bring back. Must not know Feature-Caps, nor what is done with a request that has one.
 *
 * A PURR is the device's id, encrypted and signed under a fresh nonce, and nothing is stored: no flood of REGISTERs fills
 * a table, a restart keeps dialogs, and a value of last week still leads to its device, and to none once that is gone.
 */
import { createHmac, timingSafeEqual } from "node:crypto";

const NONCE_LENGTH = 16;
const MAC_BYTES = 10;
const MAX_ID_BYTES = 32;
/** Nonce, id and MAC, lower-case letters and digits: nothing that a URI or a quoted string would escape. */
const FORM = /^[a-z0-9]{16}(?:[0-9a-f]{2}){11,42}$/;

/** The name of a device, new with every nonce. */
export class Purrs {
  /** @param secret of the installation; outlives restarts */
  constructor(private readonly secret: string) {}

  /**
   * A value that cannot be made up, nor linked to another one of the same device.
   * @param deviceId `Contact.id`: ASCII, at most 32 characters
   * @param nonce 16 lower-case letters and digits, never used before
   */
  make(deviceId: string, nonce: string): string {
    const sealed = this.masked(Buffer.from(deviceId, "latin1"), nonce).toString("hex");
    return nonce + sealed + this.mac(nonce + sealed).toString("hex");
  }

  /**
   * The device a value names, registered or not.
   * @returns empty if the value was not made here or was tampered with
   */
  read(purr: string): string {
    if (!FORM.test(purr)) return "";
    const macStart = purr.length - MAC_BYTES * 2;
    const given = Buffer.from(purr.slice(macStart), "hex");
    if (!timingSafeEqual(given, this.mac(purr.slice(0, macStart)))) return "";
    const sealed = Buffer.from(purr.slice(NONCE_LENGTH, macStart), "hex");
    return this.masked(sealed, purr.slice(0, NONCE_LENGTH)).toString("latin1");
  }

  private masked(bytes: Buffer, nonce: string): Buffer {
    // "purr" keeps these apart from the other things this secret signs, "mask" and "mac" from each other.
    const mask = createHmac("sha256", this.secret).update("purr mask\n" + nonce, "latin1").digest();
    const masked = Buffer.alloc(Math.min(bytes.length, MAX_ID_BYTES));
    for (let n = 0; n < masked.length; n++) masked[n] = bytes[n]! ^ mask[n]!;
    return masked;
  }

  private mac(text: string): Buffer {
    return createHmac("sha256", this.secret).update("purr mac\n" + text, "latin1").digest().subarray(0, MAC_BYTES);
  }
}
