import type { GrpcMethod } from "@trama/proto/lean";

import { codes } from "./codes.ts";
import { CallError } from "./credentials.ts";
import { GrpcCall, type GrpcTransportOptions } from "./grpc-call.ts";
import type { StreamTransport } from "./transport.ts";

export type { GrpcTransportOptions } from "./grpc-call.ts";

/** ADS over HTTP/2. */
export function createGrpcTransport(options: GrpcTransportOptions): StreamTransport {
  return {
    open: (method, handlers) => new GrpcCall(options, method, handlers),
  };
}

/** One request, one response. Fails with a {@link CallError}. */
export function callUnary<Request, Response>(
  options: GrpcTransportOptions,
  method: GrpcMethod<Request, Response>,
  request: Request,
  signal: AbortSignal,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    let response: Response | undefined;
    const onAbort = (): void => {
      call.close();
      reject(new CallError(codes.cancelled, "it was given up"));
    };
    const call = new GrpcCall(options, method, {
      onOpen() {},
      onMessage: (message) => void (response = message),
      onEnd({ code, message }) {
        signal.removeEventListener("abort", onAbort);
        if (code !== codes.ok) reject(new CallError(code, message));
        else if (response === undefined) reject(new CallError(codes.internal, "it answered without a message"));
        else resolve(response);
      },
    });
    call.send(request);
    call.end();
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
  });
}
