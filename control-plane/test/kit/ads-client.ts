import { connect } from "node:http2";
import { type MessageInitShape, create } from "@bufbuild/protobuf";
import {
  Client,
  type ClientDuplexStream,
  credentials,
  Metadata,
  type ServiceError,
  type StatusObject,
} from "@grpc/grpc-js";
import { aggregatedDiscoveryService, istioCertificateService } from "@trama/proto";
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
  type DiscoveryRequest,
  DiscoveryRequestSchema,
  type DiscoveryResponse,
} from "@trama/proto/envoy/service/discovery/v3/discovery_pb.js";
import { IstioCertificateRequestSchema } from "@trama/proto/istio/v1/auth/ca_pb.js";
import { onTestFinished } from "vitest";

export interface Credentials {
  /** Empty: plaintext. */
  readonly root: string;
  readonly token?: string;
  readonly cert?: string;
  readonly key?: string;
}

export interface Stream<Init, Res> {
  send(init: Init): void;
  /** The next response; rejects with the status if the stream ended. */
  next(): Promise<Res>;
  /** Resolves to the status with which the stream ends. */
  readonly ended: Promise<StatusObject>;
  close(): void;
}

export interface TestClient {
  delta(): Stream<MessageInitShape<typeof DeltaDiscoveryRequestSchema>, DeltaDiscoveryResponse>;
  sotw(): Stream<MessageInitShape<typeof DiscoveryRequestSchema>, DiscoveryResponse>;
  certificate(request: MessageInitShape<typeof IstioCertificateRequestSchema>): Promise<string[]>;
  close(): void;
}

/** A raw ADS and CA client over TLS; closed after the test. */
export function testClient(port: number, { root, token, cert, key }: Credentials): TestClient {
  const pair = cert !== undefined && key !== undefined ? [Buffer.from(key), Buffer.from(cert)] : [];
  // A pool of its own: clients of one test are connections of their own.
  const secured = root === "" ? credentials.createInsecure() : credentials.createSsl(Buffer.from(root), ...pair);
  const client = new Client(`127.0.0.1:${port}`, secured, {
    "grpc.use_local_subchannel_pool": 1,
    "grpc.ssl_target_name_override": "localhost",
  });
  onTestFinished(() => client.close());
  const metadata = (): Metadata => {
    const made = new Metadata();
    if (token !== undefined) made.set("authorization", `Bearer ${token}`);
    return made;
  };
  const ads = aggregatedDiscoveryService;
  return {
    delta() {
      const { path, requestSerialize, responseDeserialize } = ads.DeltaAggregatedResources;
      const call = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, metadata());
      return stream<
        MessageInitShape<typeof DeltaDiscoveryRequestSchema>,
        DeltaDiscoveryRequest,
        DeltaDiscoveryResponse
      >(call, (init) => create(DeltaDiscoveryRequestSchema, init));
    },
    sotw() {
      const { path, requestSerialize, responseDeserialize } = ads.StreamAggregatedResources;
      const call = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, metadata());
      return stream<MessageInitShape<typeof DiscoveryRequestSchema>, DiscoveryRequest, DiscoveryResponse>(
        call,
        (init) => create(DiscoveryRequestSchema, init),
      );
    },
    certificate(request) {
      const { path, requestSerialize, responseDeserialize } = istioCertificateService.CreateCertificate;
      return new Promise((resolve, reject) => {
        client.makeUnaryRequest(
          path,
          requestSerialize,
          responseDeserialize,
          create(IstioCertificateRequestSchema, request),
          metadata(),
          (error: ServiceError | null, response) =>
            error === null ? resolve(response?.certChain ?? []) : reject(error),
        );
      });
    },
    close: () => client.close(),
  };
}

function stream<Init, Req, Res>(call: ClientDuplexStream<Req, Res>, make: (init: Init) => Req): Stream<Init, Res> {
  const arrived: Res[] = [];
  const waiting: { resolve: (response: Res) => void; reject: (error: Error) => void }[] = [];
  let failure: Error | undefined;
  const ended = Promise.withResolvers<StatusObject>();
  call.on("data", (response: Res) => {
    const next = waiting.shift();
    if (next === undefined) arrived.push(response);
    else next.resolve(response);
  });
  // The status follows, and says the same.
  call.on("error", () => {});
  call.on("status", (status: StatusObject) => {
    failure = Object.assign(new Error(`stream ended: ${status.code} ${status.details}`), { code: status.code });
    for (const next of waiting.splice(0)) next.reject(failure);
    ended.resolve(status);
  });
  onTestFinished(() => call.cancel());
  return {
    send: (init) => void call.write(make(init)),
    next() {
      const response = arrived.shift();
      if (response !== undefined) return Promise.resolve(response);
      if (failure !== undefined) return Promise.reject(failure);
      return new Promise((resolve, reject) => waiting.push({ resolve, reject }));
    },
    ended: ended.promise,
    close: () => void call.end(),
  };
}

/** Sends one delta request and then takes nothing off the wire (grpc-js would buffer). Resolves when it is cut off. */
export function stalledClient(
  port: number,
  { root, token }: Credentials,
  request: MessageInitShape<typeof DeltaDiscoveryRequestSchema>,
): Promise<void> {
  const session = connect(`https://localhost:${port}`, { ca: root });
  onTestFinished(() => session.destroy());
  session.on("error", () => {});
  const { path, requestSerialize } = aggregatedDiscoveryService.DeltaAggregatedResources;
  const call = session.request({
    ":method": "POST",
    ":path": path,
    "content-type": "application/grpc",
    te: "trailers",
    authorization: `Bearer ${token}`,
  });
  call.on("error", () => {});
  call.pause();
  const message = requestSerialize(create(DeltaDiscoveryRequestSchema, request));
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  call.write(Buffer.concat([prefix, message]));
  return new Promise((resolve) => void session.once("close", () => resolve()));
}
