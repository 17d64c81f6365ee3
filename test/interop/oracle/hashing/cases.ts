import { Cluster_DiscoveryType, Cluster_LbPolicy } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";
import type { ClusterSchema } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";
import type { RouteAction_HashPolicySchema } from "@trama/proto/envoy/config/route/v3/route_components_pb.js";
import { MaglevSchema } from "@trama/proto/envoy/extensions/load_balancing_policies/maglev/v3/maglev_pb.js";
import {
  RingHashSchema,
  RingHash_HashFunction,
} from "@trama/proto/envoy/extensions/load_balancing_policies/ring_hash/v3/ring_hash_pb.js";

import { any, duration, locality } from "../../../kit/xds-resources.ts";
import type { Init } from "../../envoy/observe.ts";
import type { Chance } from "../chance.ts";
import type { WireRequest } from "../http1.ts";
import type { RouteInit } from "../routes/feature.ts";

type ClusterInit = Init<typeof ClusterSchema>;
type HashPolicyInit = Init<typeof RouteAction_HashPolicySchema>;

/** A cluster that hashes, a route to it that says what, and requests with or without it. */
export interface HashCase {
  readonly cluster: ClusterInit;
  readonly route: RouteInit;
  readonly requests: readonly WireRequest[];
}

const loopback = "127.0.0.1";

export function hashCase(chance: Chance, at: number, ports: readonly number[], requests: number): HashCase {
  const name = `hash-${at}`;
  const path = `/${name}/`;
  return {
    cluster: { ...clusterOf(chance, ports), name },
    route: {
      name,
      match: { pathSpecifier: { case: "prefix", value: path } },
      action: {
        case: "route",
        value: {
          clusterSpecifier: { case: "cluster", value: name },
          timeout: duration(0),
          hashPolicy: chance.list(1, 3, () => policy(chance)),
        },
      },
    } as RouteInit,
    requests: Array.from({ length: requests }, () => request(chance, path)),
  };
}

// ── the cluster ──────────────────────────────────────────────────────────────────────────────────────────────────

function clusterOf(chance: Chance, ports: readonly number[]): Omit<ClusterInit, "name"> {
  const weighted = chance.maybe();
  const members = chance.some(chance.int(1, ports.length), ports).map((port) => ({
    address: loopback,
    port,
    weight: weighted ? chance.int(1, 9) : 1,
  }));
  const cut = chance.maybe(0.4) ? chance.int(1, members.length) : members.length;
  const zones = [members.slice(0, cut), members.slice(cut)].filter((each) => each.length > 0);
  const endpoints = zones.map((each, index) => {
    const made = locality(each, {
      locality: { region: "r", zone: `z${index}` } as never,
      loadBalancingWeight: chance.int(1, 5),
    });
    for (const one of made.lbEndpoints ?? [])
      if (chance.maybe(0.2))
        one.metadata = { filterMetadata: { "envoy.lb": { hash_key: `node-${chance.int(0, 1e9)}` } } } as never;
    return made;
  });
  return {
    clusterDiscoveryType: { case: "type", value: Cluster_DiscoveryType.STATIC },
    connectTimeout: duration(5_000),
    loadAssignment: { clusterName: "c", endpoints },
    ...chance.either<Partial<ClusterInit>>(
      () => ring(chance),
      () => typedRing(chance),
      () => maglev(chance),
      () => typedMaglev(chance),
    ),
  };
}

/** Envoy counts the weights of localities only when it is told to; we always do. */
const commonLbConfig = { localityConfigSpecifier: { case: "localityWeightedLbConfig" as const, value: {} } };

function sizes(chance: Chance): { minimumRingSize: bigint; maximumRingSize?: bigint } {
  const minimum = chance.pick([1, 13, 100, 1_024, 5_000]);
  return {
    minimumRingSize: BigInt(minimum),
    ...(chance.maybe(0.3) && { maximumRingSize: BigInt(minimum + chance.int(0, 300)) }),
  };
}

function ring(chance: Chance): Partial<ClusterInit> {
  return {
    lbPolicy: Cluster_LbPolicy.RING_HASH,
    lbConfig: { case: "ringHashLbConfig", value: sizes(chance) },
    commonLbConfig,
  };
}

function typedRing(chance: Chance): Partial<ClusterInit> {
  return typed(
    any(RingHashSchema, {
      ...sizes(chance),
      hashFunction: RingHash_HashFunction.XX_HASH,
      localityWeightedLbConfig: {},
    }),
  );
}

const primes = [13n, 251n, 65_537n];

function maglev(chance: Chance): Partial<ClusterInit> {
  return {
    lbPolicy: Cluster_LbPolicy.MAGLEV,
    lbConfig: { case: "maglevLbConfig", value: { tableSize: chance.pick(primes) } },
    commonLbConfig,
  };
}

function typedMaglev(chance: Chance): Partial<ClusterInit> {
  return typed(any(MaglevSchema, { tableSize: chance.pick(primes), localityWeightedLbConfig: {} }));
}

function typed(typedConfig: ReturnType<typeof any>): Partial<ClusterInit> {
  return { loadBalancingPolicy: { policies: [{ typedExtensionConfig: { name: "policy", typedConfig } }] } };
}

// ── what is hashed ───────────────────────────────────────────────────────────────────────────────────────────────

function policy(chance: Chance): HashPolicyInit {
  const terminal = chance.maybe(0.3);
  const policySpecifier = chance.either<NonNullable<HashPolicyInit["policySpecifier"]>>(
    () => ({ case: "header", value: { headerName: chance.pick(["x-user", "X-Other", ":path", ":authority"]) } }),
    () => ({
      case: "header",
      value: {
        headerName: "x-user",
        regexRewrite: { pattern: { regex: "([a-m]+)([0-9]*)" }, substitution: chance.pick(["", "\\2", "-\\1-"]) },
      },
    }),
    () => ({ case: "cookie", value: { name: chance.pick(["session", "s"]) } }),
    () => ({ case: "queryParameter", value: { name: chance.pick(["user", "u"]) } }),
    () => ({ case: "connectionProperties", value: { sourceIp: true } }),
  );
  return { policySpecifier, terminal };
}

function request(chance: Chance, path: string): WireRequest {
  const word = (): string =>
    chance
      .list(0, 12, () => chance.pick("abmnxyz019-_/ %".split("")))
      .join("")
      .trim();
  const headers: [string, string][] = [];
  for (const name of ["x-user", "x-other"])
    for (let i = chance.pick([0, 1, 1, 1, 2]); i > 0; i--) headers.push([name, word()]);
  if (chance.maybe())
    headers.push([
      "cookie",
      chance.pick([`session=${chance.int(0, 999)}`, `a=b; s="${chance.int(0, 99)}"; session=x`, "s="]),
    ]);
  const query = chance.pick(["", `?user=${chance.int(0, 999)}`, `?a=1&u=${chance.int(0, 99)}&u=2`, "?user"]);
  return { method: "GET", target: path + query, host: chance.pick(["a", "b:80"]), headers };
}
