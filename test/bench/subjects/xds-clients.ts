import { readFileSync } from "node:fs";
import { rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Client, type ClientDuplexStream, credentials, Metadata } from "@grpc/grpc-js";
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
} from "@trama/proto/envoy/service/discovery/v3/discovery_pb.js";
import { IstioCertificateRequestSchema, IstioCertificateResponseSchema } from "@trama/proto/istio/v1/auth/ca_pb.js";
import { createSigningRequest } from "../../../packages/xds/src/ca/csr.ts";
import { namespace } from "../pki.ts";
import { serveSubject } from "../subject.ts";
import { hostOf, serviceCount } from "../world.ts";

/**
 * Clients of the control plane, each on a connection of its own, and the hand that writes its YAML: so one clock sees both a change and
 * the last client that hears of it. Arguments: port of the control plane, folder of the certificates, YAML folder, how many clients, and how many of
 * them use the service whose endpoint changes.
 */
const [port = "", folder = "", configDir = "", clientsText = "", usersText = ""] = process.argv.slice(2);
const clients = Number(clientsText);
const users = Number(usersText);

const endpointType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
const deltaPath = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const signPath = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
const ca = credentials.createSsl(readFileSync(join(folder, "root-cert.pem")));
const token = new Metadata();
token.set("authorization", `Bearer ${readFileSync(join(folder, "client.token"), "utf8")}`);

/** Nobody shares a connection. */
const open = (): Client => new Client(`127.0.0.1:${port}`, ca, { "grpc.use_local_subchannel_pool": 1 });

type Stream = ClientDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;
const all: { readonly client: Client; readonly stream: Stream }[] = [];
/** By client: answers so far, and when the newest came. */
const answers = new Uint32Array(clients);
const cameMs = new Float64Array(clients);

/** The first `users` ask for the endpoints of the first service, the others for those of one of the others each. */
function joined(index: number): Promise<void> {
  const service = index < users ? 0 : 1 + (index % (serviceCount - 1));
  const client = open();
  const stream: Stream = client.makeBidiStreamRequest(
    deltaPath,
    (request: DeltaDiscoveryRequest) => Buffer.from(toBinary(DeltaDiscoveryRequestSchema, request)),
    (bytes) => fromBinary(DeltaDiscoveryResponseSchema, bytes),
    token,
  );
  all.push({ client, stream });
  const id = `sidecar~127.0.0.1~client-${index}.${namespace}~${namespace}.svc.cluster.local`;
  const metadata = {
    NAMESPACE: namespace,
    WORKLOAD_NAME: `client-${index}`,
    GENERATOR: "grpc",
    TRAMA_VERSION: "bench",
  };
  stream.write(
    create(DeltaDiscoveryRequestSchema, {
      node: { id, metadata },
      typeUrl: endpointType,
      resourceNamesSubscribe: [`outbound|8080||${hostOf(service)}`],
    }),
  );
  return new Promise((resolve, reject) => {
    stream.on("data", ({ typeUrl, nonce }: DeltaDiscoveryResponse) => {
      cameMs[index] = performance.now();
      answers[index]!++;
      stream.write(create(DeltaDiscoveryRequestSchema, { typeUrl, responseNonce: nonce }));
      resolve();
    });
    stream.on("error", reject);
  });
}

let turn = 0;
async function moveEndpoint(): Promise<void> {
  const file = join(configDir, "fanout.yaml");
  await writeFile(
    `${file}.new`,
    `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: fanout, namespace: ${namespace} }
spec:
  address: 127.0.0.1
  ports: { http: ${1 + (turn++ % 60_000)} }
  serviceAccount: backend
  labels: { app: svc-0, version: v1 }
`,
  );
  await rename(`${file}.new`, file);
}

const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Moves the endpoint, and says when the last user heard of it and how many clients did hear of something. */
async function fanOut(): Promise<Record<string, number>> {
  const before = answers.slice();
  const startMs = performance.now();
  await moveEndpoint();
  const heard = (index: number): boolean => answers[index] !== before[index];
  for (let index = 0; index < users;) {
    if (heard(index)) index++;
    else if (performance.now() - startMs > 30_000) throw new Error(`client ${index} heard nothing`);
    else await wait(1);
  }
  const lastMs = Math.max(...cameMs.subarray(0, users)) - startMs;
  // Whoever else is told is told by then.
  await wait(500);
  return { lastMs, told: answers.reduce((sum, _, index) => sum + Number(heard(index)), 0) };
}

/** So many certificates over one connection, sixteen requests at a time; each for a key of its own, made before. */
async function certificates(count: number): Promise<Record<string, number>> {
  const requests = await Promise.all(Array.from({ length: count }, () => createSigningRequest()));
  const client = open();
  const sign = (csr: string): Promise<number> =>
    new Promise((resolve, reject) =>
      client.makeUnaryRequest(
        signPath,
        (text: string) =>
          Buffer.from(
            toBinary(
              IstioCertificateRequestSchema,
              create(IstioCertificateRequestSchema, { csr: text, validityDuration: 3_600n }),
            ),
          ),
        (bytes) => fromBinary(IstioCertificateResponseSchema, bytes).certChain.length,
        csr,
        token,
        (error, length) => (error === null ? resolve(length!) : reject(error)),
      ),
    );
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let at = next++; at < count; at = next++)
      if ((await sign(requests[at]!.csrPem)) < 2) throw new Error("a certificate without its root");
  };
  await Promise.all(Array.from({ length: 16 }, worker));
  client.close();
  return { issued: count };
}

await moveEndpoint();
for (let from = 0; from < clients; from += 20)
  await Promise.all(Array.from({ length: Math.min(20, clients - from) }, (_, at) => joined(from + at)));

await serveSubject({
  ready: { clients },
  figures: (step) => (step === "certificates" ? certificates(600) : fanOut()),
  close() {
    for (const { client, stream } of all) {
      stream.on("error", () => {});
      stream.cancel();
      client.close();
    }
    return Promise.resolve();
  },
});
