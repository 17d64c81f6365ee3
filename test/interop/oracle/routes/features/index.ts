import type { RouteFeature } from "../feature.ts";
import { action } from "./action.ts";
import { cors } from "./cors.ts";
import { askedFault, fault } from "./fault.ts";
import { fraction } from "./fraction.ts";
import { headers } from "./headers.ts";
import { mutation } from "./mutation.ts";
import { path } from "./path.ts";
import { query } from "./query.ts";
import { redirect } from "./redirect.ts";
import { rewrite } from "./rewrite.ts";

/** All that is tried against Envoy, in the order in which it is rolled: a new one goes to the end, and old seeds stay what they are. */
export const features: readonly RouteFeature[] = [
  path,
  headers,
  query,
  fraction,
  action,
  fault,
  mutation,
  rewrite,
  redirect,
  cors,
  askedFault,
];
