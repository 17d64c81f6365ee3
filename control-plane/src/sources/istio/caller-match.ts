import * as z from "zod";

import { dnsLabel, labels, portNumber } from "./values.ts";

/** Conditions on the port that is called and on who calls, which all kinds of rules have in common (istio-api §2.3). */
export interface CallerMatchSpec {
  readonly port?: number | undefined;
  readonly sourceLabels: Readonly<Record<string, string>>;
  readonly sourceNamespace?: string | undefined;
  /** In place of those of the object; none: the object's. */
  readonly gateways: readonly string[];
}

/** `mesh` for all workloads, else a Gateway; in the object's namespace where none is named. */
export const gateways: z.ZodType<readonly string[]> = z.array(
  z
    .string()
    .regex(
      /^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\/)?[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/,
      "must be mesh, or the name of a gateway, with its namespace or without: namespace/name",
    ),
);

/** Fields of a message. */
export const callerMatch: {
  readonly port: z.ZodOptional<z.ZodType<number>>;
  readonly sourceLabels: z.ZodDefault<z.ZodType<Readonly<Record<string, string>>>>;
  readonly sourceNamespace: z.ZodOptional<z.ZodType<string>>;
  readonly gateways: z.ZodDefault<z.ZodType<readonly string[]>>;
} = {
  port: portNumber.optional(),
  sourceLabels: labels.default({}),
  sourceNamespace: dnsLabel.optional(),
  gateways: gateways.default([]),
};
