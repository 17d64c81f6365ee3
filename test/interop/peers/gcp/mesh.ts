import { writeFileSync } from "node:fs";
import { join } from "node:path";

import type { Message } from "@bufbuild/protobuf";
import { joinMesh, type Mesh } from "trama";

import type { Context, Outcome } from "../../peer.ts";
import { outcomeOf } from "../plane.ts";
import { type Backend, makeVouchers, startBackend, type Vouchers } from "./backends.ts";
import { type Gcp, type Mode, startGcp } from "./control.ts";
import { type Branch, hostResources } from "./resources.ts";

export const host = "reviews.demo.svc.cluster.local";
export const port = 9_080;

/** A process on our SDK, two services, and go-control-plane between them. */
export interface GcpMesh {
  readonly context: Context;
  readonly gcp: Gcp;
  readonly node: string;
  readonly vouchers: Vouchers;
  /** v1 is called in plaintext, v2 over mutual TLS. */
  readonly v1: Backend;
  readonly v2: Backend;
  /** The resources of the service `reviews`, by weight; a third cluster, v0, has weight 0 and nobody in it. */
  reviews(v1: number, v2: number): Message[];
  set(version: string, resources: readonly Message[]): Promise<void>;
  /** Joins by a bootstrap file of gRFC A27 that names this server, and below it others. */
  join(...others: Gcp[]): Promise<Mesh>;
  /** To be closed with this mesh, last first. */
  defer(close: () => Promise<unknown>): void;
}

export function withGcp(context: Context, mode: Mode, body: (mesh: GcpMesh) => Promise<string>): Promise<Outcome> {
  return outcomeOf(async () => {
    const closers: (() => Promise<unknown>)[] = [];
    // Timers of the SDK keep no process alive.
    const alive = setInterval(() => {}, 60_000);
    try {
      const gcp = await startGcp(context, mode, 71);
      closers.push(() => gcp.close());
      const vouchers = makeVouchers(context);
      const v1 = await startBackend("v1", context.addresses.at(72));
      const v2 = await startBackend("v2", context.addresses.at(73), vouchers);
      closers.push(
        () => v1.close(),
        () => v2.close(),
      );
      const node = `sidecar~${context.addresses.at(74)}~caller.demo~demo.svc.cluster.local`;
      const branch = (name: string, weight: number, ...places: Backend[]): Branch => ({ name, weight, places });
      return await body({
        context,
        gcp,
        node,
        vouchers,
        v1,
        v2,
        reviews: (one, two) =>
          hostResources(host, port, [branch("v1", one, v1), branch("v2", two, v2), branch("v0", 0)]),
        set: (version, resources) => gcp.set(node, version, resources),
        async join(...others) {
          const servers = [gcp, ...others].map(({ address }) => address);
          const file = bootstrapFile(context, servers, node, vouchers);
          const mesh = await joinMesh({
            bootstrap: file,
            outboundTrafficPolicy: "REGISTRY_ONLY",
            log: quiet,
          });
          closers.push(() => mesh.close({ deadlineMs: 1_000 }));
          return mesh;
        },
        defer: (close) => void closers.push(close),
      });
    } finally {
      for (const close of closers.toReversed()) await close();
      clearInterval(alive);
    }
  });
}

const quiet = { debug: nothing, info: nothing, warn: nothing, error: nothing };

function nothing(): void {}

/** As a user writes it for any gRPC library, with nothing in it that is ours. */
export function bootstrapFile(
  context: Context,
  servers: readonly string[],
  node: string,
  vouchers?: Vouchers,
  name = "bootstrap.json",
): string {
  const file = join(context.scratch, name);
  const bootstrap = {
    xds_servers: servers.map((server_uri) => ({
      server_uri,
      channel_creds: [{ type: "insecure" }],
      server_features: ["xds_v3"],
    })),
    node: {
      id: node,
      cluster: "caller",
      locality: { region: "r", zone: "z", sub_zone: "" },
      metadata: { NAMESPACE: "demo" },
    },
    ...(vouchers !== undefined && {
      certificate_providers: {
        default: {
          plugin_name: "file_watcher",
          config: {
            certificate_file: vouchers.files.certificate,
            private_key_file: vouchers.files.key,
            ca_certificate_file: vouchers.files.root,
            refresh_interval: "600s",
          },
        },
      },
    }),
    server_listener_resource_name_template: "xds.istio.io/grpc/lds/inbound/%s",
  };
  writeFileSync(file, JSON.stringify(bootstrap, null, 2));
  return file;
}

/** One call; `status text`, or why there was no answer. */
export async function call(mesh: Mesh, to: string = host): Promise<string> {
  try {
    const response = await mesh.fetch(`http://${to}:${port}/`, { signal: AbortSignal.timeout(20_000) });
    return `${response.status} ${(await response.text()).slice(0, 200)}`;
  } catch (error) {
    const { message, cause } = error as Error & { cause?: { code?: string; message?: string } };
    return `${cause?.code ?? "error"} ${cause?.message ?? message}`;
  }
}

/** Many calls, one after the other; how often each answer came. */
export async function calls(mesh: Mesh, count: number): Promise<Record<string, number>> {
  const answers: Record<string, number> = {};
  for (let n = 0; n < count; n++) {
    const answer = await call(mesh);
    answers[answer] = (answers[answer] ?? 0) + 1;
  }
  return answers;
}
