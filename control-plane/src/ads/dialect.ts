import type {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
  DiscoveryRequest,
  DiscoveryResponse,
} from "@trama/proto/envoy/service/discovery/v3/discovery_pb.js";

import { DeltaSubscription } from "./delta.ts";
import { SotwSubscription } from "./sotw.ts";
import type { Subscription } from "./subscription.ts";

/** What the two requests have in common. */
export type AnyRequest = Pick<DiscoveryRequest, "node" | "typeUrl" | "responseNonce" | "errorDetail">;

/** In what delta and state of the world differ, as far as the session must know. */
export interface Dialect<Req extends AnyRequest, Res> {
  readonly name: "delta" | "sotw";
  /** Names that the request brings, for the bounds of S30. */
  names(req: Req): readonly string[];
  /** S2: in SotW a request with a stale nonce is about the past and gets no answer; in delta its names count all the same. */
  readonly dropsStale: boolean;
  subscription(typeUrl: string, identifier: string): Subscription<Req, Res>;
}

export const delta: Dialect<DeltaDiscoveryRequest, DeltaDiscoveryResponse> = {
  name: "delta",
  names: (req) => [
    ...req.resourceNamesSubscribe,
    ...req.resourceNamesUnsubscribe,
    ...Object.keys(req.initialResourceVersions),
  ],
  dropsStale: false,
  subscription: (typeUrl, identifier) => new DeltaSubscription(typeUrl, identifier),
};

export const sotw: Dialect<DiscoveryRequest, DiscoveryResponse> = {
  name: "sotw",
  names: (req) => req.resourceNames,
  dropsStale: true,
  subscription: (typeUrl, identifier) => new SotwSubscription(typeUrl, identifier),
};
