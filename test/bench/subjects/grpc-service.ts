import type { MethodDefinition } from "@grpc/grpc-js";
import { answerBody } from "./workers.ts";

/** The messages of both directions are bare bytes: what is measured is the way, not a codec. */
export const message: Buffer = answerBody;

/** Messages in each direction of one streaming call. */
export const streamMessages = 10;

const bytes = (value: Buffer): Buffer => value;

function method(name: string, stream: boolean): MethodDefinition<Buffer, Buffer> {
  return {
    path: `/bench.Ratings/${name}`,
    requestStream: stream,
    responseStream: stream,
    requestSerialize: bytes,
    requestDeserialize: bytes,
    responseSerialize: bytes,
    responseDeserialize: bytes,
  };
}

export type CallKind = "unary" | "stream";

/** `Get` answers one message with one; `Talk` each message with one. */
export const ratings: {
  readonly Get: MethodDefinition<Buffer, Buffer>;
  readonly Talk: MethodDefinition<Buffer, Buffer>;
} = {
  Get: method("Get", false),
  Talk: method("Talk", true),
};
