import type { ClientRequest, ClientRequestArgs, IncomingMessage } from "node:http";
import { syncBuiltinESMExports } from "node:module";
import { urlToHttpOptions } from "node:url";

import { http, https } from "../env/node-http.ts";
import { TramaError } from "../errors.ts";
import { internals } from "../internals.ts";
import type { Mesh } from "../mesh-types.ts";
import { type AgentOptions, agents, fallback, originOf } from "./http-agent.ts";
import { interceptFetch } from "./intercept-fetch.ts";
import type { MeshDispatcher } from "./undici.ts";

export interface InterceptOptions {
  /** `http.request`, `http.get` and their `https` likes. Default true. */
  readonly http?: boolean | undefined;
  /** Built-in `fetch` and `WebSocket`, and undici's global dispatcher. Default true. */
  readonly fetch?: boolean | undefined;
}

/**
 * Leads requests that an application makes without knowing of the mesh into it, if they go to hosts of the mesh: those of Node's HTTP clients, and
 * with them axios, got, node-fetch and the AWS SDK, and built-in fetch. Requests to other hosts are left as they are, with their own agents
 * and dispatchers. Returns an undo; closing the mesh undoes it as well.
 *
 * Not caught: a client that took `http.request` as a value before, connections of `node:net`, `tls` and `http2`, requests over Unix sockets, and
 * dispatchers of undici that are given by hand; for those there is `mesh.interceptor()`.
 */
export function intercept(mesh: Mesh, options: InterceptOptions = {}): () => void {
  const inside = internals.get(mesh);
  if (inside === undefined)
    throw new TramaError("OPTIONS_INVALID", "this mesh was joined by another copy of trama", { field: "mesh" });
  if (!inside.open) throw new TramaError("CLOSED", "intercept() on a mesh that is closed");
  const undos: (() => void)[] = [];
  if (options.http !== false) undos.push(interceptHttp(mesh, inside.dispatcher));
  if (options.fetch !== false) undos.push(interceptFetch(inside.dispatcher));
  const undo = (): void => {
    for (const each of undos.splice(0)) each();
  };
  inside.onClose(() => {
    undo();
    return Promise.resolve();
  });
  return undo;
}

type Callback = (response: IncomingMessage) => void;
type Request = (...values: unknown[]) => ClientRequest;
interface Patched {
  request: Request;
  get: Request;
}

function interceptHttp(mesh: Mesh, dispatcher: MeshDispatcher): () => void {
  const pair = agents(mesh);
  const undos = [
    patch(http as unknown as Patched, "http:", pair.http, dispatcher),
    patch(https as unknown as Patched, "https:", pair.https, dispatcher),
  ];
  syncBuiltinESMExports();
  return () => {
    for (const undo of undos) undo();
    syncBuiltinESMExports();
  };
}

function patch(
  module: Patched,
  scheme: "http:" | "https:",
  agent: ReturnType<typeof agents>["http"],
  dispatcher: MeshDispatcher,
): () => void {
  const { request: original, get: originalGet } = module;
  /** Who patched over us still calls us: from then on we only pass on. */
  let active = true;
  const request: Request = (...values) => {
    const parsed = active ? parse(values) : undefined;
    if (parsed === undefined || Boolean(parsed.options.socketPath) || !concerns(parsed.options))
      return original(...values);
    const { options, callback } = parsed;
    return original({ ...options, [fallback]: options.agent, agent }, callback);
  };
  const concerns = (options: ClientRequestArgs): boolean => {
    try {
      const standing = dispatcher.standing(originOf(scheme, options));
      return standing === "stranger" ? dispatcher.refusesStrangers : standing !== "loopback";
    } catch {
      return false;
    }
  };
  const get: Request = (...values) => {
    const made = request(...values);
    made.end();
    return made;
  };
  module.request = request;
  module.get = get;
  return () => {
    active = false;
    if (module.request === request) module.request = original;
    if (module.get === get) module.get = originalGet;
  };
}

/** `(url, options?, callback?)` or `(options, callback?)`; what Node would refuse is left to it. */
function parse(values: readonly unknown[]): { options: AgentOptions; callback: Callback | undefined } | undefined {
  const [first, ...rest] = values;
  let base: ClientRequestArgs;
  if (typeof first === "string" || first instanceof URL) {
    const url = typeof first === "string" ? (URL.canParse(first) ? new URL(first) : undefined) : first;
    if (url === undefined) return undefined;
    base = urlToHttpOptions(url) as ClientRequestArgs;
  } else if (typeof first === "object" && first !== null) {
    base = {};
    rest.unshift(first);
  } else return undefined;
  const [second, third] = typeof rest[0] === "function" ? [undefined, rest[0]] : rest;
  return {
    options: { ...base, ...(second as ClientRequestArgs | undefined) },
    callback: third as Callback | undefined,
  };
}
