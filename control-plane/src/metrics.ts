import { typeUrls } from "@trama/proto";
import { Counter, Gauge, Histogram, Registry } from "prom-client";

import type { SessionEvents } from "./ads/session-env.ts";
import type { CertificateEvents } from "./ca/service.ts";
import type { Authority } from "./ca/authority.ts";
import type { Clock } from "./clock.ts";

/** Istio's names and buckets (its dashboards read them), each registry its own, so that two control planes may share a process. */
export interface ControlPlaneMetrics {
  readonly registry: Registry;
  readonly ads: Pick<SessionEvents, "sent" | "nacked" | "staleNonce" | "sendTimedOut" | "converged" | "crashed"> & {
    published(ms: number): void;
    refused(): void;
  };
  readonly certificates: CertificateEvents;
}

export function controlPlaneMetrics(
  version: string,
  authority: Authority,
  clock: Clock,
  clients: () => number,
): ControlPlaneMetrics {
  const registry = new Registry();
  const registers = [registry];
  const counter = (name: string, help: string): Counter => new Counter({ name, help, registers });
  const gauge = (name: string, help: string, collect: (this: Gauge) => void): Gauge =>
    new Gauge({ name, help, registers, collect });

  const pushes = new Counter({
    name: "pilot_xds_pushes",
    help: "Responses sent, by type",
    labelNames: ["type"],
    registers,
  });
  const rejects = counter("pilot_total_xds_rejects", "Responses that clients refused (NACK)");
  const rejectsByType = new Map(
    ["cds", "eds", "lds", "rds"].map((type) => [
      type,
      counter(`pilot_xds_${type}_reject`, `Responses of ${type.toUpperCase()} that clients refused (NACK)`),
    ]),
  );
  const expiredNonces = counter("pilot_xds_expired_nonce", "Requests with a nonce that is not the last of their type");
  const internalErrors = counter("pilot_total_xds_internal_errors", "Streams ended by a fault of the control plane");
  const refusedStreams = counter("trama_xds_refused_streams", "Streams refused: no identity, or no room");
  const writeTimeouts = counter("pilot_xds_write_timeout", "Clients cut because they took no response from the wire");
  const pushTime = new Histogram({
    name: "pilot_xds_push_time",
    help: "Seconds from a change to the last client that was woken for it",
    buckets: [0.01, 0.1, 0.5, 1, 3, 5, 10, 20, 30],
    registers,
  });
  const convergence = new Histogram({
    name: "pilot_proxy_convergence_time",
    help: "Seconds from a change to its acceptance by a client",
    buckets: [0.1, 0.5, 1, 3, 5, 10, 20, 30],
    registers,
  });
  new Gauge({ name: "pilot_info", help: "Version of the control plane", labelNames: ["version"], registers }).set(
    { version },
    1,
  );
  const startedAt = clock.now();
  gauge("istiod_uptime_seconds", "Seconds since the start", function () {
    this.set((clock.now() - startedAt) / 1_000);
  });
  new Gauge({
    name: "pilot_xds",
    help: "Connected clients",
    labelNames: ["version"],
    registers,
    collect() {
      this.set({ version }, clients());
    },
  });

  const requested = counter("citadel_server_csr_count", "Signing requests");
  const unauthenticated = counter("citadel_server_authentication_failure_count", "Signing requests without identity");
  const refused = counter("citadel_server_csr_parsing_err_count", "Signing requests that were refused");
  const failed = counter("citadel_server_csr_sign_err_count", "Signing requests that failed here");
  const issued = counter("citadel_server_success_cert_issuance_count", "Certificates issued");
  expiry(gauge, "root_cert", Math.min(...authority.roots.map((root) => root.validToDate.getTime())), clock);
  expiry(gauge, "cert_chain", authority.notAfter, clock);

  return {
    registry,
    ads: {
      sent: (typeUrl) => pushes.inc({ type: shortName(typeUrl) }),
      nacked: (_node, typeUrl) => {
        rejects.inc();
        rejectsByType.get(shortName(typeUrl))?.inc();
      },
      staleNonce: () => expiredNonces.inc(),
      sendTimedOut: () => writeTimeouts.inc(),
      converged: (publishedAt) => convergence.observe((clock.now() - publishedAt) / 1_000),
      crashed: () => internalErrors.inc(),
      published: (ms) => pushTime.observe(ms / 1_000),
      refused: () => refusedStreams.inc(),
    },
    certificates: {
      requested: () => requested.inc(),
      unauthenticated: () => unauthenticated.inc(),
      refused: () => refused.inc(),
      failed: () => failed.inc(),
      issued: () => issued.inc(),
    },
  };
}

function expiry(
  gauge: (name: string, help: string, collect: (this: Gauge) => void) => Gauge,
  name: string,
  at: number,
  clock: Clock,
): void {
  gauge(`citadel_server_${name}_expiry_timestamp`, "When it ends, in Unix time", function () {
    this.set(at / 1_000);
  });
  gauge(`citadel_server_${name}_expiry_seconds`, "Seconds until it ends", function () {
    this.set((at - clock.now()) / 1_000);
  });
}

/** Istio's label of a type; types that are not ours share one, so that clients cannot grow the metric. */
function shortName(typeUrl: string): string {
  return shortNames.get(typeUrl) ?? "other";
}

const shortNames: ReadonlyMap<string, string> = new Map([
  [typeUrls.cluster, "cds"],
  [typeUrls.clusterLoadAssignment, "eds"],
  [typeUrls.listener, "lds"],
  [typeUrls.routeConfiguration, "rds"],
  [typeUrls.secret, "sds"],
]);
