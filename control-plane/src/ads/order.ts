import { typeUrls } from "@trama/proto";

/**
 * S18, make before break. What refers to something comes after it:
 * secrets (named by clusters and listeners), clusters, endpoints (of clusters), listeners, routes (which name clusters;
 * after the listeners, because a client asks for routes when a listener names them).
 */
const makeOrder: readonly string[] = [
  typeUrls.secret,
  typeUrls.cluster,
  typeUrls.clusterLoadAssignment,
  typeUrls.listener,
  typeUrls.routeConfiguration,
];

/**
 * And what refers goes before what it refers to: listeners, their routes, the clusters of these, the endpoints of those,
 * at last secrets. A removal waits until everything above it was ACKed.
 */
const breakOrder: readonly string[] = [
  typeUrls.listener,
  typeUrls.routeConfiguration,
  typeUrls.cluster,
  typeUrls.clusterLoadAssignment,
  typeUrls.secret,
];

/** Types that are not known have no place in the order: they come last. */
const rank = (order: readonly string[], typeUrl: string): number => {
  const at = order.indexOf(typeUrl);
  return at < 0 ? order.length : at;
};

export const compareMake = (a: string, b: string): number => rank(makeOrder, a) - rank(makeOrder, b);
export const compareBreak = (a: string, b: string): number => rank(breakOrder, a) - rank(breakOrder, b);

export const isKnownType = (typeUrl: string): boolean => makeOrder.includes(typeUrl);
