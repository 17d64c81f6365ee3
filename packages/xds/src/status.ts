import type { XdsError } from "./errors.ts";

/** What a client knows and how it stands with its control plane: for readiness, the CLI and dashboards (R68). */
export interface XdsStatus {
  /** True while a stream stands. */
  readonly connected: boolean;
  /** The server that the present (or next) stream goes to. */
  readonly server: string;
  /** Why there is no stream: the last attempt failed. The end of one that had worked is rotation and no error (R17). */
  readonly lastError: XdsError | undefined;
  readonly resources: readonly ResourceStatus[];
}

/**
 * `RESTORED`: in force from what an earlier process kept; the control plane has said nothing new of it yet. The others are those of
 * CSDS (R68).
 */
export type ResourceState = "REQUESTED" | "RESTORED" | "ACKED" | "NACKED" | "DOES_NOT_EXIST";

export interface ResourceStatus {
  /** Short: `listener`, `route`, `cluster`, `endpoint`. */
  readonly type: ResourceTypeName;
  readonly name: string;
  readonly state: ResourceState;
  /** Of the version in use; empty when there is none. A NACKed resource may still have one. */
  readonly version: string;
  /** The refused version and why; only while `NACKED`. */
  readonly failed: { readonly version: string; readonly message: string } | undefined;
}

export type ResourceTypeName = "listener" | "route" | "cluster" | "endpoint";
