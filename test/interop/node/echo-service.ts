import type { handleUnaryCall, MethodDefinition } from "@grpc/grpc-js";

const bytes = (value: Buffer): Buffer => value;

function method(name: string): MethodDefinition<Buffer, Buffer> {
  return {
    path: `/demo.Echo/${name}`,
    requestStream: false,
    responseStream: false,
    requestSerialize: bytes,
    requestDeserialize: bytes,
    responseSerialize: bytes,
    responseDeserialize: bytes,
  };
}

/** The service of the programs in the other languages; messages are bare bytes. */
export const echoService: {
  readonly Say: MethodDefinition<Buffer, Buffer>;
  readonly Secret: MethodDefinition<Buffer, Buffer>;
} = {
  Say: method("Say"),
  Secret: method("Secret"),
};

/** Answers "<name> <who called>". */
export function echo(
  name: string,
  callerOf: (call: Parameters<handleUnaryCall<Buffer, Buffer>>[0]) => string | undefined,
): { readonly Say: handleUnaryCall<Buffer, Buffer>; readonly Secret: handleUnaryCall<Buffer, Buffer> } {
  const answer: handleUnaryCall<Buffer, Buffer> = (call, reply) =>
    reply(null, Buffer.from(`${name} ${callerOf(call) ?? "-"}`));
  return { Say: answer, Secret: answer };
}
