import type { Logger } from "@trama/engine";

import { TramaError } from "./errors.ts";

/** The first release that undici 8 and we can run on. */
const least: readonly [number, number] = [22, 19];

/**
 * Below these a resumed TLS session of another server name could pass the identity check, and a throw in a TLS callback could end the
 * process (dataplane.md §19, §25): we resume nothing and guard our callbacks, but the application may not.
 */
const safe: Readonly<Record<number, readonly [number, number]>> = { 22: [23, 0], 24: [17, 0], 26: [3, 1] };

/** Throws below the floor, warns below the safe releases. */
export function checkRuntime(log: Logger, version: string = process.versions.node): void {
  const [major = 0, minor = 0, patch = 0] = version.split(".").map(Number);
  if (major < least[0] || (major === least[0] && minor < least[1]))
    throw new TramaError("NODE_TOO_OLD", `trama needs Node.js ${least.join(".")} or newer; this is ${version}`);
  const floor = safe[major];
  if (floor !== undefined && (minor < floor[0] || (minor === floor[0] && patch < floor[1])))
    log.warn(`Node.js ${version} has known weaknesses in TLS; use ${major}.${floor.join(".")} or newer`);
}
