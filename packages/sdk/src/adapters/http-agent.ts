import type { Agent, ClientRequest, ClientRequestArgs } from "node:http";
import type { Agent as HttpsAgent } from "node:https";
import type { Duplex } from "node:stream";
import { MeshError } from "@trama/engine";

import { type CallContext, heldContext } from "../context.ts";
import { http, https } from "../env/node-http.ts";
import { TramaError } from "../errors.ts";
import { internals } from "../internals.ts";
import type { Mesh } from "../mesh-types.ts";
import { HttpEntrance, madeIn } from "./http-entrance.ts";
import type { Standing } from "./host-lookup.ts";
import { ledAgent } from "./led-connections.ts";
import type { PipeSocket } from "./pipe-socket.ts";
import type { MeshDispatcher } from "./undici.ts";

/** Agents that lead requests of `node:http` and `node:https` into the mesh. */
export interface MeshAgents {
  readonly http: Agent;
  /** For `https:` URLs. Transport security of hosts of the mesh is the mesh's own business; others get ordinary TLS. */
  readonly https: HttpsAgent;
}

/** What Node hands to an agent, undocumented and as old as agents: other agents rely on it too. */
export type AgentOptions = ClientRequestArgs & { [fallback]?: Agent | false | undefined };
interface Queue {
  addRequest(request: ClientRequest, options: AgentOptions): void;
}

/** The agent that a request would have had, for a host that the mesh does not know. */
export const fallback: unique symbol = Symbol("trama.fallback");

const made = new WeakMap<Mesh, MeshAgents>();

/**
 * The agents of a mesh: `http.request(url, { agent: agents(mesh).http })`, or wherever a library takes agents. Requests to hosts of the
 * mesh get all of its policy; those to other hosts go out as from an ordinary agent, or are refused under REGISTRY_ONLY. The same every time.
 */
export function agents(mesh: Mesh): MeshAgents {
  let pair = made.get(mesh);
  if (pair === undefined) {
    const inside = internals.get(mesh);
    if (inside === undefined)
      throw new TramaError("OPTIONS_INVALID", "this mesh was joined by another copy of trama", { field: "mesh" });
    pair = meshAgents(inside.dispatcher, inside.outboundTrafficPolicy);
    const { http: plain, https: secured } = pair;
    inside.onClose(() => {
      plain.destroy();
      secured.destroy();
      return Promise.resolve();
    });
    made.set(mesh, pair);
  }
  return pair;
}

/** Ours stand in front of Node's own, so that `instanceof` holds and everything else that agents can do is theirs. */
export function meshAgents(dispatcher: MeshDispatcher, policy: "ALLOW_ANY" | "REGISTRY_ONLY"): MeshAgents {
  const entrance = new HttpEntrance(dispatcher);
  return {
    http: lead(
      new http.Agent(agentOptions),
      "http:",
      new http.Agent({ keepAlive: true }),
      entrance,
      dispatcher,
      policy,
    ),
    https: lead(
      new https.Agent(agentOptions),
      "https:",
      new https.Agent({ keepAlive: true }),
      entrance,
      dispatcher,
      policy,
    ),
  };
}

/** Pipes are cheap to keep: no descriptor, no timer. */
const agentOptions = { keepAlive: true, maxFreeSockets: 64, scheduling: "lifo" } as const;

function lead<A extends Agent>(
  agent: A,
  scheme: "http:" | "https:",
  plain: Agent,
  entrance: HttpEntrance,
  dispatcher: MeshDispatcher,
  policy: "ALLOW_ANY" | "REGISTRY_ONLY",
): A {
  const queue = agent as unknown as Queue;
  const leading = ledAgent(scheme, dispatcher.connector);
  const led = leading as unknown as Queue;
  const addRequest = queue.addRequest.bind(queue);
  const destroy = agent.destroy.bind(agent);

  // The same host again and again, nearly always.
  let last = { host: "", port: "", origin: "" };
  const origin = (options: AgentOptions): string => {
    const host = options.hostname ?? options.host ?? "localhost";
    const port = String(options.port ?? (scheme === "https:" ? 443 : 80));
    if (host !== last.host || port !== last.port) last = { host, port, origin: originOf(scheme, options) };
    return last.origin;
  };

  const enter = (request: ClientRequest, options: AgentOptions): void => {
    // Taken where the request is made, never where its connection was (dataplane.md §16).
    const context = heldContext();
    if (context !== undefined) (request as { [madeIn]?: CallContext })[madeIn] = context;
    addRequest(request, options);
  };
  const leave = (request: ClientRequest, options: AgentOptions): void => {
    const own = options[fallback];
    const { createConnection } = options;
    if (own === undefined && typeof createConnection === "function") {
      // What Node does for a request that brings its own connection.
      const socket = createConnection(options, (error: Error | null, later: Duplex) =>
        error === null ? request.onSocket(later as never) : noSocket(request, error),
      );
      if (socket) request.onSocket(socket as never);
    } else
      (
        (own === false ? new (scheme === "https:" ? https : http).Agent() : (own ?? plain)) as unknown as Queue
      ).addRequest(request, options);
  };
  const go = (standing: Exclude<Standing, "unasked">, request: ClientRequest, options: AgentOptions): void => {
    if (request.destroyed) return noSocket(request);
    // The connection is the mesh's, and all else as from an ordinary agent.
    if (standing === "opaque") return led.addRequest(request, withOwn(options));
    // The dispatcher refuses under REGISTRY_ONLY, and records that it did.
    if (standing === "mesh" || policy === "REGISTRY_ONLY") enter(request, options);
    else leave(request, options);
  };

  queue.addRequest = (request, options) => {
    const to = origin(options);
    const standing = dispatcher.standing(to);
    if (standing === "loopback") return leave(request, options);
    if (standing !== "unasked") return go(standing, request, options);
    void dispatcher.ask(to).then((answer) => {
      if (answer instanceof MeshError) noSocket(request, answer);
      else go(answer, request, options);
    });
    return undefined;
  };
  (agent as { createConnection: unknown }).createConnection = (options: AgentOptions): PipeSocket =>
    entrance.connect(origin(options), scheme === "https:");
  agent.destroy = (): void => {
    destroy();
    plain.destroy();
    leading.destroy();
  };
  return agent;
}

/** What the request's own agent says of TLS holds, as it would there: agents' options go before those of their requests. */
function withOwn(options: AgentOptions): AgentOptions {
  const own = options[fallback];
  if (own === undefined || own === false) return options;
  return { ...options, ...(own as unknown as { readonly options: AgentOptions }).options };
}

/** How agents tell a request that there will be no connection: it then ends with this error, or the one it was destroyed with. */
function noSocket(request: ClientRequest, error?: Error): void {
  (request as unknown as { onSocket(socket: null, error?: Error): void }).onSocket(null, error);
}

/** Where a request wants to go, by its URL and not by its Host field. */
export function originOf(scheme: string, { hostname, host, port }: ClientRequestArgs): string {
  const name = hostname ?? host ?? "localhost";
  const bracketed = name.includes(":") && !name.startsWith("[") ? `[${name}]` : name;
  return `${scheme}//${bracketed}:${port ?? (scheme === "https:" ? 443 : 80)}`;
}
