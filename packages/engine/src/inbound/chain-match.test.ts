import { describe, expect, it } from "vitest";
import { chain } from "../../../../test/kit/mesh-config.ts";
import type { FilterChainMatch } from "../config.ts";
import type { ConnectionFacts } from "../snapshot.ts";
import { compileChainMatch } from "./chain-match.ts";

const facts: ConnectionFacts = {
  transportProtocol: "tls",
  remoteAddress: "10.1.2.3",
  remotePort: 40_000,
  localAddress: "10.0.0.1",
  localPort: 9_080,
};

function choose(matches: Record<string, Partial<FilterChainMatch>>, connection: Partial<ConnectionFacts> = {}) {
  const plain = chain("").match;
  const chains = Object.entries(matches).map(([value, match]) => ({ match: { ...plain, ...match }, value }));
  return compileChainMatch(chains)({ ...facts, ...connection });
}
const net = (text: string) => {
  const [address = "", bits] = text.split("/");
  return [{ address, bits: Number(bits) }];
};

describe("filter chain match (R61)", () => {
  it("transport protocol: what names it goes before what does not", () => {
    const chains = {
      any: {},
      tls: { transportProtocol: "tls" as const },
      plain: { transportProtocol: "raw_buffer" as const },
    };
    expect(choose(chains)).toBe("tls");
    expect(choose(chains, { transportProtocol: "raw_buffer" })).toBe("plain");
  });

  it("STRICT: no chain takes plaintext", () => {
    expect(choose({ mtls: { transportProtocol: "tls" } }, { transportProtocol: "raw_buffer" })).toBeUndefined();
  });

  it("the longest destination prefix wins, even a prefix of length 0 over none", () => {
    const chains = {
      none: {},
      all: { destinationPrefixes: net("0.0.0.0/0") },
      wide: { destinationPrefixes: net("10.0.0.0/8") },
      host: { destinationPrefixes: net("10.0.0.1/32") },
    };
    expect(choose(chains)).toBe("host");
    expect(choose(chains, { localAddress: "10.0.0.2" })).toBe("wide");
    expect(choose(chains, { localAddress: "192.0.2.1" })).toBe("all");
    expect(choose(chains, { localAddress: "2001:db8::1" })).toBe("none");
  });

  it("a criterion that decided is not taken back by a later one", () => {
    const chains = {
      near: { destinationPrefixes: net("10.0.0.1/32"), sourcePrefixes: net("192.0.2.0/24") },
      far: { destinationPrefixes: net("10.0.0.0/8") },
    };
    expect(choose(chains)).toBeUndefined();
  });

  it("source type", () => {
    const chains = {
      any: {},
      local: { sourceType: "same_ip_or_loopback" as const },
      external: { sourceType: "external" as const },
    };
    expect(choose(chains)).toBe("external");
    expect(choose(chains, { remoteAddress: "127.0.0.9" })).toBe("local");
    expect(choose(chains, { remoteAddress: "::1" })).toBe("local");
    expect(choose(chains, { remoteAddress: "10.0.0.1" })).toBe("local");
  });

  it("source prefix, then source port", () => {
    const chains = {
      any: {},
      net: { sourcePrefixes: net("10.1.0.0/16") },
      port: { sourcePrefixes: net("10.1.0.0/16"), sourcePorts: [40_000] },
    };
    expect(choose(chains)).toBe("port");
    expect(choose(chains, { remotePort: 1 })).toBe("net");
    expect(choose(chains, { remoteAddress: "10.9.0.1" })).toBe("any");
  });

  it("a mapped address does not escape an IPv4 prefix (R55)", () => {
    expect(choose({ v4: { sourcePrefixes: net("10.0.0.0/8") } }, { remoteAddress: "::ffff:10.1.2.3" })).toBe("v4");
  });
});
