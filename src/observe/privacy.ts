/**
 * Hides what must not be read in logs and traces: secrets always, and with `log.privacy: mask` numbers, names and tokens as
 * well. Text in, text out; must not know where it goes.
 */

const AUTHORIZATION = /((?:proxy-)?authorization[ \t]*:[ \t]*\w+)[^\r\n]*/gi;
const DIGEST_RESPONSE = /\b(response|password|secret)=("[^"]*"|[^\s,;&]+)/gi;
const BEARER = /(bearer[ \t]+)[^\s"]+/gi;
const PUSH_TOKEN = /(pn-(?:prid|tok)=)([^;>\s,?"]+)/gi;

const QUOTED = /"[^"\r\n]+"/g;
// Lengths are bounded so that a hostile message costs no quadratic search.
const DISPLAY_NAME = /[^\s"<>:;,*][^"<>\r\n:;,]{0,80}(?=<(?:sips?|tel):)/g;
const USER_AT_HOST = /((?:sips?:)?)([^\s<>:;,"@/=]{1,80})(@(?:\[|[A-Za-z0-9]))/g;
const TEL = /(tel:)([^\s<>;,"]+)/gi;
const NUMBER = /(?<![\w.-])\+?\d{6,}(?![\w.])/g;
const LONG_TOKEN = /[A-Za-z0-9_-]{32,}/g;

/** Field names whose value is never written. */
const SECRET_FIELD = /^(?:token|prid|password|secret|authorization|ha1)$/i;

export function isSecretField(name: string): boolean {
  return SECRET_FIELD.test(name);
}

/** Credentials are removed and push tokens shortened, in everything and with any `log.privacy`. */
export function maskSecrets(text: string): string {
  return text
    .replace(AUTHORIZATION, "$1 ***")
    .replace(BEARER, "$1***")
    .replace(DIGEST_RESPONSE, "$1=***")
    .replace(PUSH_TOKEN, (_, name: string, token: string) => name + shortToken(token));
}

/** As {@link maskSecrets}, and users, display names, numbers and tokens become unrecognizable. */
export function maskPrivate(text: string): string {
  return maskSecrets(text)
    .replace(QUOTED, '"***"')
    .replace(DISPLAY_NAME, "*** ")
    .replace(TEL, (_, scheme: string, number: string) => scheme + maskUser(number))
    .replace(USER_AT_HOST, (_, scheme: string, user: string, host: string) => scheme + maskUser(user) + host)
    .replace(NUMBER, maskUser)
    .replace(LONG_TOKEN, shortToken);
}

/** Enough to tell two tokens apart, too little to use one. */
export function shortToken(token: string): string {
  return token.length <= 8
    ? "***"
    : token.length <= 16
    ? token.slice(0, 2) + "…"
    : `${token.slice(0, 4)}…${token.slice(-4)}`;
}

function maskUser(user: string): string {
  return /^\+?[\d().-]+$/.test(user) ? "***" + user.slice(-2) : user.slice(0, 1) + "***";
}
