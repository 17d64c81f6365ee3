import type { Chance } from "../chance.ts";

// Few and short words, which are parts of each other, differ only in letter case, or need escaping in a regex: so that conditions
// and requests made independently of each other meet often, and nearly meet even more often.

const segments = [
  "a",
  "b",
  "ab",
  "abc",
  "api",
  "v1",
  "v2",
  "Admin",
  "admin",
  "x.y",
  "xzy",
  "~",
  "a;p",
  "%61",
  "a+b",
  "aab",
];

export function segment(chance: Chance): string {
  return chance.pick(segments);
}

/** A path as people send it, now and then with an empty segment or a slash at its end. */
export function path(chance: Chance): string {
  const parts = chance.list(0, 4, () => (chance.maybe(0.05) ? "" : segment(chance)));
  return `/${parts.join("/")}${parts.length > 0 && chance.maybe(0.2) ? "/" : ""}`;
}

const values = [
  "a",
  "b",
  "ab",
  "abc",
  "A",
  "aB",
  "v1",
  "v1.2",
  "v1-2",
  "a,b",
  "a, b",
  "x y",
  "*",
  "$1",
  "(a)",
  "-",
  "café",
];

/** A header value; text beyond ASCII stands for its UTF-8 bytes. */
export function headerValue(chance: Chance): string {
  return chance.pick(values);
}

const numbers = [
  "0",
  "1",
  "5",
  "9",
  "10",
  "-1",
  "-5",
  "+5",
  "05",
  "1.5",
  "1e1",
  "0x5",
  "",
  "5 5",
  "5,6",
  "9223372036854775808",
];

/** What a range condition meets: numbers, and texts that some parsers take for numbers. */
export function numberText(chance: Chance): string {
  return chance.pick(numbers);
}

export const methods: readonly string[] = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];

const hosts = [
  "reviews",
  "reviews.shop",
  "reviews.shop.svc.cluster.local",
  "ratings.shop.svc.cluster.local",
  "a.com",
  "b.a.com",
  "c.b.a.com",
  "aa.com",
  "10.0.0.1",
  "[::1]",
];

/** A host as configured and asked for: in lower case, with a port or without. */
export function host(chance: Chance): string {
  const name = chance.pick(hosts);
  return chance.maybe(0.6) ? name : `${name}:${chance.pick(["80", "8080", "9080"])}`;
}

/** UTF-8 bytes as one character each: how header values are on the wire, and how Node's parser gives them. */
export function bytesOf(text: string): string {
  return Buffer.from(text, "utf8").toString("latin1");
}
