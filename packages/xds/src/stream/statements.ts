import type { Any, Duration } from "@bufbuild/protobuf/wkt";

import { textOf } from "../errors.ts";
import { durationMs } from "../resources/duration.ts";
import type { Fault, RawResource } from "./session.ts";

/** A resource of a response: always wrapped in delta, in the state of the world perhaps (R21). */
export interface Wrapped {
  readonly name: string;
  readonly version: string;
  readonly resource?: Any | undefined;
  readonly ttl?: Duration | undefined;
}

export interface Statements {
  readonly resources: readonly RawResource[];
  readonly removed: readonly string[];
  readonly faults: readonly Fault[];
}

/** The same name twice in one response is a fault, and none of what it says about that name is used (R20). */
export function statements(wrapped: Iterable<Wrapped>, removedNames: readonly string[]): Statements {
  const removed = new Set(removedNames);
  const resources = new Map<string, RawResource>();
  const faults = new Map<string, string>();
  for (const resource of wrapped) {
    const { name } = resource;
    if (resources.has(name) || removed.has(name)) {
      faults.set(name, "the response says two things about this name; send it once");
      continue;
    }
    try {
      resources.set(name, raw(resource));
    } catch (error) {
      faults.set(name, textOf(error));
    }
  }
  for (const name of faults.keys()) {
    resources.delete(name);
    removed.delete(name);
  }
  return {
    resources: [...resources.values()],
    removed: [...removed],
    faults: Array.from(faults, ([name, message]) => ({ name, message })),
  };
}

function raw({ name, version, resource, ttl }: Wrapped): RawResource {
  return {
    name,
    version,
    body: resource && { typeUrl: resource.typeUrl, value: resource.value },
    ttlMs: ttl && durationMs(ttl, "ttl"),
  };
}
