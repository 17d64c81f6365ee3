/** How the endpoint of a call is chosen, inside the locality that it goes to; with `hash`, among all of them. */
export type Balancer =
  | { readonly kind: "least_request" | "round_robin"; readonly warmup: Warmup | undefined }
  | { readonly kind: "random" }
  /** By latency, with failures as a penalty. Clients that do not have it: by least request. */
  | { readonly kind: "peak_ewma" }
  /** None is chosen: each connection goes to what the name means that was called. */
  | { readonly kind: "passthrough" }
  | { readonly kind: "hash"; readonly key: HashKey; readonly table: HashTable };

/** A new endpoint gets a share that grows from `minPercent` to all of its own in this time. */
export interface Warmup {
  readonly windowMs: number;
  readonly minPercent: number;
  /** 1: in a line; more: more in the beginning. */
  readonly aggression: number;
}

/** Calls that agree in this go to the same endpoint. */
export type HashKey =
  | { readonly kind: "header" | "query"; readonly name: string }
  /** The address of the caller. */
  | { readonly kind: "source" }
  | {
      readonly kind: "cookie";
      readonly name: string;
      /** Empty: none. */
      readonly path: string;
      /** Of the cookie that is given to whom has none; 0: as long as the browser runs; `undefined`: none is given. */
      readonly ttlMs: number | undefined;
      readonly attributes: readonly { readonly name: string; readonly value: string }[];
    };

export type HashTable =
  | { readonly kind: "ring"; readonly minimumSize: number }
  | { readonly kind: "maglev"; readonly size: number };
