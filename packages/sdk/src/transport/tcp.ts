import { type Attempt, MeshError, type Sink, type Transport } from "@trama/engine";

import { connect } from "./connect.ts";
import { type EndpointPool, EndpointPools, type PoolOptions, type TransportOptions } from "./endpoint-pools.ts";
import { cut, Tunnel } from "./tunnel.ts";

/** What knows of an endpoint's connections is forgotten after this long without any. */
const unusedMs = 60_000;

/** Connects attempts of protocol `tcp` to their endpoints: a connection each, with the TLS of the mesh where policy has it. */
export class TcpTransport implements Transport {
  readonly #pools: EndpointPools<TcpPool>;

  constructor(options: TransportOptions) {
    this.#pools = new EndpointPools(options, unusedMs, (pool) => new TcpPool(pool));
  }

  send(attempt: Attempt, sink: Sink): void {
    const pool = this.#pools.of(attempt);
    if (pool instanceof MeshError) return sink.onError(pool);
    pool.open(attempt, sink);
  }

  get size(): number {
    return this.#pools.size;
  }

  /** Cuts what is open: the application keeps connections for as long as it likes, and nobody can wait for that. */
  close(): Promise<void> {
    return this.#pools.close(0);
  }
}

/** The open connections to one endpoint under one TLS setting and one identity. None is used twice. */
class TcpPool implements EndpointPool {
  readonly options: PoolOptions;
  readonly #open = new Set<Tunnel>();
  #lastUsedMs: number;
  #empty: PromiseWithResolvers<void> | undefined;

  constructor(options: PoolOptions) {
    this.options = { ...options, protocol: "tcp" };
    this.#lastUsedMs = options.clock.now();
  }

  open(attempt: Attempt, sink: Sink): void {
    const { limit, endpoint, clock } = this.options;
    this.#lastUsedMs = clock.now();
    if (limit?.admits(this, this.#open.size) === false) {
      // Envoy would let it wait for another one to close, which here may take days.
      const text = `${endpoint.address}: the cluster has the ${limit.maxConnections} connections that it may have`;
      return sink.onError(new MeshError("OVERFLOW", text));
    }
    if (limit !== undefined) limit.connections++;
    const tunnel = new Tunnel(attempt.call, sink, () => {
      this.#open.delete(tunnel);
      if (limit !== undefined) limit.connections--;
      if (this.#open.size === 0) this.#empty?.resolve();
    });
    this.#open.add(tunnel);
    attempt.bind(tunnel);
    if (tunnel.over) return;
    const callOff = connect(this.options, (error, socket, peer) => {
      attempt.peer = peer;
      attempt.sent = error === null;
      tunnel.dialled(error, socket, peer);
    });
    tunnel.dialling(callOff);
  }

  usedBy(nowMs: number): number {
    if (this.#open.size > 0) this.#lastUsedMs = nowMs;
    return this.#lastUsedMs;
  }

  /** None is ever idle: the application holds it. */
  dropIdle(): boolean {
    return false;
  }

  close(): Promise<void> {
    if (this.#open.size === 0) return Promise.resolve();
    return (this.#empty ??= Promise.withResolvers<void>()).promise;
  }

  destroy(): void {
    for (const tunnel of this.#open) tunnel.abort(cut());
  }
}
