import type { Diagnostic } from "../../diagnostics.ts";
import { getOrMake } from "../../model/host-index.ts";
import { type Visibility, collide } from "../../model/visibility.ts";
import { type ConfigObject, objectName } from "../../sources/object.ts";
import { place } from "./duplicates.ts";

/** An object that wants to be *the* one for a host. */
export interface Claim {
  readonly object: ConfigObject;
  readonly host: string;
  /** Index in `spec.hosts`. */
  readonly index: number;
  readonly visible: Visibility;
}

/**
 * Two objects claim one host for the same callers: one of them would be dropped in silence, so both are named (istio-api
 * §2.1).
 */
export function* checkClaims(claims: readonly Claim[]): Iterable<Diagnostic> {
  const byHost = new Map<string, Claim[]>();
  for (const claim of claims) {
    const path = ["spec", "hosts", claim.index];
    const earlier = getOrMake(byHost, claim.host, () => []);
    const other = earlier.find(({ object, visible }) => object === claim.object || collide(visible, claim.visible));
    earlier.push(claim);
    if (other === undefined) continue;
    const who =
      other.object === claim.object
        ? "this object already"
        : `${objectName(other.object.content)} too, for the same callers, at ${place(other.object, ["spec", "hosts", other.index])}`;
    yield claim.object.error(
      "conflict",
      path,
      `spec.hosts[${claim.index}]: ${claim.host} is claimed by ${who}: remove one, or divide the callers by exportTo`,
    );
  }
}
