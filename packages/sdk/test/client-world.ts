import { createEngine, type Call, type Clock, type Engine, type MeshConfig, type MeshTls } from "@trama/engine";
import type { IdentitySource } from "@trama/xds";

import { seededRandom } from "../../../test/kit/random.ts";
import { MeshDispatcher } from "../src/adapters/undici.ts";
import { createClock } from "../src/env/clock.ts";
import { compileRegex } from "../src/env/regex.ts";
import { UndiciTransport } from "../src/transport/undici.ts";

/** The client half of a mesh without a control plane: whatever a test publishes is in force. */
export interface ClientWorld {
  readonly engine: Engine;
  readonly dispatcher: MeshDispatcher;
  readonly transport: UndiciTransport;
  /** Calls as telemetry was told of them. */
  readonly ended: Call[];
  /** Copies of calls, in words: `cluster outcome status`. */
  readonly mirrored: string[];
  /** What the control plane says of a host that is not in the configuration. */
  answer: (listener: string) => Promise<"found" | "missing">;
  /** Hosts that it was asked for. */
  readonly asked: string[];
  close(): Promise<void>;
}

export function clientWorld(
  config: MeshConfig,
  identity?: Pick<IdentitySource, "current">,
  policy: "ALLOW_ANY" | "REGISTRY_ONLY" = "ALLOW_ANY",
  virtual?: Clock,
): ClientWorld {
  const real = createClock();
  const clock = virtual ?? real;
  const ended: Call[] = [];
  const mirrored: string[] = [];
  const asked: string[] = [];
  const engine = createEngine(
    {
      clock,
      random: seededRandom(1),
      telemetry: {
        onCall: (call) => void ended.push(call),
        onMirror: ({ name }, outcome, status) => void mirrored.push(`${name} ${outcome} ${status}`),
      },
      log: { debug() {}, info() {}, warn() {}, error() {} },
      regex: compileRegex,
    },
    config,
  );
  const transport = new UndiciTransport({
    identity: identity ?? { current: undefined },
    clock,
    random: seededRandom(2),
    peer: "web;shop;web;v1;test",
  });
  const world: ClientWorld = {
    engine,
    transport,
    ended,
    mirrored,
    asked,
    answer: () => Promise.resolve("missing"),
    dispatcher: new MeshDispatcher({
      engine,
      transport,
      clock,
      discovery: {
        outbound: (name) => {
          asked.push(name);
          return world.answer(name);
        },
      },
      outboundTrafficPolicy: policy,
    }),
    async close() {
      await world.dispatcher.destroy();
      await transport.close(1_000);
      real.close();
    },
  };
  return world;
}

/** mTLS to the given SPIFFE ids. */
export function mutualTls(...ids: string[]): MeshTls {
  return {
    identity: "default",
    trust: "ROOTCA",
    serverName: "outbound_.80_._.reviews",
    subjectNames: ids.map((value) => ({ kind: "exact", value, ignoreCase: false })),
  };
}
