import { makeCall } from "../../../test/kit/call.ts";
import { testEnv } from "../../../test/kit/env.ts";
import { cluster, endpoints, outlier } from "../../../test/kit/mesh-config.ts";
import type { ClusterOptions } from "../../../test/kit/mesh-config.ts";
import { Cluster } from "../src/cluster/cluster.ts";
import type { Endpoint } from "../src/cluster/endpoint.ts";
import type { OutlierConfig } from "../src/config.ts";
import { MeshError } from "../src/errors.ts";
import type { MeshErrorCode } from "../src/errors.ts";
import { BARRED } from "../src/cluster/endpoint-load.ts";
import { State } from "../src/state.ts";
import type { ClusterState } from "../src/state.ts";
import { held } from "./held.ts";

const call = makeCall();

/** A cluster with outlier detection, to which the ends of attempts are told by address. */
export class OutlierWorld {
  readonly env = testEnv();
  readonly state = new State();
  cluster: Cluster;
  #options: ClusterOptions;

  constructor(config: Partial<OutlierConfig> | undefined, options: ClusterOptions = {}) {
    this.#options = { endpoints: endpoints(10), ...options, outlier: config && outlier(config) };
    this.cluster = new Cluster(cluster("c", this.#options), this.env, this.state);
  }

  get shared(): ClusterState {
    return this.state.clusters.get("c")!;
  }

  /** A new snapshot takes over; the old one goes after it, as in an engine. */
  publish(options: ClusterOptions): void {
    const before = this.cluster;
    this.#options = { ...this.#options, ...options };
    this.cluster = new Cluster(cluster("c", this.#options), this.env, this.state);
    before.dispose();
  }

  get addresses(): string[] {
    return this.cluster.config.endpoints.priorities
      .flat()
      .flatMap((each) => each.endpoints.map(({ address }) => address));
  }

  /** As an attempt at this address would be told; `at` counts from 0. */
  endpoint(at: number): Endpoint {
    return held(this.shared, this.addresses[at]!);
  }

  answer(at: number, status: number, times = 1): void {
    for (let i = 0; i < times; i++) this.cluster.attemptEnded(this.endpoint(at), status, -1, undefined, -1, true);
  }

  grpc(at: number, grpcStatus: number, times = 1): void {
    for (let i = 0; i < times; i++) this.cluster.attemptEnded(this.endpoint(at), 200, grpcStatus, undefined, -1, true);
  }

  fail(at: number, code: MeshErrorCode, times = 1, counts = true): void {
    for (let i = 0; i < times; i++)
      this.cluster.attemptEnded(this.endpoint(at), 0, -1, new MeshError(code, "scripted"), -1, counts);
  }

  get ejected(): number[] {
    return this.addresses.flatMap((address, at) =>
      ((this.shared.endpoints.get(address)?.barred ?? 0) & BARRED.ejected) === 0 ? [] : [at],
    );
  }

  /** Addresses that come up in so many picks. */
  picked(picks = 300): Set<string> {
    const seen = new Set<string>();
    for (let i = 0; i < picks; i++) {
      const endpoint = this.cluster.picker.pick(call);
      seen.add(endpoint instanceof MeshError ? endpoint.code : endpoint.config.address);
    }
    return seen;
  }
}
