import type * as z from "zod";

import { message } from "./message.ts";
import { dnsLabel, hostName, portNumber } from "./values.ts";

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
