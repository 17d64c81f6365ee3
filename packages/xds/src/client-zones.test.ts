import { create } from "@bufbuild/protobuf";
import { typeUrls } from "@trama/proto";
import { ClusterLoadAssignmentSchema } from "@trama/proto/envoy/config/endpoint/v3/endpoint_pb.js";
import { afterEach, describe, expect, test } from "vitest";

import { type assignment, edsCluster, locality } from "../../../test/kit/xds-resources.ts";
import { adsServer, join, leaveWorld, reviews, v1 } from "../test/client-world.ts";

afterEach(leaveWorld);

describe.each(["delta", "sotw"] as const)("zone aware routing, %s", (variant) => {
  test("the callers' own endpoints are asked for where they count; nobody waits for them", async () => {
    const server = await adsServer();
    const callers = (zone: string): ReturnType<typeof assignment> =>
      create(ClusterLoadAssignmentSchema, {
        clusterName: "local_cluster",
        endpoints: [locality([{ address: "10.0.0.9", port: 80 }], { locality: { region: "r", zone } })],
      });
    const zones = { localityConfigSpecifier: { case: "zoneAwareLbConfig", value: {} } as const };
    server.set(...reviews({ [v1]: 1 }), edsCluster(v1, { commonLbConfig: zones }));
    const { client } = join(server, { variant }, [], { region: "r", zone: "a" });
    await client.outbound("reviews:9080");
    const found = () => client.config.clusters.get(v1)?.zoneAware;
    const place = { region: "r", zone: "a", subZone: "" };
    expect(found()).toEqual({ routingPercent: 100, minClusterSize: 6, failOnPanic: false, local: undefined });
    await server.until(() => server.stream.subscribed(typeUrls.clusterLoadAssignment).has("local_cluster"));

    server.set(callers("a"));
    await server.until(() => found()?.local !== undefined);
    expect(found()?.local).toMatchObject({ locality: place, endpoints: { priorities: [[{ locality: place }]] } });
    const before = client.config.clusters.get(v1);
    server.set(callers("b"));
    await server.until(() => client.config.clusters.get(v1) !== before);
    expect(found()?.local?.endpoints.priorities[0]?.[0]?.locality.zone).toBe("b");

    server.set(edsCluster(v1));
    await server.until(() => found() === undefined);
    await server.until(() => !server.stream.subscribed(typeUrls.clusterLoadAssignment).has("local_cluster"));
  });

  test("who does not know where he is asks for no callers", async () => {
    const server = await adsServer();
    const zones = { localityConfigSpecifier: { case: "zoneAwareLbConfig", value: {} } as const };
    server.set(...reviews({ [v1]: 1 }), edsCluster(v1, { commonLbConfig: zones }));
    const { client } = join(server, { variant });
    await client.outbound("reviews:9080");
    expect(client.config.clusters.get(v1)?.zoneAware).toMatchObject({ local: undefined });
    expect(server.stream.subscribed(typeUrls.clusterLoadAssignment)).toEqual(new Set([v1]));
  });
});
