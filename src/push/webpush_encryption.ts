/**
 * Owns the encryption of a message for a subscription (RFC 8291, `aes128gcm`), by the library `web-push`, which is loaded
 * when the first phone with keys is known: it costs 9 to 12 MB. It must not know what is encrypted, or for whom.
 */
import type { PushKeys } from "../usrloc/model.ts";

interface Library {
  encrypt(p256dh: string, auth: string, plainText: string, encoding: "aes128gcm"): { cipherText: Uint8Array };
}

let library: Library | null = null;
let loading: Promise<void> | null = null;

/** True if {@link encrypted} can be called. */
export function canEncrypt(): boolean {
  return library !== null;
}

/** Loads the library, once. */
export function loadEncryption(): Promise<void> {
  loading ??= import("web-push").then((module) => {
    library = module.default as Library;
  });
  return loading;
}

/** @returns null if the keys are none. */
export function encrypted(keys: PushKeys, plainText: string): Uint8Array | null {
  try {
    return library!.encrypt(keys.p256dh, keys.auth, plainText, "aes128gcm").cipherText;
  } catch {
    return null;
  }
}
