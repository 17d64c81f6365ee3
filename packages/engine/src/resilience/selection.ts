import type { Call } from "../call.ts";
import type { Cluster } from "../cluster/cluster.ts";
import type { Endpoint } from "../cluster/endpoint.ts";
import type { Picker } from "../cluster/picker.ts";
import { MeshError } from "../errors.ts";
import type { RetryPlan } from "./retry-policy.ts";

/** A try that was made before, as far as it says where not to go next. */
export interface Visit {
  /** Absent when it found no endpoint. */
  readonly place: Endpoint | undefined;
  readonly previous: Visit | undefined;
}

/**
 * An endpoint for a retry: other than those that `last` and the tries before it were at, where the policy asks for it
 * (`previous_hosts`, `previous_priorities`). `elsewhere`: in any case, as for a hedge, which at the same endpoint would wait for
 * the same thing.
 */
export function pickAgain(
  cluster: Cluster,
  call: Call,
  { policy }: RetryPlan,
  last: Visit,
  elsewhere: boolean,
): Endpoint | MeshError {
  const picker = pickerFor(cluster, policy.avoidPreviousPriorities, last);
  let found = picker.pick(call);
  if (!elsewhere && !policy.avoidPreviousHosts) return found;
  for (let selection = 1; selection <= policy.hostSelectionAttempts; selection++) {
    if (found instanceof MeshError || !wasAt(last, found)) return found;
    found = picker.pick(call, selection);
  }
  if (found instanceof MeshError || !wasAt(last, found)) return found;
  // Envoy goes back to the endpoint that failed; while another is there, that is a retry thrown away.
  return cluster.untried((other) => wasAt(last, other)) ?? found;
}

function pickerFor(cluster: Cluster, every: number | undefined, last: Visit): Picker {
  if (every === undefined) return cluster.picker;
  const tried: Endpoint[] = [];
  for (let each: Visit | undefined = last; each !== undefined; each = each.previous)
    if (each.place !== undefined) tried.unshift(each.place);
  return cluster.beyond(tried, every);
}

function wasAt(last: Visit, endpoint: Endpoint): boolean {
  for (let each: Visit | undefined = last; each !== undefined; each = each.previous)
    if (each.place === endpoint) return true;
  return false;
}
