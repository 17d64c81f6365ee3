import type { Cidr, FilterChain } from "../config.ts";
import { compileCidr } from "../match/cidr.ts";
import type { AddressTest } from "../match/cidr.ts";
import type { ConnectionFacts } from "../snapshot.ts";

/** How well a chain fits one criterion: -1 = not at all, 0 = it does not care, more = more specific. */
type Fit = (facts: ConnectionFacts) => number;

/**
 * Chooses the filter chain of a connection (R61, gRFC A36): by destination prefix, transport protocol, source type,
 * source prefix, source port, in this order. Each criterion keeps only the chains that fit it best, and none is taken
 * back by a later one: a chain with the longest destination prefix shuts out shorter ones even if its source does not
 * match in the end, and then nobody but the default chain takes the connection.
 */
export function compileChainMatch<T>(chains: readonly { match: FilterChain["match"]; value: T }[]): ChainMatch<T> {
  const compiled = chains.map(({ match, value }) => ({
    value,
    fits: [
      prefixFit(match.destinationPrefixes, (facts) => facts.localAddress),
      transportFit(match.transportProtocol),
      sourceTypeFit(match.sourceType),
      prefixFit(match.sourcePrefixes, (facts) => facts.remoteAddress),
      portFit(match.sourcePorts),
    ] as const,
  }));
  return (facts) => {
    let left = compiled;
    for (let criterion = 0; criterion < 5 && left.length > 0; criterion++) {
      let best = 0;
      let kept: typeof compiled = [];
      for (const chain of left) {
        const fit = chain.fits[criterion as 0 | 1 | 2 | 3 | 4](facts);
        if (fit < best) continue;
        if (fit > best) kept = [];
        best = fit;
        kept.push(chain);
      }
      left = kept;
    }
    return left[0]?.value;
  };
}

export type ChainMatch<T> = (facts: ConnectionFacts) => T | undefined;

const anything: Fit = () => 0;

/** The longest of the prefixes that contain the address. */
function prefixFit(prefixes: readonly Cidr[], address: (facts: ConnectionFacts) => string): Fit {
  if (prefixes.length === 0) return anything;
  const tests = prefixes.map((cidr): [AddressTest, number] => [compileCidr(cidr), cidr.bits]);
  return (facts) => {
    let best = -1;
    // A prefix of length 0 is still more specific than none.
    for (const [contains, bits] of tests) if (bits + 1 > best && contains(address(facts))) best = bits + 1;
    return best;
  };
}

function transportFit(wanted: FilterChain["match"]["transportProtocol"]): Fit {
  return wanted === undefined ? anything : (facts) => (facts.transportProtocol === wanted ? 1 : -1);
}

function sourceTypeFit(wanted: FilterChain["match"]["sourceType"]): Fit {
  if (wanted === "any") return anything;
  return (facts) => (isLocal(facts) === (wanted === "same_ip_or_loopback") ? 1 : -1);
}

function isLocal({ remoteAddress, localAddress }: ConnectionFacts): boolean {
  return remoteAddress === localAddress || remoteAddress === "::1" || loopback4(remoteAddress);
}

const loopback4: AddressTest = compileCidr({ address: "127.0.0.0", bits: 8 });

function portFit(ports: readonly number[]): Fit {
  if (ports.length === 0) return anything;
  return (facts) => (ports.includes(facts.remotePort) ? 1 : -1);
}
