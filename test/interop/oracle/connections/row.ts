import type { Capability } from "../../peer.ts";
import { freePorts } from "../../process.ts";
import { Chance, caseSeed } from "../chance.ts";
import { type Difference, concluded } from "../difference.ts";
import { connectionCase } from "./cases.ts";
import { envoyConnections } from "./envoys.ts";
import { bytesOf } from "./hello.ts";
import { ourConnections } from "./ours.ts";

/** An address of its own, so that nobody else takes the ports between asking for them and binding them. */
const host = "127.83.7.2";
const hellosPerCase = 25;

/** Listeners of opaque ports with random server names: each connection goes to the same cluster, or to none. */
export const connectionsRow: Capability = {
  name: "oracle: connections",
  limitMs: 180_000,
  async run(context) {
    const count = Math.ceil((context.requests * 0.1) / hellosPerCase);
    const ports = await freePorts(count, host);
    const cases = ports.map((port, at) =>
      connectionCase(new Chance(caseSeed(context.seed, 9_000_000 + at)), at, port, hellosPerCase),
    );
    context.progress(`${count} opaque ports, ${hellosPerCase} connections each, seed ${context.seed}`);
    const differences: Difference[] = [];
    let led = 0;
    const envoy = await envoyConnections(context, cases, host);
    try {
      for (const test of cases) {
        const ours = ourConnections(test);
        const theirs = await Promise.all(test.hellos.map(async (hello) => envoy.send(test, await bytesOf(hello))));
        for (const [at, hello] of test.hellos.entries()) {
          const mine = ours(hello);
          if (mine !== "none") led++;
          if (mine === theirs[at]) continue;
          const names = test.filterChains.map(({ filterChainMatch }) => filterChainMatch);
          const config = { names, rest: test.defaultFilterChain !== undefined };
          differences.push({ at: `${test.name} ${at}`, config, request: hello, ours: mine, envoys: theirs[at] });
        }
      }
    } finally {
      await envoy.stop();
    }
    const outcome = concluded(context, "connections", count * hellosPerCase, differences);
    return { ...outcome, figures: { ...outcome.figures, led } };
  },
};
