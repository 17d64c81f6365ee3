import type * as z from "zod";

import { type AuthorizationPolicySpec, authorizationPolicySchema } from "./authorization-policy.ts";
import { type DestinationRuleSpec, destinationRuleSchema } from "./destination-rule.ts";
import { type PeerAuthenticationSpec, peerAuthenticationSchema } from "./peer-authentication.ts";
import { type ServiceEntrySpec, serviceEntrySchema } from "./service-entry.ts";
import { type SidecarSpec, sidecarSchema } from "./sidecar.ts";
import { type VirtualServiceSpec, virtualServiceSchema } from "./virtual-service.ts";
import { type WorkloadEntrySpec, workloadEntrySchema } from "./workload-entry.ts";

/** The kinds that are understood, and what their `spec` is after validation. */
export interface Specs {
  readonly AuthorizationPolicy: AuthorizationPolicySpec;
  readonly DestinationRule: DestinationRuleSpec;
  readonly PeerAuthentication: PeerAuthenticationSpec;
  readonly ServiceEntry: ServiceEntrySpec;
  readonly Sidecar: SidecarSpec;
  readonly VirtualService: VirtualServiceSpec;
  readonly WorkloadEntry: WorkloadEntrySpec;
}

export type Kind = keyof Specs;

interface KindDefinition {
  readonly group: string;
  readonly versions: readonly string[];
  readonly schema: z.ZodType<Specs[Kind]>;
}

const networking = { group: "networking.istio.io", versions: ["v1", "v1beta1", "v1alpha3"] };
const security = { group: "security.istio.io", versions: ["v1", "v1beta1"] };

export const kinds: Readonly<Record<Kind, KindDefinition>> = {
  AuthorizationPolicy: { ...security, schema: authorizationPolicySchema },
  DestinationRule: { ...networking, schema: destinationRuleSchema },
  PeerAuthentication: { ...security, schema: peerAuthenticationSchema },
  ServiceEntry: { ...networking, schema: serviceEntrySchema },
  Sidecar: { ...networking, schema: sidecarSchema },
  VirtualService: { ...networking, schema: virtualServiceSchema },
  WorkloadEntry: { ...networking, schema: workloadEntrySchema },
};

/**
 * Kinds that decide who may call whom. A file of theirs that cannot be used at the very first start is no reason to serve
 * without it: that would open what it closes.
 */
export const securityKinds: readonly Kind[] = ["AuthorizationPolicy", "PeerAuthentication"];

const later = "that comes with a later release, remove the object";

/** Kinds that users have, and why they are refused (istio-api §16). */
export const refusedKinds: Readonly<Record<string, string>> = {
  EnvoyFilter: "it patches Envoy's own configuration, and there is no Envoy here; write middleware in the application",
  WasmPlugin:
    "there is no interface for extensions in Wasm (phases AUTHN, AUTHZ, STATS); write middleware in the application",
  TrafficExtension: "there is no interface for extensions in Wasm or Lua; write middleware in the application",
  Gateway: `gateways; ${later}`,
  HTTPRoute: `the Gateway API; write a VirtualService`,
  GRPCRoute: `the Gateway API; write a VirtualService`,
  ProxyConfig: `settings of a proxy; ${later}`,
  RequestAuthentication: `authentication by JWT; ${later}`,
  Telemetry: `settings of telemetry; ${later}`,
  WorkloadGroup: `registration of workloads; write a WorkloadEntry for each`,
  Service: "objects of Kubernetes; write a ServiceEntry with a workloadSelector",
  List: "lists of objects; write its items as documents, divided by a line with ---",
};
