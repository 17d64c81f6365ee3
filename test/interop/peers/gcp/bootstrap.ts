import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { Server, ServerCredentials } from "@grpc/grpc-js";
import { identityOf } from "@trama/xds";
import { X509Certificate } from "node:crypto";

import { makeCertificate, spiffe } from "../../../kit/certs.ts";
import { echo, echoService } from "../../node/echo-service.ts";
import type { Capability, Context } from "../../peer.ts";
import { type RunningProcess, startProcess } from "../../process.ts";
import { go } from "../languages.ts";
import { echoHost, echoPort } from "../policy.ts";
import { roundOf } from "../rounds.ts";
import type { Vouchers } from "./backends.ts";
import { bootstrapFile, type GcpMesh, withGcp } from "./mesh.ts";
import { hostResources, type Place } from "./resources.ts";

const calls = 60;

/** The same file, byte for byte, for grpc-go and for our SDK. */
export const bootstrapRows: readonly Capability[] = [
  {
    name: "one bootstrap file for grpc-go and our SDK: mutual TLS by its certificate provider (BS8)",
    limitMs: 60_000,
    run: (context) => row(context, async (mesh) => both(mesh, "mtls")),
  },
  {
    name: "one bootstrap file for grpc-go and our SDK: servers and node, nothing more (BS7)",
    limitMs: 60_000,
    run: (context) => row(context, async (mesh) => both(mesh, "plaintext")),
  },
];

function row(context: Context, body: (mesh: GcpMesh) => Promise<string>): ReturnType<Capability["run"]> {
  return withGcp(context, { cache: "snapshot", ads: false, form: "delta" }, body);
}

async function both(mesh: GcpMesh, how: "mtls" | "plaintext"): Promise<string> {
  const { context, gcp, node, vouchers } = mesh;
  const place = await startEcho(mesh, how === "mtls" ? vouchers : undefined);
  await gcp.set(node, "1", hostResources(echoHost, echoPort, [{ name: "", weight: 100, places: [place] }]));
  const file = how === "mtls" ? bootstrapFile(context, [gcp.address], node, vouchers) : leastFile(mesh);
  const target = `xds:///${echoHost}:${echoPort}`;
  const programs: readonly (readonly [string, readonly [string, ...string[]]])[] = [
    ["grpc-go", [...go.command(context.cache), "client", target, String(calls)]],
    [
      "trama",
      [
        process.execPath,
        "--conditions=trama-source",
        join(import.meta.dirname, "../../node/grpc-peer.ts"),
        "client",
        target,
        String(calls),
      ],
    ],
  ];
  const found: string[] = [];
  for (const [name, [program, ...args]] of programs) {
    const running: RunningProcess = startProcess(program, args, {
      cwd: context.scratch,
      signal: context.signal,
      env: { GRPC_XDS_BOOTSTRAP: file },
    });
    mesh.defer(() => running.stop());
    const wanted = `echo ${how === "mtls" ? vouchers.caller : "-"}`;
    const round = await roundOf(context, running, `${name} answers`, ({ say }) => say[wanted] === calls);
    found.push(`${name} ${round.say[wanted]} of ${calls} as ${wanted.slice(5)}`);
    await running.stop();
  }
  for (const { type, error } of gcp.events) if (error !== undefined) throw new Error(`refused ${type}: ${error}`);
  return found.join("; ");
}

/** The least that a gRPC library takes. */
function leastFile({ context, gcp, node }: GcpMesh): string {
  const file = join(context.scratch, "least.json");
  const least = {
    xds_servers: [{ server_uri: gcp.address, channel_creds: [{ type: "insecure" }] }],
    node: { id: node },
  };
  writeFileSync(file, JSON.stringify(least));
  return file;
}

/** A gRPC server that knows nothing of the mesh. */
async function startEcho(mesh: GcpMesh, vouchers: Vouchers | undefined): Promise<Place> {
  const address = mesh.context.addresses.at(76);
  const account = spiffe("demo", "echo");
  const server = new Server();
  server.addService(
    echoService,
    echo("echo", (call) => {
      const raw = call.getAuthContext().sslPeerCertificate?.raw;
      const id = raw && identityOf(new X509Certificate(raw));
      return typeof id === "object" ? id.uri : undefined;
    }),
  );
  let credentials = ServerCredentials.createInsecure();
  if (vouchers !== undefined) {
    const own = makeCertificate("echo", { issuer: vouchers.root, uris: [account] });
    const pair = { private_key: Buffer.from(own.keyPem), cert_chain: Buffer.from(own.certPem) };
    credentials = ServerCredentials.createSsl(Buffer.from(vouchers.root.certPem), [pair], true);
  }
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync(`${address}:0`, credentials, (error, bound) => (error === null ? resolve(bound) : reject(error))),
  );
  mesh.defer(async () => server.forceShutdown());
  return { address, port, ...(vouchers !== undefined && { account }) };
}
