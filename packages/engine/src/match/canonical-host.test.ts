import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { canonicalHost } from "./canonical-host.ts";

describe("dataplane §23 rule 3", () => {
  test.each([
    ["A.Example.COM", "a.example.com", ""],
    ["a.example.com.", "a.example.com", ""],
    ["a:8080", "a", "8080"],
    ["a.:8080", "a", "8080"],
    ["10.0.0.1:80", "10.0.0.1", "80"],
    ["[2001:DB8:0:0:0:0:0:1]:443", "[2001:db8::1]", "443"],
    ["[::]", "[::]", ""],
    ["[1:0:0:2:0:0:0:3]", "[1:0:0:2::3]", ""],
    ["[1:0:2:3:4:5:6:7]", "[1:0:2:3:4:5:6:7]", ""],
    ["[::ffff:10.0.0.1]:80", "10.0.0.1", "80"],
    ["a_b.c", "a_b.c", ""],
  ])("%s is %s", (authority, host, port) => expect(canonicalHost(authority)).toEqual({ ok: true, host, port }));

  test.each([
    "",
    ".",
    "a..b",
    "a b",
    "a/b",
    "user@a",
    "a:b",
    "a:123456",
    "[fe80::1%25eth0]",
    "[10.0.0.1]",
    "[::1",
    "::1",
    "a\u0000",
    "é.com",
    "a,b",
  ])("%j is refused", (authority) => expect(canonicalHost(authority).ok).toBe(false));
});

test("idempotent, and one text for all spellings of an IPv6 address", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.ipV6().map((text) => `[${text}]`),
        fc.domain(),
        fc.ipV4(),
      ),
      (authority) => {
        const once = canonicalHost(authority.toUpperCase());
        expect(once.ok).toBe(true);
        if (once.ok) expect(canonicalHost(once.host)).toEqual({ ok: true, host: once.host, port: "" });
        if (once.ok && authority.startsWith("[") && once.host.startsWith("["))
          expect(once.host).toBe(new URL(`http://${authority}`).hostname);
      },
    ),
    { numRuns: 2_000 },
  );
});
