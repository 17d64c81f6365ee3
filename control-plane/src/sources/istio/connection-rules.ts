import { isIP } from "node:net";

import * as z from "zod";

import { covers } from "../../model/host-index.ts";
import { type CallerMatchSpec, callerMatch } from "./caller-match.ts";
import { message } from "./message.ts";
import { type WeightedDestinationSpec, weightProblem, weightedDestination } from "./route-destination.ts";
import { cut, fail, wildcardHost } from "./values.ts";

/** A rule of `tls` or `tcp` as validated: where whole connections go (istio-api §2.9). */
export interface ConnectionRuleSpec {
  /** None: every connection; in `tls` there is at least one. */
  readonly match: readonly ConnectionMatchSpec[];
  readonly route: readonly WeightedDestinationSpec[];
}

export interface ConnectionMatchSpec extends CallerMatchSpec {
  /** Names, or wildcards like `*.example.com`, that a client may ask for when its TLS begins; empty in `tcp`. */
  readonly sniHosts: readonly string[];
}

const addresses =
  "conditions on addresses, for a process calls names: write a rule of the host that is called, or remove it";

const route = z
  .array(message(weightedDestination))
  .min(1, "needs at least one destination")
  .superRefine((list, context) => {
    const problem = weightProblem(list);
    if (problem !== undefined) context.addIssue({ code: "custom", message: problem });
  });

const serverName = wildcardHost.transform((host, context) =>
  isIP(host) === 0
    ? host
    : fail(
        context,
        `"${cut(host)}" is an address, and clients ask for names alone: declare the port TCP, and write tcp rules`,
      ),
);

const tlsMatch = message(
  {
    ...callerMatch,
    sniHosts: z
      .array(serverName)
      .min(1, "needs at least one name")
      .superRefine((names, context) => {
        for (const [index, name] of names.entries())
          if (names.indexOf(name) < index)
            context.addIssue({ code: "custom", path: [index], message: `${name} is there already: remove one` });
      }),
  },
  { destinationSubnets: addresses },
);

const tcpMatch = message(callerMatch, { destinationSubnets: addresses, sourceSubnet: addresses }).transform(
  (found, context): ConnectionMatchSpec => {
    const { port, sourceNamespace, sourceLabels, gateways } = found;
    const given = port !== undefined || sourceNamespace !== undefined || gateways.length > 0;
    if (!given && Object.keys(sourceLabels).length === 0)
      return fail(context, "has no condition: write one, or remove match to take every connection");
    return { ...found, sniHosts: [] };
  },
);

export const tlsRule: z.ZodType<ConnectionRuleSpec> = message({
  match: z.array(tlsMatch).min(1, "needs at least one, with sniHosts"),
  route,
});

export const tcpRule: z.ZodType<ConnectionRuleSpec> = message({ match: z.array(tcpMatch).default([]), route });

/** A name outside of the hosts of the object would never be asked of them. */
export function* serverNameProblems(
  hosts: readonly string[],
  tls: readonly ConnectionRuleSpec[],
): Iterable<{ readonly path: (string | number)[]; readonly message: string }> {
  for (const [index, { match }] of tls.entries())
    for (const [at, { sniHosts }] of match.entries())
      for (const [nth, name] of sniHosts.entries())
        if (!hosts.some((host) => covers(host, name)))
          yield {
            path: ["tls", index, "match", at, "sniHosts", nth],
            message: `${name} is none of the hosts of this object (${cut(hosts.join(", "))}): add it there, or remove it`,
          };
}
