import type { Message } from "@bufbuild/protobuf";

import {
  assignment,
  edsCluster,
  outboundListener,
  routeConfiguration,
  routeTo,
  upstreamTlsContext,
} from "../../../kit/xds-resources.ts";

export interface Place {
  readonly address: string;
  readonly port: number;
  /** The server's SPIFFE id; absent: plaintext. */
  readonly account?: string;
}

export interface Branch {
  /** Makes the cluster's name. */
  readonly name: string;
  readonly weight: number;
  readonly places: readonly Place[];
}

/** All four types for one host: a listener, its routes, and a cluster with endpoints for each branch. */
export function hostResources(host: string, port: number, branches: readonly Branch[]): Message[] {
  const named = (name: string): string => `outbound|${port}|${name}|${host}`;
  const weights = Object.fromEntries(branches.map(({ name, weight }) => [named(name), weight]));
  return [
    outboundListener(`${host}:${port}`, named("")),
    routeConfiguration(named(""), [host, `${host}:${port}`], [routeTo(weights)]),
    ...branches.flatMap(({ name, places }) => {
      const account = places[0]?.account;
      return [
        edsCluster(
          named(name),
          account === undefined
            ? {}
            : {
                transportSocket: {
                  name: "envoy.transport_sockets.tls",
                  configType: { case: "typedConfig", value: upstreamTlsContext([account]) },
                },
              },
        ),
        assignment(named(name), places),
      ];
    }),
  ];
}
