/**
 * Owns the encryption of a message for a subscription (RFC 8291, `aes128gcm`), by the library `web-push`, which is loaded
 * when the first phone with keys is known: it costs 2 MB in the binary, 9 from source. It must not know what is encrypted.
 */
import type { PushKeys } from "../../../core/usrloc/model.ts";

interface Library {
  encrypt(p256dh: string, auth: string, plainText: string, encoding: "aes128gcm"): { cipherText: Uint8Array };
}

export class WebPushEncryption {
  private library: Library | null = null;
  private loading: Promise<void> | null = null;

  /** True if {@link encrypt} can be called. */
  get isLoaded(): boolean {
    return this.library !== null;
  }

  /** Loads the library, once. */
  load(): Promise<void> {
    this.loading ??= import("web-push").then((module) => {
      this.library = module.default as Library;
    });
    return this.loading;
  }

  /** @returns null if the keys are none. */
  encrypt(keys: PushKeys, plainText: string): Uint8Array | null {
    try {
      return this.library!.encrypt(keys.p256dh, keys.auth, plainText, "aes128gcm").cipherText;
    } catch {
      return null;
    }
  }
}
