import type { Endpoint } from "../src/cluster/endpoint.ts";
import type { ClusterState } from "../src/state.ts";

/** The endpoint of this address in the newest snapshot that has a cluster. */
export function held({ members }: ClusterState, address: string): Endpoint {
  const found = members
    .at(-1)
    ?.endpoints.flat()
    .find(({ config }) => config.address === address);
  if (found === undefined) throw new Error(`nobody has ${address}`);
  return found;
}
