import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { canonicalPath, isCanonical } from "./canonical-path.ts";

const canonical = (target: string) => {
  const result = canonicalPath(target);
  return result.ok ? result.path : `refused: ${result.reason}`;
};

describe("dataplane §23 rule 1", () => {
  test.each([
    ["/", "/"],
    ["/a/b", "/a/b"],
    ["/a/b/", "/a/b/"],
    ["/a?b=/../c", "/a"],
    ["//a///b//", "/a/b/"],
    ["/a/./b", "/a/b"],
    ["/a/../b", "/b"],
    ["/../../b", "/b"],
    ["/a/b/..", "/a/"],
    ["/a/.", "/a/"],
    ["/..", "/"],
    ["/a/%2e%2E/b", "/b"],
    ["/%61dmin", "/admin"],
    ["/%7euser", "/~user"],
    ["/a%3ab%c3%a9", "/a%3Ab%C3%A9"],
    ["/a%2541", "/a%2541"],
    ["/admin;x=1/b;y", "/admin/b"],
    ["/a/..;/b", "/b"],
    ["/a/;x/b", "/a/b"],
    ["/a/;x", "/a/"],
    ["/a/.../b", "/a/.../b"],
    ["/.hidden", "/.hidden"],
    ["/a%3bx", "/a%3Bx"],
  ])("%s is %s", (target, expected) => expect(canonical(target)).toBe(expected));

  test.each([
    "",
    "a",
    "*",
    "http://host/a",
    "host:443",
    "/a#b",
    "/a?b#c",
    "/a\\b",
    "/a%5cb",
    "/a%2Fb",
    "/a%2f",
    "/a%00",
    "/a%",
    "/a%4",
    "/a%zz",
    "/a b",
    "/a\tb",
    "/a\x7f",
    "/é",
    "/%c0%af",
    "/%ff",
    "/%c3",
    "/%ed%a0%80",
    "/%c3a%a9",
    "/a?\n",
  ])("%j is refused", (target) => expect(canonicalPath(target).ok).toBe(false));

  test("the asterisk is for OPTIONS alone", () => {
    expect(canonicalPath("*", "OPTIONS")).toEqual({ ok: true, path: "*", query: "" });
    expect(canonicalPath("*", "GET").ok).toBe(false);
  });

  test("the query is kept apart", () => {
    expect(canonicalPath("/a//b?x=1?y")).toEqual({ ok: true, path: "/a/b", query: "?x=1?y" });
  });
});

const piece = fc.constantFrom(
  "/",
  "/",
  ".",
  "..",
  "a",
  "B",
  ";",
  ";x=1",
  "%2e",
  "%2E",
  "%41",
  "%3b",
  "%25",
  "%",
  "%2f",
  "41",
  "%c3%a9",
  "%C3",
  "~",
  "%7E",
  "*",
  ":",
  "?",
  "?q",
);
const targets = fc.array(piece, { maxLength: 12 }).map((parts) => `/${parts.join("")}`);

test("the result is a fixed point, whatever came in", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        targets,
        fc.string({ unit: "binary-ascii" }).map((text) => `/${text}`),
      ),
      (target) => {
        const once = canonicalPath(target);
        if (!once.ok) return;
        expect(canonicalPath(once.path)).toEqual({ ok: true, path: once.path, query: "" });
      },
    ),
    { numRuns: 10_000 },
  );
});

test("nothing that a router could read twice is left in the result", () => {
  fc.assert(
    fc.property(targets, (target) => {
      const result = canonicalPath(target);
      if (!result.ok) return;
      expect(result.path).toMatch(/^\//);
      expect(result.path).not.toMatch(/\/\/|;|\/\.{1,2}(\/|$)|%2[ef]|%5c|%00/i);
    }),
    { numRuns: 5_000 },
  );
});

test("spellings of one path become one text: encoding, doubling, parameters and detours change nothing", () => {
  const segment = fc.string({ unit: fc.constantFrom("a", "Z", "9", "-", "~"), minLength: 1, maxLength: 4 });
  const spell = fc.func(fc.nat(5));
  fc.assert(
    fc.property(fc.array(segment, { minLength: 1, maxLength: 4 }), spell, (segments, choose) => {
      const plain = `/${segments.join("/")}`;
      const spelled = segments
        .map((text, at) => {
          const encoded = Array.from(text)
            .map((c, i) => (choose(at, i) % 2 === 0 ? c : `%${c.charCodeAt(0).toString(16).padStart(2, "0")}`))
            .join("");
          return (
            ["/", "//", "/./", "/x/../", "/;p/", "/%2e/"][choose(at)]! + encoded + (choose(at, "p") === 0 ? ";q=1" : "")
          );
        })
        .join("");
      expect(canonical(spelled)).toBe(plain);
    }),
    { numRuns: 2_000 },
  );
});

test("what is canonical at the first look is so with care", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        targets,
        fc.string({ unit: "binary-ascii" }).map((text) => `/${text}`),
      ),
      (target) => {
        // A query is never there at the first look, so this is read with care.
        if (isCanonical(target)) expect(canonicalPath(`${target}?`)).toEqual({ ok: true, path: target, query: "?" });
      },
    ),
    { numRuns: 2_000 },
  );
  expect(["/", "/api/v1/items/4711", "/a/b/"].every(isCanonical)).toBe(true);
});
