import { createServer } from "node:net";
import type { Server } from "node:net";

/**
 * A run's own addresses: a /24 of 127/8, all of which Linux routes to loopback. Identity by address needs a fixed one for each
 * workload, and two runs at once must not meet on them.
 */
export interface Addresses {
  /** The block's address with this last number, 2 to 254. */
  at(last: number): string;
  /** Gives the block back; the end of the process does so, too. */
  release(): Promise<void>;
}

/** Below the range from which systems take the ports that nobody chose. Whoever holds it on a block's first address holds the block. */
const lockPort = 20_127;
const attempts = 1_000;

/**
 * Claims a block that no other run has, by binding a socket: the system gives it back however the run ends. `random` is uniform in
 * [0, 1).
 */
export async function claimAddresses(random: () => number): Promise<Addresses> {
  for (let attempt = 0; attempt < attempts; attempt++) {
    // 127.0 and 127.255 are left to everybody else: names, containers and the other tests are found there.
    const block = `127.${1 + Math.floor(random() * 254)}.${Math.floor(random() * 256)}`;
    const lock = await bind(`${block}.1`);
    if (lock === undefined) continue;
    return {
      at(last) {
        if (!Number.isInteger(last) || last < 2 || last > 254) throw new RangeError(`${last} is not from 2 to 254`);
        return `${block}.${last}`;
      },
      release: () => new Promise((resolve) => lock.close(() => resolve())),
    };
  }
  throw new Error(
    `no block of loopback addresses is free: port ${lockPort} is taken on each of ${attempts} that were tried`,
  );
}

function bind(address: string): Promise<Server | undefined> {
  const server = createServer().unref();
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) =>
      error.code === "EADDRINUSE" ? resolve(undefined) : reject(error),
    );
    server.listen({ host: address, port: lockPort, exclusive: true }, () => resolve(server));
  });
}
