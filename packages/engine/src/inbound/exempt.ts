import type { Call } from "../call.ts";

/** What is exempt where nobody says anything. */
export const healthPaths: readonly string[] = ["/healthz", "/livez", "/readyz"];

/** gRPC's own health service is never refused either. */
const GRPC_HEALTH = "/grpc.health.v1.Health/";

/**
 * Whether a request is never refused for want of capacity: who asks whether a process lives must be answered the better the worse it is,
 * else it is ended for being busy. `paths` are without query.
 */
export function exemption(paths: readonly string[]): (call: Call) => boolean {
  const exempt = new Set(paths);
  return ({ path }) => {
    if (path.startsWith(GRPC_HEALTH)) return true;
    const query = path.indexOf("?");
    return exempt.has(query < 0 ? path : path.slice(0, query));
  };
}
