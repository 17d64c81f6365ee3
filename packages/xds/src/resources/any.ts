import type { DescMessage, JsonObject, MessageShape } from "@bufbuild/protobuf";
import type { Any } from "@bufbuild/protobuf/wkt";
import {
  type LeanSchema,
  OldTypedStructSchema,
  TypedStructSchema,
  decode as fromBinary,
  decodeJson,
} from "@trama/proto/lean";

import { textOf } from "../errors.ts";
import { ResourceError } from "./error.ts";

/** An extension's configuration, with its type known and its content not yet read. */
export interface Typed {
  /** Full name of the message type: `envoy.extensions.filters.http.fault.v3.HTTPFault`. */
  readonly typeName: string;
  /** Reads the content as that message; a content that is not one is a ResourceError. */
  as<T extends DescMessage>(schema: LeanSchema<T>): MessageShape<T>;
}

/**
 * Opens an Any. Inside may be a TypedStruct (`xds.type.v3` or the older `udpa.type.v1`): JSON that names the type it stands for,
 * which some control planes use for extensions they have no code of.
 */
export function openAny(any: Any): Typed {
  const typeName = nameOf(any.typeUrl);
  if (typeName === TypedStructSchema.typeName) return structured(decode(TypedStructSchema, any.value));
  if (typeName === OldTypedStructSchema.typeName) return structured(decode(OldTypedStructSchema, any.value));
  return { typeName, as: (schema) => decode(schema, any.value) };
}

function structured(struct: { typeUrl: string; value?: JsonObject | undefined }): Typed {
  const typeName = nameOf(struct.typeUrl);
  return {
    typeName,
    as(schema) {
      try {
        return decodeJson(schema, struct.value ?? {});
      } catch (error) {
        throw new ResourceError(`the TypedStruct is not a ${schema.typeName}: ${textOf(error)}`, { cause: error });
      }
    },
  };
}

/** Bytes to message; whatever the decoder says of broken bytes is a fault of the resource. */
export function decode<T extends DescMessage>(schema: LeanSchema<T>, bytes: Uint8Array): MessageShape<T> {
  try {
    return fromBinary(schema, bytes);
  } catch (error) {
    throw new ResourceError(`the bytes are not a ${schema.typeName}: ${textOf(error)}`, { cause: error });
  }
}

function nameOf(typeUrl: string): string {
  const name = typeUrl.slice(typeUrl.lastIndexOf("/") + 1);
  if (name === "") throw new ResourceError("typed_config has no type_url");
  return name;
}
