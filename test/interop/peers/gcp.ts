import { goBuild } from "../install/go.ts";
import type { Peer } from "../peer.ts";
import type { Mode } from "./gcp/control.ts";
import { bootstrapRows } from "./gcp/bootstrap.ts";
import { fallbackRow } from "./gcp/fallback.ts";
import { rowsOf } from "./gcp/rows.ts";

const modes: readonly Mode[] = (["snapshot", "linear"] as const).flatMap((cache) =>
  [true, false].flatMap((ads) => (["delta", "sotw"] as const).map((form) => ({ cache, ads, form }))),
);

/** go-control-plane as the control plane of our client, in all the ways in which it can be run. */
export const goControlPlanes: readonly Peer[] = [
  ...modes.map((mode) => peer(mode)),
  {
    name: "go-control-plane and grpc-go",
    version: "0.14.0, 1.85.0",
    needs: "go",
    async install(cache) {
      await goBuild(cache, "gcp");
      await goBuild(cache, "grpcpeer");
    },
    capabilities: bootstrapRows,
  },
];

function peer(mode: Mode): Peer {
  return {
    name: `go-control-plane, ${mode.cache}, ${mode.ads ? "ads" : "plain"}, ${mode.form}`,
    version: "0.14.0",
    needs: "go",
    install: (cache) => goBuild(cache, "gcp"),
    capabilities: mode.cache === "snapshot" && !mode.ads ? [...rowsOf(mode), fallbackRow(mode)] : rowsOf(mode),
  };
}
