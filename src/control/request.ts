/** Reads what a client sent: bodies within bounds, query values, fields of JSON. Must not know the routes. */
import { ApiError } from "./api_error.ts";

/**
 * The whole body as text.
 * @throws ApiError 413 `too_large`, 400 `invalid_body` if it is not UTF-8.
 */
export async function readText(request: Request, maxBytes: number): Promise<string> {
  const tooLarge = new ApiError(413, "too_large", `The body is larger than ${maxBytes} bytes`, "Send less");
  if (Number(request.headers.get("content-length") ?? 0) > maxBytes) throw tooLarge;
  if (request.body === null) return "";
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of request.body as unknown as AsyncIterable<Uint8Array>) {
    size += chunk.length;
    if (size > maxBytes) throw tooLarge;
    chunks.push(chunk);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(chunks));
  } catch {
    throw new ApiError(400, "invalid_body", "The body is not UTF-8", "Send text, not binary data");
  }
}

/** A JSON object that remembers which of its fields were read, so that it can refuse the others. */
export class Fields {
  private readonly nested: Record<string, unknown>;
  private readonly known = new Set<string>();

  private constructor(object: Record<string, unknown>) {
    this.nested = object;
  }

  /** @throws ApiError 400 `invalid_body`. */
  static parse(text: string): Fields {
    let value: unknown;
    try {
      value = JSON.parse(text === "" ? "{}" : text);
    } catch {
      throw new ApiError(400, "invalid_body", "The body is not JSON", 'Send it like curl -d \'{"name":"value"}\'');
    }
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new ApiError(400, "invalid_body", "The body is not a JSON object", 'Expected {"name":"value"}');
    }
    return new Fields(value as Record<string, unknown>);
  }

  /** A text; undefined: there is no such field. @throws ApiError 400 if it is something else */
  text(name: string): string | undefined {
    const value = this.value(name);
    if (value === undefined) return undefined;
    if (typeof value !== "string") throw invalidField(name, value, "a text");
    return value;
  }

  /** A text that must be there and must not be empty. */
  requiredText(name: string): string {
    const value = this.text(name);
    if (value === undefined || value === "") {
      throw new ApiError(400, "invalid_body", `Field "${name}" is missing`, "Expected a text");
    }
    return value;
  }

  /** One of the words. */
  choice<Word extends string>(name: string, words: readonly Word[]): Word | undefined {
    const value = this.text(name);
    if (value === undefined) return undefined;
    if (!words.includes(value as Word)) throw invalidField(name, value, words.join(", "));
    return value as Word;
  }

  /** A whole number of 0 or more. */
  count(name: string): number | undefined {
    const value = this.value(name);
    if (value === undefined) return undefined;
    if (!Number.isSafeInteger(value) || (value as number) < 0) {
      throw invalidField(name, value, "a whole number of 0 or more");
    }
    return value as number;
  }

  /** A list of texts. */
  texts(name: string): string[] | undefined {
    const value = this.value(name);
    if (value === undefined) return undefined;
    if (!Array.isArray(value) || !value.every((item) => typeof item === "string")) {
      throw invalidField(name, value, "a list of texts");
    }
    return value;
  }

  /** Milliseconds; in JSON seconds as number, or text with a unit. */
  durationMs(name: string): number | undefined {
    const value = this.value(name);
    if (value === undefined) return undefined;
    if (typeof value !== "string" && typeof value !== "number") throw invalidField(name, value, 'a time like "10m"');
    return parseDurationMs(String(value), name);
  }

  /** An object; null if it says null. */
  object(name: string): Fields | null | undefined {
    const value = this.value(name);
    if (value === undefined || value === null) return value;
    if (typeof value !== "object" || Array.isArray(value)) throw invalidField(name, value, "an object");
    return new Fields(value as Record<string, unknown>);
  }

  /** Called when all fields were read. @throws ApiError 400 if there is another one */
  end(): void {
    for (const name of Object.keys(this.nested)) {
      if (this.known.has(name)) continue;
      throw new ApiError(
        400,
        "invalid_body",
        `Unknown field "${name.slice(0, 60)}"`,
        `Known: ${[...this.known].join(", ")}`,
      );
    }
  }

  private value(name: string): unknown {
    this.known.add(name);
    return Object.hasOwn(this.nested, name) ? this.nested[name] : undefined;
  }
}

/**
 * `90` (seconds), `1500ms`, `30s`, `10m`, `1h`, `7d` to milliseconds.
 * @throws ApiError 400 `invalid_value`.
 */
export function parseDurationMs(text: string, name: string): number {
  const match = /^(\d{1,12})(ms|s|m|h|d)?$/.exec(text);
  if (match === null) {
    throw new ApiError(
      400,
      "invalid_value",
      `Cannot parse ${name} "${text.slice(0, 60)}"`,
      "Expected 90, 1500ms, 30s, 10m, 1h or 7d",
    );
  }
  const unit = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }[match[2] ?? "s"]!;
  return Number(match[1]) * unit;
}

/** @throws ApiError 400 `invalid_value`. */
export function parseWhole(
  text: string | undefined,
  name: string,
  range: { min: number; max: number; default: number },
): number {
  if (text === undefined || text === "") return range.default;
  const value = /^-?\d{1,15}$/.test(text) ? Number(text) : NaN;
  if (value >= range.min && value <= range.max) return value;
  throw new ApiError(
    400,
    "invalid_value",
    `Cannot use ${name} "${text.slice(0, 60)}"`,
    `Expected a whole number from ${range.min} to ${range.max}`,
  );
}

function invalidField(name: string, value: unknown, expected: string): ApiError {
  const said = JSON.stringify(value).slice(0, 60);
  return new ApiError(400, "invalid_body", `Cannot use field "${name}": ${said}`, `Expected ${expected}`);
}
