import { create, toBinary } from "@bufbuild/protobuf";
import type { DescMessage, Message } from "@bufbuild/protobuf";
import type { MeshConfig } from "@trama/engine";
import { typeUrls } from "@trama/proto";
import { ClusterSchema } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";
import { ClusterLoadAssignmentSchema } from "@trama/proto/envoy/config/endpoint/v3/endpoint_pb.js";
import { ListenerSchema } from "@trama/proto/envoy/config/listener/v3/listener_pb.js";
import { RouteConfigurationSchema } from "@trama/proto/envoy/config/route/v3/route_pb.js";
import type { DeltaDiscoveryRequest } from "@trama/proto/envoy/service/discovery/v3/discovery_pb.js";
import { DeltaDiscoveryResponseSchema } from "@trama/proto/envoy/service/discovery/v3/discovery_pb.js";
import * as fc from "fast-check";
import { expect, test } from "vitest";

import { testEnv } from "../../../test/kit/env.ts";
import {
  assignment,
  edsCluster,
  outboundListener,
  routeConfiguration,
  routeTo,
} from "../../../test/kit/xds-resources.ts";
import { parseBootstrap } from "./bootstrap-parse.ts";
import { createXdsClient } from "./client.ts";
import type { BidiStream, StreamHandlers, StreamTransport } from "./stream/transport.ts";

/**
 * The assembled configuration under chance: a server whose resources change while its answers come one by one, in any order.
 * What must hold after each of them, and when all has been said.
 */

const names = ["a", "b", "c"];

type World = Map<string, Map<string, Uint8Array>>;

const bytes = (schema: DescMessage, message: Message): Uint8Array => toBinary(schema, message);

/** Two listeners that share a route configuration or not; routes over some clusters; clusters that exist or not. */
function world(choice: { shared: boolean; clusters: string[][]; existing: string[]; port: number }): World {
  const routes = choice.shared ? ["r0", "r0"] : ["r0", "r1"];
  return new Map([
    [
      typeUrls.listener,
      new Map(
        routes.map((route, index) => [`l${index}:1`, bytes(ListenerSchema, outboundListener(`l${index}:1`, route))]),
      ),
    ],
    [
      typeUrls.routeConfiguration,
      new Map(
        [...new Set(routes)].map((route, index) => {
          const weights = Object.fromEntries(choice.clusters[index]!.map((name) => [name, 1]));
          return [route, bytes(RouteConfigurationSchema, routeConfiguration(route, ["*"], [routeTo(weights)]))];
        }),
      ),
    ],
    [typeUrls.cluster, new Map(choice.existing.map((name) => [name, bytes(ClusterSchema, edsCluster(name))]))],
    [
      typeUrls.clusterLoadAssignment,
      new Map(
        choice.existing.map((name) => {
          const endpoints = [{ address: "10.0.0.1", port: choice.port }];
          return [name, bytes(ClusterLoadAssignmentSchema, assignment(name, endpoints))];
        }),
      ),
    ],
  ]);
}

class FakeServer implements StreamTransport {
  world: World = new Map();
  handlers: StreamHandlers<Message> | undefined;
  readonly subscribed = new Map<string, Set<string>>();
  /** What the client was told of each name. */
  readonly told = new Map<string, Uint8Array | "missing">();
  /** Names of which it said that they do not exist; one may be coming to be since, with its endpoints still to come. */
  readonly denied = new Set<string>();
  #nonce = 0;

  open<Request, Response>(_method: unknown, handlers: StreamHandlers<Response>): BidiStream<Request> {
    this.handlers = handlers as unknown as StreamHandlers<Message>;
    return {
      send: (message) => this.#receive(message as DeltaDiscoveryRequest),
      pause() {},
      resume() {},
      close() {},
    };
  }

