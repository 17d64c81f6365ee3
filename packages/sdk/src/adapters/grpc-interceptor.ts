import {
  type ClientOptions,
  InterceptingCall,
  type InterceptingListener,
  type Interceptor,
  type InterceptorOptions,
  Metadata,
  status as codes,
} from "@grpc/grpc-js";

import type { Mesh } from "../mesh-types.ts";
import { meshChannel } from "./grpc-client.ts";

type Bottom = ConstructorParameters<typeof InterceptingCall>[0];
type ChannelCall = ReturnType<ReturnType<typeof meshChannel>["createCall"]>;

/**
 * The mesh as a client interceptor, for a client that cannot be made with other options. Calls leave the client's own channel here, so it
 * stands last in the list: what stands behind it is not run. An interceptor is not told its client's target, hence the second argument.
 */
export function meshInterceptor(mesh: Mesh, target: string, options: ClientOptions = {}): Interceptor {
  const channel = meshChannel(mesh, target, options);
  return (call: InterceptorOptions): InterceptingCall => {
    const {
      method_definition: method,
      deadline = Infinity,
      host,
      parent = null,
      propagate_flags: flags,
      credentials,
    } = call;
    const inner = channel.createCall(method.path, deadline, host, parent, flags);
    if (credentials !== undefined) inner.setCredentials(credentials);
    return new InterceptingCall(new SerializingCall(inner, method));
  };
}

type Method = InterceptorOptions["method_definition"];

/** Messages on the one side, bytes on the other: what grpc-js itself puts at the end of a list of interceptors. */
class SerializingCall implements Bottom {
  readonly #call: ChannelCall;
  readonly #method: Method;

  constructor(call: ChannelCall, method: Method) {
    this.#call = call;
    this.#method = method;
  }

  start(metadata: Metadata, listener?: Partial<InterceptingListener>): void {
    const { responseStream, responseDeserialize } = this.#method;
    let received = false;
    let unreadable: { code: codes; details: string; metadata: Metadata } | undefined;
    this.#call.start(metadata, {
      onReceiveMetadata: (fields) => listener?.onReceiveMetadata?.(fields),
      onReceiveMessage: (bytes: Buffer) => {
        received = true;
        let message: unknown;
        try {
          message = responseDeserialize(bytes);
        } catch (thrown) {
          unreadable = {
            code: codes.INTERNAL,
            details: `Response message parsing error: ${textOf(thrown)}`,
            metadata: new Metadata(),
          };
          this.#call.cancelWithStatus(unreadable.code, unreadable.details);
          return;
        }
        listener?.onReceiveMessage?.(message);
      },
      onReceiveStatus: (status) => {
        // A unary caller waits for one message or for none.
        if (!responseStream && !received) listener?.onReceiveMessage?.(null);
        listener?.onReceiveStatus?.(unreadable ?? status);
      },
    });
    if (!responseStream) this.#call.startRead();
  }

  sendMessageWithContext(context: Parameters<Bottom["sendMessageWithContext"]>[0], message: unknown): void {
    let bytes: Buffer;
    try {
      bytes = this.#method.requestSerialize(message);
    } catch (thrown) {
      this.#call.cancelWithStatus(codes.INTERNAL, `Request message serialization failure: ${textOf(thrown)}`);
      return;
    }
    this.#call.sendMessageWithContext(context, bytes);
  }

  sendMessage(message: unknown): void {
    this.sendMessageWithContext({}, message);
  }

  startRead(): void {
    this.#call.startRead();
  }

  halfClose(): void {
    this.#call.halfClose();
  }

  cancelWithStatus(status: codes, details: string): void {
    this.#call.cancelWithStatus(status, details);
  }

  getPeer(): string {
    return this.#call.getPeer();
  }

  getAuthContext(): ReturnType<Bottom["getAuthContext"]> {
    return this.#call.getAuthContext();
  }
}

function textOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
