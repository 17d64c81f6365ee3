import { installPython } from "../install/python.ts";
import { connectionsRow } from "../oracle/connections/row.ts";
import { ratesRow } from "../oracle/ejection/rates-row.ts";
import { ejectionRow } from "../oracle/ejection/row.ts";
import { hashingRow } from "../oracle/hashing/row.ts";
import { hedgingRow } from "../oracle/hedging/row.ts";
import { mirrorsRow } from "../oracle/mirrors/row.ts";
import { prioritiesRow } from "../oracle/priorities/row.ts";
import { rbacRow } from "../oracle/rbac/row.ts";
import { retriesRow } from "../oracle/retries/row.ts";
import { routesRow } from "../oracle/routes/row.ts";
import { zonesRow } from "../oracle/zones/row.ts";
import { sharesRow } from "../oracle/shares/row.ts";
import type { Peer } from "../peer.ts";
import { validateRow } from "./validate/row.ts";

/** Envoy itself: the program that sidecars run. */
export const envoy: Peer = {
  name: "envoy",
  version: "1.40.0",
  needs: "python",
  install: installPython,
  capabilities: [
    validateRow,
    routesRow,
    sharesRow,
    retriesRow,
    hashingRow,
    prioritiesRow,
    zonesRow,
    ejectionRow,
    ratesRow,
    mirrorsRow,
    hedgingRow,
    rbacRow,
    connectionsRow,
  ],
};
