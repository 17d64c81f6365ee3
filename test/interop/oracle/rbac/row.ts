import type { Capability } from "../../peer.ts";
import { freePorts } from "../../process.ts";
import { Chance, caseSeed } from "../chance.ts";
import { concluded } from "../difference.ts";
import type { Difference } from "../difference.ts";
import { ambiguousFor } from "./ambiguity.ts";
import { rbacCase } from "./case.ts";
import type { RbacCase } from "./case.ts";
import { makePki } from "./clients.ts";
import { envoyServers } from "./envoys.ts";
import { ourServer } from "./ours.ts";

/** An address of its own, so that nobody else takes the ports between asking for them and binding them. */
const host = "127.83.7.1";
const requestsPerClient = 20;

/** Random policies, clients over mTLS and in plaintext: the same 200 or 403, and never our 200 where Envoy says 403 (R54–R58). */
export const rbacRow: Capability = {
  name: "oracle: authorization",
  limitMs: 300_000,
  async run(context) {
    const count = Math.ceil((context.requests * 0.3) / (5 * requestsPerClient));
    const ports = await freePorts(count, host);
    const cases = ports.map((port, at) =>
      rbacCase(new Chance(caseSeed(context.seed, 2_000_000 + at)), `policy-${at}`, port, requestsPerClient),
    );
    context.progress(`${count} policies, 5 clients each, seed ${context.seed}`);
    const differences: Difference[] = [];
    const sums = { allowed: 0, refused: 0, ambiguous: 0, stricter: 0 };
    const pki = makePki();
    const envoy = await envoyServers(context, cases, pki, host);
    try {
      for (const test of cases) {
        const ours = ourServer(test, host);
        const ambiguous = ambiguousFor(ours.policies);
        for (const { client, requests } of test.clients) {
          const theirs = await envoy.judge(test, client, requests);
          for (const [at, request] of requests.entries()) {
            const mine = ours.judge(client, request);
            const { status, details } = theirs[at]!;
            if (mine === 200) sums.allowed++;
            else sums.refused++;
            if (ambiguous(request)) {
              sums.ambiguous++;
              // Stricter on purpose; laxer never.
              if (mine !== status && mine !== 200) sums.stricter++;
              if (mine !== 200 || status === 200) continue;
            } else if (mine === status) continue;
            differences.push(difference(test, `${test.name} request ${at}`, { client, ...request }, mine, details));
          }
        }
      }
    } finally {
      await envoy.stop();
    }
    context.progress(
      Object.entries(sums)
        .map(([name, times]) => `${name} ${times}`)
        .join(", "),
    );
    const outcome = concluded(context, "requests", sums.allowed + sums.refused, differences);
    return { ...outcome, figures: { ...outcome.figures, ...sums } };
  },
};

function difference(
  { policies, routes }: RbacCase,
  at: string,
  request: unknown,
  ours: number,
  envoys: string,
): Difference {
  return { at, config: { policies, routes: routes.map(({ name }) => name) }, request, ours, envoys };
}