  #receive(request: DeltaDiscoveryRequest): void {
    expect(request.errorDetail?.message).toBeUndefined();
    const set = this.subscribed.get(request.typeUrl) ?? new Set();
    this.subscribed.set(request.typeUrl, set);
    for (const name of request.resourceNamesUnsubscribe) {
      set.delete(name);
      this.told.delete(`${request.typeUrl} ${name}`);
      this.denied.delete(`${request.typeUrl} ${name}`);
    }
    for (const name of request.resourceNamesSubscribe) {
      set.add(name);
      this.told.delete(`${request.typeUrl} ${name}`);
    }
  }

  /** What the client has not been told yet. */
  due(): [string, string][] {
    const found: [string, string][] = [];
    for (const [typeUrl, set] of this.subscribed) {
      for (const name of set) {
        const truth = this.world.get(typeUrl)?.get(name) ?? "missing";
        if (this.told.get(`${typeUrl} ${name}`) !== truth) found.push([typeUrl, name]);
      }
    }
    return found;
  }

  tell([typeUrl, name]: [string, string]): void {
    const value = this.world.get(typeUrl)?.get(name);
    this.told.set(`${typeUrl} ${name}`, value ?? "missing");
    if (value === undefined) this.denied.add(`${typeUrl} ${name}`);
    const resource = value && { name, version: String(this.#nonce), resource: { typeUrl, value } };
    this.handlers!.onMessage(
      create(DeltaDiscoveryResponseSchema, {
        typeUrl,
        nonce: `n${++this.#nonce}`,
        resources: resource ? [resource] : [],
        removedResources: resource ? [] : [name],
      }),
    );
  }
}

function forwards(config: MeshConfig): string[] {
  return [...config.outbound.values()].flatMap((listener) =>
    listener.routes.virtualHosts.flatMap((host) =>
      host.routes.flatMap(({ action }) => (action.kind === "forward" ? action.clusters.map((one) => one.name) : [])),
    ),
  );
}

const worlds = fc.record({
  shared: fc.boolean(),
  clusters: fc.tuple(fc.subarray(names, { minLength: 1 }), fc.subarray(names, { minLength: 1 })),
  existing: fc.subarray(names),
  port: fc.integer({ min: 1, max: 3 }),
});

test("whatever the order: whole configurations only, no traffic cut by what is still unknown, the truth in the end (R26, R27)", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(worlds, { minLength: 1, maxLength: 4 }),
      fc.array(fc.nat(), { minLength: 1 }),
      async (plans, picks) => {
        const env = testEnv();
        const server = new FakeServer();
        const violations: string[] = []; // collected: the client catches what onConfig throws
        const client = createXdsClient({
          bootstrap: parseBootstrap({ xds_servers: [{ server_uri: "x:1", channel_creds: [{ type: "insecure" }] }] }),
          transport: server,
          clock: env.clock,
          random: env.random,
          log: env.log,
          regex: env.regex,
          onConfig(config) {
            // A cluster that a published route names is there, unless the server said that there is none.
            for (const name of forwards(config)) {
              const known = config.clusters.has(name) || server.denied.has(`${typeUrls.cluster} ${name}`);
              if (!known) violations.push(`${name} is named and unknown`);
            }
            // And nothing is there that nobody names.
            for (const name of config.clusters.keys())
              if (!forwards(config).includes(name)) violations.push(`${name} is left over`);
          },
        });
        client.start();
        for (const listener of ["l0:1", "l1:1"]) client.outbound(listener).catch(() => {});
        await Promise.resolve();
        let at = 0;
        const step = (): boolean => {
          const due = server.due();
          if (due.length === 0) return false;
          server.tell(due[picks[at++ % picks.length]! % due.length]!);
          return true;
        };
        for (const plan of plans) {
          server.world = world(plan);
          // Some of it is told before the world changes again.
          for (let i = 0; i < picks[at % picks.length]! % 12; i++) step();
        }
        for (let i = 0; step(); i++) expect(i).toBeLessThan(200);

        expect(violations).toEqual([]);
        const last = plans.at(-1)!;
        expect([...client.config.outbound.keys()].toSorted()).toEqual(["l0:1", "l1:1"]);
        const wanted = new Set(last.shared ? last.clusters[0] : last.clusters.flat());
        expect(new Set(forwards(client.config))).toEqual(wanted);
        expect(server.subscribed.get(typeUrls.cluster)).toEqual(wanted);
        for (const [name, cluster] of client.config.clusters) {
          if (last.existing.includes(name)) {
            expect(cluster.endpoints.priorities[0]?.[0]?.endpoints[0]?.port).toBe(last.port);
          }
        }
        for (const name of wanted)
          if (last.existing.includes(name)) expect(client.config.clusters.has(name)).toBe(true);
        await client.close();
        expect(env.clock.pending).toBe(0);
      },
    ),
    { numRuns: 300, seed: 7 },
  );
});
