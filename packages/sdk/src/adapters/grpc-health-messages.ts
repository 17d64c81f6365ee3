import type { MethodDefinition, ServiceDefinition } from "@grpc/grpc-js";

/** `HealthCheckResponse.ServingStatus` of grpc.health.v1; 0 is UNKNOWN and never said. */
export type ServingStatus = 0 | 1 | 2 | 3;
export const SERVING: ServingStatus = 1;
export const NOT_SERVING: ServingStatus = 2;
export const SERVICE_UNKNOWN: ServingStatus = 3;

/** Objects, as grpc-js takes a message that is falsy for none. */
export interface HealthCheckRequest {
  readonly service: string;
}
export interface HealthCheckResponse {
  readonly status: ServingStatus;
}

type HealthMethod = MethodDefinition<HealthCheckRequest, HealthCheckResponse>;

/**
 * grpc.health.v1.Health. Its two messages have one field each, a text and a small number, so they are read and written here: a service needs
 * no protobuf library for them.
 */
export const health: ServiceDefinition & { readonly Check: HealthMethod; readonly Watch: HealthMethod } = {
  Check: method("Check", false),
  Watch: method("Watch", true),
};

function method(name: string, responseStream: boolean): HealthMethod {
  return {
    path: `/grpc.health.v1.Health/${name}`,
    requestStream: false,
    responseStream,
    requestSerialize: ({ service }) => writeRequest(service),
    requestDeserialize: (bytes) => ({ service: readRequest(bytes) }),
    responseSerialize: ({ status }) => (status === 0 ? Buffer.alloc(0) : Buffer.from([1 << 3, status])),
    responseDeserialize: (bytes) => ({ status: (bytes[0] === 1 << 3 ? bytes[1]! : 0) as ServingStatus }),
  };
}

/** Field 1, length-delimited (wire type 2). */
const serviceTag = (1 << 3) | 2;
/** Bytes that a field of this wire type has behind its tag; the others say their length, or do not exist. */
const fixedBytes: Readonly<Record<number, number | undefined>> = { 1: 8, 5: 4 };

function writeRequest(service: string): Buffer {
  const name = Buffer.from(service);
  return name.length === 0 ? name : Buffer.concat([Buffer.from([serviceTag, ...varint(name.length)]), name]);
}

/** The name of the service; fields that are not known are passed over, and the last of several counts, as everywhere in protobuf. */
export function readRequest(bytes: Buffer): string {
  let service = "";
  let at = 0;
  while (at < bytes.length) {
    const [tag, body] = readVarint(bytes, at);
    const type = tag & 7;
    at = body + (fixedBytes[type] ?? 0);
    if (type === 0) [, at] = readVarint(bytes, body);
    else if (type === 2) {
      const [length, start] = readVarint(bytes, body);
      at = start + length;
      if (tag === serviceTag) service = bytes.toString("utf8", start, at);
    } else if (fixedBytes[type] === undefined) throw new Error(`wire type ${type} is none`);
  }
  if (at > bytes.length) throw new Error("the message ends inside a field");
  return service;
}

function varint(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...varint(value >>> 7)];
}

/** Ten bytes at most, as protobuf has them; a number past 2^53 is only passed over. */
function readVarint(bytes: Buffer, from: number): readonly [value: number, next: number] {
  let value = 0;
  for (let i = 0; i < 10; i++) {
    const byte = bytes[from + i];
    if (byte === undefined) break;
    value += (byte & 0x7f) * 2 ** (7 * i);
    if (byte < 0x80) return [value, from + i + 1];
  }
  throw new Error("the message ends inside a number");
}
