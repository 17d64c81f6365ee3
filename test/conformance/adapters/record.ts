import type { Call } from "@trama/engine";

import type { Recorded } from "./adapter.ts";

export function recordOf({ record }: Call): Recorded {
  return {
    attempts: record.attempts,
    mtls: record.mtls,
    peer: record.peerPrincipal,
    cluster: record.cluster?.name ?? "",
  };
}
