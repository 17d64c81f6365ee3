import type { BinaryReader } from "@bufbuild/protobuf/wire";

import { fields } from "./wire.ts";

/** What Istio says of an endpoint in its metadata. */
export interface EndpointMetadata {
  /** `filter_metadata["envoy.transport_socket_match"].tlsMode`. */
  readonly tlsMode: string;
  /** `filter_metadata["istio"].workload`. */
  readonly workload: string;
}

/** core.v3.Metadata: two texts are taken out of two of its structs, the rest is skipped unread. */
export function readMetadata(reader: BinaryReader, end: number): EndpointMetadata {
  const found = { tlsMode: "", workload: "" };
  fields(reader, end, "metadata", (field, entryEnd) => {
    if (field !== 1) return;
    let key = "";
    fields(reader, entryEnd(), "metadata.filter_metadata", (part, structEnd) => {
      if (part === 1) key = reader.string();
      else if (part !== 2) return;
      else if (key === "envoy.transport_socket_match") found.tlsMode = textIn(reader, structEnd(), "tlsMode") ?? "";
      else if (key === "istio") found.workload = textIn(reader, structEnd(), "workload") ?? "";
    });
  });
  return found;
}

/** The text under a key of a google.protobuf.Struct. */
function textIn(reader: BinaryReader, end: number, wanted: string): string | undefined {
  let found: string | undefined;
  fields(reader, end, "metadata", (field, entryEnd) => {
    if (field !== 1) return;
    let key = "";
    fields(reader, entryEnd(), "metadata", (part, valueEnd) => {
      if (part === 1) key = reader.string();
      else if (part !== 2 || key !== wanted) return;
      else {
        fields(reader, valueEnd(), "metadata", (kind) => {
          if (kind !== 3) return;
          found = reader.string();
        });
      }
    });
  });
  return found;
}
