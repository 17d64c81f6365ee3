import {
  type sendUnaryData,
  type Server,
  type ServerUnaryCall,
  type ServerWritableStream,
  status as codes,
} from "@grpc/grpc-js";

import { TramaError } from "../errors.ts";
import { internals } from "../internals.ts";
import type { Mesh } from "../mesh-types.ts";
import {
  health,
  type HealthCheckRequest,
  type HealthCheckResponse,
  NOT_SERVING,
  SERVICE_UNKNOWN,
  SERVING,
  type ServingStatus,
} from "./grpc-health-messages.ts";

export interface HealthOptions {
  /** Full names of the services to answer for, such as `bookshop.v1.Ratings`, beside `""`, the server as a whole. */
  readonly services?: readonly string[] | undefined;
}

/** What the application itself says of its services. */
export interface Health {
  /**
   * Whether this service can do its work now, as far as the application knows; `""` is the server as a whole. Every one begins as able to.
   * A process that is not ready, or that drains, is NOT_SERVING whatever is said here.
   */
  set(service: string, serving: boolean): void;
}

interface Watcher {
  readonly call: ServerWritableStream<HealthCheckRequest, HealthCheckResponse>;
  last: ServingStatus | undefined;
}

/**
 * Adds `grpc.health.v1.Health` (`Check` and `Watch`) to a grpc-js server. It answers SERVING when this process has all that it needs to serve,
 * as `mesh.ready()` waits for it, and NOT_SERVING as soon as `mesh.close()` begins, while calls are still served. On a protected server
 * it is a service like any other: mutual TLS and authorization hold for it. A probe that has no certificate is served by a plain
 * `Server` of its own, with nothing but this on it; see docs/grpc.md.
 */
export function addHealth(mesh: Mesh, server: Server, options: HealthOptions = {}): Health {
  const inside = internals.get(mesh);
  if (inside === undefined)
    throw new TramaError("OPTIONS_INVALID", "this mesh was joined by another copy of trama", { field: "mesh" });
  if (!inside.open) throw new TramaError("CLOSED", "addHealth() on a mesh that is closed");
  const services = new Map<string, boolean>(["", ...(options.services ?? [])].map((name) => [name, true]));
  const watchers = new Set<Watcher>();

  const statusOf = (service: string): ServingStatus | undefined => {
    const able = services.get(service);
    if (able === undefined) return undefined;
    return able && inside.ready ? SERVING : NOT_SERVING;
  };
  const tell = (watcher: Watcher): void => {
    const now = statusOf(watcher.call.request.service) ?? SERVICE_UNKNOWN;
    if (now !== watcher.last) watcher.call.write({ status: now });
    watcher.last = now;
    // Nobody may have to wait for those who only look on.
    if (!inside.open) watcher.call.end();
  };
  const tellAll = (): void => {
    for (const watcher of watchers) tell(watcher);
  };

  server.addService(health, {
    Check(
      call: ServerUnaryCall<HealthCheckRequest, HealthCheckResponse>,
      done: sendUnaryData<HealthCheckResponse>,
    ): void {
      const now = statusOf(call.request.service);
      if (now === undefined) done({ code: codes.NOT_FOUND, details: "unknown service" });
      else done(null, { status: now });
    },
    Watch(call: ServerWritableStream<HealthCheckRequest, HealthCheckResponse>): void {
      const watcher: Watcher = { call, last: undefined };
      watchers.add(watcher);
      call.on("close", () => watchers.delete(watcher));
      call.on("cancelled", () => watchers.delete(watcher));
      call.on("error", () => {});
      tell(watcher);
    },
  });
  inside.onChange(tellAll);
  return {
    set(service, serving) {
      services.set(service, serving);
      tellAll();
    },
  };
}
