import { BlockList, isIPv6 } from "node:net";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { compileCidr, compileCidrs, parseAddress } from "./cidr.ts";

const within = (address: string, bits: number, peer: string) => compileCidr({ address, bits })(peer);

describe("R55", () => {
  test("an IPv4-mapped IPv6 address does not escape an IPv4 block, in either spelling or direction", () => {
    for (const peer of ["10.1.2.3", "::ffff:10.1.2.3", "::FFFF:a01:203", "0:0:0:0:0:ffff:0a01:0203"])
      for (const [net, bits] of [
        ["10.0.0.0", 8],
        ["::ffff:10.0.0.0", 104],
        ["::ffff:a00:0", 104],
      ] as const)
        expect(within(net, bits, peer)).toBe(true);
    expect(within("::ffff:10.0.0.0", 104, "11.0.0.1")).toBe(false);
  });

  test("low bits are masked on both sides", () => {
    expect(within("10.0.0.255", 24, "10.0.0.1")).toBe(true);
    expect(within("10.0.0.255", 24, "10.0.1.1")).toBe(false);
    expect(within("2001:db8::ffff", 64, "2001:db8::1")).toBe(true);
    expect(within("0.0.0.0", 0, "255.255.255.255")).toBe(true);
    expect(within("::", 0, "10.0.0.1")).toBe(false);
  });

  test("equals Node's own block list", () => {
    const v4 = fc.ipV4();
    const v6 = fc.ipV6().filter((text) => !text.toLowerCase().includes("ffff:") && !text.includes("."));
    const pair = fc.oneof(fc.tuple(v4, fc.nat(32), v4), fc.tuple(v6, fc.nat(128), v6), fc.tuple(v4, fc.nat(32), v6));
    fc.assert(
      fc.property(pair, fc.boolean(), ([net, bits, peer], near) => {
        const other = near ? net : peer;
        const list = new BlockList();
        list.addSubnet(net, bits, isIPv6(net) ? "ipv6" : "ipv4");
        expect(within(net, bits, other)).toBe(list.check(other, isIPv6(other) ? "ipv6" : "ipv4"));
      }),
      { numRuns: 2_000 },
    );
  });
});

test.each([
  "",
  "fe80::1%eth0",
  "1.2.3",
  "1.2.3.4.5",
  "1.2.3.256",
  "01.2.3.4",
  "1.2.3.4 ",
  "::1::",
  "1:2:3:4:5:6:7",
  "1:2:3:4:5:6:7:8:9",
  ":::",
  "12345::",
  "::1.2.3",
  "g::",
  "1:2:3:4:5:6:7::8:9",
  ":1",
  "1:",
])("no address: %j", (text) => {
  expect(parseAddress(text)).toBeUndefined();
  expect(within("0.0.0.0", 0, text)).toBe(false);
  expect(within("::", 0, text)).toBe(false);
});

test("a block that is none is refused when it is compiled", () => {
  for (const [address, bits] of [
    ["10.0.0.0", 33],
    ["10.0.0.0", -1],
    ["10.0.0.0", 1.5],
    ["::", 129],
    ["host", 8],
  ] as const)
    expect(() => compileCidr({ address, bits })).toThrow(/not an address block/);
});

test("several blocks read the address once", () => {
  const match = compileCidrs([
    { address: "10.0.0.0", bits: 8 },
    { address: "fd00::", bits: 8 },
  ]);
  expect(["10.1.1.1", "fd01::1", "11.0.0.1", "x"].map(match)).toEqual([true, true, false, false]);
});
