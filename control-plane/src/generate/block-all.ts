import { RouteConfigurationSchema } from "@trama/proto/envoy/config/route/v3/route_pb.js";

import type { WireResource } from "../snapshot.ts";
import { wireResource } from "./wire.ts";

/** Istio's name for the routes of what must not be called. */
export const blockAllName = "block_all";

/** Every request is answered 502, as an Istio sidecar does under REGISTRY_ONLY. */
export function blockAll(): WireResource {
  return wireResource(RouteConfigurationSchema, blockAllName, {
    name: blockAllName,
    virtualHosts: [
      {
        name: blockAllName,
        domains: ["*"],
        routes: [
          {
            name: blockAllName,
            match: { pathSpecifier: { case: "prefix", value: "/" } },
            action: { case: "directResponse", value: { status: 502 } },
          },
        ],
      },
    ],
  });
}
