import { TramaError } from "./errors.ts";

/** One for the whole process, whatever copies of this library it has loaded (dataplane.md §22). */
const slot = Symbol.for("trama.mesh");

interface Claim {
  readonly version: string;
  readonly url: string;
}

/** Of this package; a second copy may be of another. */
export const version = "0.1.0";

/**
 * Takes the process's one place in the mesh. Two memberships would each hold connections, limits and certificates, and each catch the
 * other's traffic; that happens by two copies of the library in node_modules, hence the error names both. Returns the release.
 */
export function claimProcess(): () => void {
  const holder = globalThis as { [slot]?: Claim };
  const own: Claim = { version, url: import.meta.url };
  const other = holder[slot];
  if (other !== undefined) {
    const same = other.url === own.url;
    throw new TramaError(
      "ALREADY_JOINED",
      same
        ? `this process has joined the mesh already (trama ${own.version}); share that Mesh, or close it first`
        : `two copies of trama in one process: ${other.version} at ${other.url} has joined the mesh, and ${own.version} at ${own.url} wants to; keep one (npm ls trama)`,
    );
  }
  holder[slot] = own;
  return () => {
    if (holder[slot] === own) delete holder[slot];
  };
}
