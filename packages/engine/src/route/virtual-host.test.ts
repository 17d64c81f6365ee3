import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { compileHosts, withoutPort } from "./virtual-host.ts";

const find = (domains: readonly (readonly string[])[], authority: string) =>
  compileHosts(domains.map((each, at) => ({ domains: each, value: `${at}` })))(authority);

describe("R28", () => {
  test("exact, then the longest suffix, then the longest prefix, then any", () => {
    const hosts = [["*"], ["a.*"], ["a.b.*"], ["*.com"], ["*.b.com"], ["a.b.com"]];
    expect(find(hosts, "a.b.com")).toBe("5");
    expect(find(hosts, "x.b.com")).toBe("4");
    expect(find(hosts, "a.x.com")).toBe("3");
    expect(find(hosts, "a.b.org")).toBe("2");
    expect(find(hosts, "a.x.org")).toBe("1");
    expect(find(hosts, "x.org")).toBe("0");
    expect(find(hosts.slice(1), "x.org")).toBeUndefined();
  });

  test("case does not count, on either side", () => {
    expect(find([["A.B.com"]], "a.b.COM")).toBe("0");
    expect(find([["*.B.com"]], "X.b.com")).toBe("0");
  });

  test("a port is part of the name", () => {
    const hosts = [["a"], ["a:80"], ["b:*"]];
    expect([find(hosts, "a"), find(hosts, "a:80"), find(hosts, "a:81"), find(hosts, "b:9"), find(hosts, "b")]).toEqual([
      "0",
      "1",
      undefined,
      "2",
      undefined,
    ]);
  });

  test("a wildcard stands for at least one character", () => {
    expect([find([["*.a"]], ".a"), find([["a.*"]], "a.")]).toEqual([undefined, undefined]);
  });

  test("of two equal domains the first holds", () => {
    expect(find([["a", "*"], ["a"], ["*"]], "a")).toBe("0");
    expect(find([["*"], ["*"]], "x")).toBe("0");
  });

  test("equals a linear reference", () => {
    const label = fc.string({ unit: fc.constantFrom("a", "b", "."), minLength: 1, maxLength: 4 });
    const domain = fc.oneof(
      label,
      label.map((text) => `*${text}`),
      label.map((text) => `${text}*`),
      fc.constant("*"),
    );
    fc.assert(
      fc.property(
        fc.array(fc.array(domain, { minLength: 1, maxLength: 3 }), { maxLength: 6 }),
        label,
        (hosts, authority) => {
          expect(find(hosts, authority)).toBe(reference(hosts, authority));
        },
      ),
      { numRuns: 3_000 },
    );
  });
});

test.each([
  ["a.com", "a.com"],
  ["a.com:80", "a.com"],
  ["[::1]", "[::1]"],
  ["[::1]:80", "[::1]"],
  ["", ""],
])("the port is cut off where it is ignored: %s", (authority, host) => {
  expect(withoutPort(authority)).toBe(host);
});

/** Ranks every domain that covers the authority: class first, then length, then order. */
function reference(hosts: readonly (readonly string[])[], authority: string): string | undefined {
  const covering = hosts.flatMap((domains, at) =>
    domains.flatMap((domain) => {
      const rest = domain.replaceAll("*", "");
      const covers =
        domain === authority ||
        domain === "*" ||
        (domain.startsWith("*") && authority.endsWith(rest) && authority.length > rest.length) ||
        (domain.endsWith("*") && authority.startsWith(rest) && authority.length > rest.length);
      const rank = domain === "*" ? 3 : domain.startsWith("*") ? 1 : domain.endsWith("*") ? 2 : 0;
      return covers ? [{ at, rank, length: rest.length }] : [];
    }),
  );
  covering.sort((a, b) => a.rank - b.rank || b.length - a.length || a.at - b.at);
  return covering[0] === undefined ? undefined : `${covering[0].at}`;
}
