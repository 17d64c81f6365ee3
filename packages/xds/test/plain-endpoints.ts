import type { EndpointConfig, EndpointSet } from "@trama/engine";

/** The same assignment with the fields of each endpoint as its own, however they are held: to be compared. */
export function plain(set: EndpointSet): EndpointSet {
  const fields = (endpoint: EndpointConfig): EndpointConfig => {
    const { address, host, port, weight, health, tlsMode, workload, hashKey } = endpoint;
    return { address, host, port, weight, health, tlsMode, workload, hashKey };
  };
  const priorities = set.priorities.map((row) =>
    row.map((each) => ({ ...each, endpoints: each.endpoints.map(fields) })),
  );
  return { ...set, priorities };
}
