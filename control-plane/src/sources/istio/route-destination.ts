import type * as z from "zod";

import { message } from "./message.ts";
import { dnsLabel, hostName, portNumber, whole } from "./values.ts";

/** A service, a subset of it, one of its ports (istio-api §2.4). */
export interface DestinationSpec {
  readonly host: string;
  readonly subset?: string | undefined;
  readonly port?: { readonly number: number } | undefined;
}

export const destination: z.ZodType<DestinationSpec> = message({
  host: hostName,
  subset: dnsLabel.optional(),
  port: message({ number: portNumber }).optional(),
});

/** One of several destinations; alone it gets everything, whatever its weight. */
export interface WeightedDestinationSpec {
  readonly destination: DestinationSpec;
  readonly weight: number;
}

/** Fields of a message. */
export const weightedDestination: {
  readonly destination: z.ZodType<DestinationSpec>;
  readonly weight: z.ZodDefault<z.ZodType<number>>;
} = { destination, weight: whole(0, 1_000_000, "a weight").default(0) };

/** What is wrong with the weights of several destinations. */
export function weightProblem(route: readonly WeightedDestinationSpec[]): string | undefined {
  const none = route.length > 1 && route.every(({ weight }) => weight === 0);
  return none ? "the weights sum to 0: give a destination a weight" : undefined;
}
