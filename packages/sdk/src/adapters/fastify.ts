import type { RequestListener, Server, ServerOptions } from "node:http";
import type { FastifyInstance, FastifyPluginCallback, FastifyRequest, FastifyServerFactory } from "fastify";

import type { Mesh } from "../mesh-types.ts";
import type { MeshRequest } from "./connection.ts";
import { createServer } from "./http.ts";

export { peerOf } from "./connection.ts";
export type { MeshRequest } from "./connection.ts";

/**
 * For `Fastify({ serverFactory: serverFactory(mesh) })`: `app.listen()` then serves as part of the mesh. Fastify's own limits
 * (`requestTimeout`, `keepAliveTimeout`, `connectionTimeout`) hold where the application set them.
 */
export function serverFactory(mesh: Mesh): FastifyServerFactory {
  return (handler: RequestListener, options): Server => {
    const { http, requestTimeout, keepAliveTimeout, connectionTimeout } = options as FastifyLimits;
    const server = createServer(mesh, http ?? {}, handler);
    if (requestTimeout !== undefined && requestTimeout > 0) server.requestTimeout = requestTimeout;
    if (keepAliveTimeout !== undefined) server.keepAliveTimeout = keepAliveTimeout;
    if (connectionTimeout !== undefined && connectionTimeout > 0) server.timeout = connectionTimeout;
    return server;
  };
}

interface FastifyLimits {
  readonly http?: ServerOptions;
  readonly requestTimeout?: number;
  readonly keepAliveTimeout?: number;
  readonly connectionTimeout?: number;
}

/** A plug-in that adds `request.mesh`: `app.register(meshRequests)`. Without it there is `peerOf(request.raw)`. */
export const meshRequests: FastifyPluginCallback = Object.assign(
  (app: FastifyInstance, _options: unknown, done: () => void): void => {
    app.decorateRequest("mesh", {
      getter(this: FastifyRequest) {
        return this.raw.mesh;
      },
    });
    done();
  },
  // The decorator is meant for the whole application, not for a scope of its own.
  { [Symbol.for("skip-override")]: true, [Symbol.for("fastify.display-name")]: "trama" },
);

declare module "fastify" {
  interface FastifyRequest {
    /** Who sent the request; needs the `meshRequests` plug-in. */
    readonly mesh: MeshRequest | undefined;
  }
}
