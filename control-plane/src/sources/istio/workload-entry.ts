import * as z from "zod";

import { message } from "./message.ts";
import {
  dnsName,
  isUnixSocket,
  labels,
  localityText,
  networkName,
  portNumber,
  whole,
  workloadAddress,
} from "./values.ts";

/** WorkloadEntry, and an inline endpoint of a ServiceEntry, as validated (istio-api §5). */
export interface WorkloadEntrySpec {
  /**
   * An IP address, a name where the service is resolved by DNS, or a Unix socket of the caller's machine: its path, or `@` and a name.
   * Empty: there is a `network`, and only its gateways know the way.
   */
  readonly address: string;
  /** Port name of the service → port of the workload. */
  readonly ports: Readonly<Record<string, number>>;
  readonly labels: Readonly<Record<string, string>>;
  /** `region/zone/subzone`, or a beginning of it. */
  readonly locality: string;
  /** L3 domain; empty: not said here. */
  readonly network: string;
  readonly weight: number;
  readonly serviceAccount?: string | undefined;
}

export const workloadEntrySchema: z.ZodType<WorkloadEntrySpec> = message({
  address: workloadAddress.default(""),
  ports: z.record(z.string(), portNumber).default({}),
  labels: labels.default({}),
  network: networkName.default(""),
  locality: localityText.default(""),
  // 0 is "unset" (istio-api §1.2).
  weight: whole(0, 65_535, "a weight")
    .default(1)
    .transform((weight) => (weight === 0 ? 1 : weight)),
  serviceAccount: dnsName.optional(),
}).superRefine(({ address, network, ports, labels: found, serviceAccount }, context) => {
  if (address === "" && network === "")
    context.addIssue({
      code: "custom",
      path: ["address"],
      message: "is missing: write it, or the network to reach it by",
    });
  if (isUnixSocket(address) && Object.keys(ports).length > 0)
    context.addIssue({ code: "custom", path: ["ports"], message: "a Unix socket has no ports: remove them" });
  if (isUnixSocket(address) && network !== "") {
    const message = "a Unix socket is of the caller's own machine, in whatever network: remove it";
    context.addIssue({ code: "custom", path: ["network"], message });
  }
  // Callers check the name in the certificate: without an account there is none to check.
  if (found["security.istio.io/tlsMode"] === "istio" && serviceAccount === undefined) {
    const path = ["labels", "security.istio.io/tlsMode"];
    const message = "announces mTLS, but there is no serviceAccount for callers to check: add serviceAccount";
    context.addIssue({ code: "custom", path, message });
  }
});
