import { join } from "node:path";

import { create, type DescMessage, type Message, toBinary } from "@bufbuild/protobuf";
import { typeUrlOf } from "@trama/proto";
import { ClusterSchema } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";
import { ClusterLoadAssignmentSchema } from "@trama/proto/envoy/config/endpoint/v3/endpoint_pb.js";
import { ListenerSchema } from "@trama/proto/envoy/config/listener/v3/listener_pb.js";
import { RouteConfigurationSchema } from "@trama/proto/envoy/config/route/v3/route_pb.js";

import type { Context } from "../../peer.ts";
import { freePorts, type RunningProcess, startProcess } from "../../process.ts";
import { until } from "../plane.ts";

/** One way to run go-control-plane. */
export interface Mode {
  readonly cache: "snapshot" | "linear";
  /** The snapshot cache's flag, and the server that keeps the order of types. */
  readonly ads: boolean;
  readonly form: "delta" | "sotw";
}

/** What a callback of its saw, in order. */
export interface Event {
  readonly event: "open" | "closed" | "request" | "response";
  /** Which start of the server. */
  readonly start: number;
  readonly stream: number;
  readonly type?: string;
  readonly nonce?: string;
  readonly node?: string;
  readonly names?: readonly string[];
  readonly unsubscribe?: readonly string[];
  /** `initial_resource_versions`. */
  readonly held?: Readonly<Record<string, string>>;
  /** Of a NACK. */
  readonly error?: string;
  readonly version?: string;
  /** Resources of a response. */
  readonly count?: number;
  readonly removed?: readonly string[];
}

/** A control plane on go-control-plane, in a process of its own. */
export interface Gcp {
  readonly address: string;
  readonly events: readonly Event[];
  /** Everything that a node may see from now on. */
  set(node: string, version: string, resources: readonly Message[]): Promise<void>;
  /** Ends the server and all its streams, as a crash would. */
  stop(): Promise<void>;
  /** On the same port; `fresh`: it has forgotten everything, and `set` comes first. */
  start(fresh?: {
    readonly node: string;
    readonly version: string;
    readonly resources: readonly Message[];
  }): Promise<void>;
  /** Waits for an event from the one with this number on; see `events.length`. */
  seen(what: string, from: number, wanted: (event: Event) => boolean): Promise<Event>;
}

export const typeUrl = {
  listener: typeUrlOf(ListenerSchema),
  route: typeUrlOf(RouteConfigurationSchema),
  cluster: typeUrlOf(ClusterSchema),
  endpoints: typeUrlOf(ClusterLoadAssignmentSchema),
} as const;

const schemas: ReadonlyMap<string, DescMessage> = new Map(
  [ListenerSchema, RouteConfigurationSchema, ClusterSchema, ClusterLoadAssignmentSchema].map((one) => [
    one.typeName,
    one,
  ]),
);

export function program(context: Context): string {
  return join(context.cache.root, "bin", "gcp");
}

/** Starts one at an address of this run; it ends with the capability, or with `close`. */
export async function startGcp(
  context: Context,
  mode: Mode,
  last: number,
): Promise<Gcp & { close(): Promise<void>; readonly process: RunningProcess }> {
  const host = context.addresses.at(last);
  const address = `${host}:${(await freePorts(1, host))[0]}`;
  const events: Event[] = [];
  const waiting = new Map<number, (error: string | undefined) => void>();
  const args = [address, mode.cache, mode.ads ? "ads" : "plain", mode.form];
  const running = startProcess(program(context), args, {
    cwd: context.scratch,
    signal: context.signal,
    onLine(line) {
      const told = JSON.parse(line) as Event & { readonly answers?: number; readonly error?: string };
      if (told.answers === undefined) events.push(told);
      else waiting.get(told.answers)?.(told.error);
    },
  });
  let count = 0;
  const order = async (command: Readonly<Record<string, unknown>>): Promise<void> => {
    const id = ++count;
    const answer = new Promise<string | undefined>((resolve) => waiting.set(id, resolve));
    running.write(JSON.stringify({ id, ...command }));
    const ended = running.ended.then((why) => `it ended (${why}): ${running.output().slice(-500)}`);
    const error = await Promise.race([answer, ended]);
    waiting.delete(id);
    if (error !== undefined) throw new Error(`go-control-plane, ${String(command["do"])}: ${error}`);
  };
  const set: Gcp["set"] = (node, version, resources) =>
    order({ do: "set", node, version, resources: resources.map(encoded) });
  await order({ do: "start" });
  return {
    address,
    events,
    process: running,
    set,
    stop: () => order({ do: "stop" }),
    async start(fresh) {
      if (fresh !== undefined) {
        await order({ do: "clear" });
        await set(fresh.node, fresh.version, fresh.resources);
      }
      await order({ do: "start" });
    },
    seen: (what, from, wanted) => until(context, what, () => events.slice(from).find(wanted)),
    close: () => running.stop(),
  };
}

function encoded(message: Message): { type: string; bytes: string } {
  const schema = schemas.get(message.$typeName);
  if (schema === undefined) throw new Error(`${message.$typeName} is not a resource`);
  return { type: typeUrlOf(schema), bytes: Buffer.from(toBinary(schema, create(schema, message))).toString("base64") };
}
