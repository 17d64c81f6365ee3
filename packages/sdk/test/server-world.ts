import { once } from "node:events";
import type { Server } from "node:http";
import type { Http2Server } from "node:http2";
import type { AddressInfo, Server as NetServer } from "node:net";
import {
  type Admission,
  type Call,
  type Clock,
  createEngine,
  type Engine,
  type InboundLimits,
  type InboundListener,
  type MeshConfig,
  type RbacConfig,
} from "@trama/engine";

import { chain, inboundListener, meshConfig } from "../../../test/kit/mesh-config.ts";
import { seededRandom } from "../../../test/kit/random.ts";
import { ProtectedServer } from "../src/adapters/http-server.ts";
import { isHttp2Server, ProtectedHttp2Server } from "../src/adapters/http2-server.ts";
import { isConnectionServer, ProtectedTcpServer } from "../src/adapters/tcp-server.ts";
import { createClock } from "../src/env/clock.ts";
import { compileRegex } from "../src/env/regex.ts";
import type { TestIdentity } from "../../../test/kit/identity.ts";

/** The server half of a mesh without a control plane. */
export interface ServerWorld {
  readonly engine: Engine;
  readonly guard: ProtectedServer | ProtectedHttp2Server | ProtectedTcpServer;
  readonly ended: Call[];
  /** What the listener warned of. */
  readonly warned: string[];
  /** `127.0.0.1:port`. */
  readonly address: string;
  readonly port: number;
  /** Puts an inbound listener for this server in force. */
  publish(mode: Mode, rbac?: readonly RbacConfig[], limits?: InboundLimits): void;
  withdraw(): void;
  close(): Promise<void>;
}

export type Mode = "STRICT" | "PERMISSIVE" | "DISABLE";

export interface ServerOptions {
  readonly identity: TestIdentity | { readonly current: undefined };
  /** What the control plane says of the port. Default: that it is there. */
  readonly inbound?: (address: string) => Promise<"found" | "missing">;
  readonly clock?: Clock;
  readonly admission?: Admission;
}

/** `publish` is still to be called. */
export async function serverWorld(
  server: Server | Http2Server | NetServer,
  options: ServerOptions,
): Promise<ServerWorld> {
  const ownClock = createClock();
  const clock = options.clock ?? ownClock;
  const ended: Call[] = [];
  const engine = createEngine({
    clock,
    random: seededRandom(1),
    telemetry: { onCall: (call) => void ended.push(call) },
    log: { debug() {}, info() {}, warn() {}, error() {} },
    regex: compileRegex,
    admission: options.admission,
  });
  const warned: string[] = [];
  const listenerOptions = {
    engine,
    identity: options.identity,
    clock,
    log: { debug() {}, info() {}, warn: (text: string) => void warned.push(text), error() {} },
    discovery: { inbound: options.inbound ?? (() => Promise.resolve("found" as const)) },
  };
  const guard = isHttp2Server(server)
    ? new ProtectedHttp2Server(server, listenerOptions)
    : isConnectionServer(server)
      ? new ProtectedTcpServer(server, listenerOptions)
      : new ProtectedServer(server as Server, listenerOptions);
  if (options.identity.current !== undefined) options.identity.onChange(() => guard.listener.refresh());
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const address = `127.0.0.1:${port}`;
  const put = (config: MeshConfig): void => {
    engine.publish(config);
    guard.listener.refresh();
  };
  return {
    engine,
    guard,
    ended,
    warned,
    address,
    port,
    publish: (mode, rbac = [], limits) =>
      put(
        meshConfig({
          inbound: [{ ...inboundConfig(address, mode, rbac, guard instanceof ProtectedTcpServer), limits }],
        }),
      ),
    withdraw: () => put(meshConfig({})),
    async close() {
      await guard.stop(200, 0);
      ownClock.close();
    },
  };
}

/** One port of a service, in one of Istio's modes. */
export function inboundConfig(
  address: string,
  mode: Mode,
  rbac: readonly RbacConfig[],
  opaque: boolean = false,
): InboundListener {
  const filters = rbac.map((config, at) => ({ name: `rbac-${at}`, config, disabled: false }));
  const match = chain("").match;
  const secured = chain("inbound-mtls", {
    match: { ...match, transportProtocol: "tls" },
    tls: { identity: "default", trust: "ROOTCA", requireClientCertificate: true, subjectNames: [] },
    filters,
    opaque,
  });
  const plaintext = chain("inbound-plaintext", {
    match: { ...match, transportProtocol: "raw_buffer" },
    filters,
    opaque,
  });
  return inboundListener(address, {
    chains: mode === "STRICT" ? [secured] : mode === "DISABLE" ? [plaintext] : [secured, plaintext],
  });
}

/** ALLOW for one principal on everything below a path. */
export function allow(principal: string, prefix = "/"): RbacConfig {
  return {
    kind: "rbac",
    rules: {
      action: "allow",
      policies: [
        {
          name: "shop-allow-0",
          permissions: [{ kind: "path", match: { kind: "prefix", value: prefix, ignoreCase: false } }],
          principals: [{ kind: "authenticated", match: { kind: "exact", value: principal, ignoreCase: false } }],
        },
      ],
    },
  };
}
