/**
 * What a push sender of the config is (P-10): as it is written, and as it is used. Types and small tables alone: who reads
 * it (`compile.ts`) and who fills it (the relay) must not know each other.
 */
import type { Template } from "./template.ts";

/**
 * What can be sent. `answered_elsewhere` is a `cancel` without a missed call: the call was answered or declined. It is sent
 * as `cancel`, and `test` as `call`, where the sender has no words of its own for them.
 */
export const SENDER_EVENTS = ["call", "cancel", "answered_elsewhere", "missed", "message", "refresh", "test"] as const;
export type SenderEvent = typeof SENDER_EVENTS[number];

/** As in the file: mappings have no prototype. */
export type Written = string | number | boolean | null | readonly Written[] | WrittenMap;
export interface WrittenMap {
  readonly [key: string]: Written;
}

/** A JSON value to be filled. Names of fields are as written. */
export type JsonTemplate =
  | { readonly kind: "text"; readonly template: Template }
  | { readonly kind: "literal"; readonly value: number | boolean }
  | { readonly kind: "list"; readonly items: readonly JsonTemplate[] }
  | { readonly kind: "fields"; readonly fields: readonly (readonly [string, JsonTemplate])[] };

export type BodyTemplate =
  | { readonly kind: "none" }
  | { readonly kind: "json"; readonly json: JsonTemplate }
  | { readonly kind: "form"; readonly fields: readonly (readonly [string, Template])[] }
  | { readonly kind: "text"; readonly template: Template };

/** Name in lower case, and what it says: a template, or what stands in a file. */
export type HeaderTemplate = readonly [name: string, value: Template | { readonly file: string }];

/** The request of one event. Its host is that of `origin`, whatever is put in. */
export interface SenderRequest {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** Scheme, host and port. */
  readonly origin: string;
  /** From the first slash on. */
  readonly path: Template;
  /** Without the question mark; empty: none. */
  readonly query: Template;
  readonly headers: readonly HeaderTemplate[];
  readonly body: BodyTemplate;
}

/** What an answer may be known by: its status, a class of them, a text in its body, a field of its JSON. */
export type AnswerRule =
  | { readonly kind: "status"; readonly from: number; readonly to: number }
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "field"; readonly path: readonly string[]; readonly value: string };

export const ANSWER_KINDS = ["accepted", "dead", "retry", "refused"] as const;
export type AnswerKind = typeof ANSWER_KINDS[number];

/** A sender, ready to be filled. Plain data. */
export interface SenderConfig {
  /** What the file would say without a preset: its rows and the admin's in one. */
  readonly written: WrittenMap;
  /** Of the preset that it is made from; empty: none. */
  readonly preset: string;
  /** Scheme, host and port of `url`. */
  readonly origin: string;
  readonly token_file: string;
  readonly wake_url: string;
  /** Ms. */
  readonly timeout: number;
  /** null: not sent. */
  readonly events: Readonly<Record<SenderEvent, SenderRequest | null>>;
  readonly answers: Readonly<Record<AnswerKind, readonly AnswerRule[]>>;
  /** A harmless question (`check --live`), a GET; null: the service is connected to, no more. */
  readonly ask: SenderRequest | null;
}
