import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { join } from "node:path";

import { parse, required, seconds, UsageError } from "../arguments.ts";
import { issueJoinToken } from "../auth/join-token.ts";
import { loadTokenKey } from "../auth/token-key.ts";
import { systemClock } from "../clock.ts";
import { ControlPlaneError } from "../errors.ts";
import { defaultMesh } from "../model/mesh.ts";
import type { Terminal } from "../terminal.ts";
import { type BootstrapOptions, keepFresh, type Software, writeBootstrap } from "./bootstrap.ts";
import { fileNames, type WireLocality, type Workload } from "./workload.ts";

export const bootstrapUsage = `  bootstrap  writes the files by which gRPC's own xDS clients, or Envoy, join the mesh: key, certificate, configuration
    --out DIR               made if need be, for its owner alone; its files change together
    --namespace NAME --service-account NAME
    --for grpc|envoy        (default grpc)
    --server HOST:PORT      ADS and CA port of the control plane (default 127.0.0.1:15012)
    --data DIR              folder of the control plane; or, where that is not at hand:
    --token-file FILE --root FILE
    --workload NAME         (default: the service account)
    --address IP            under which others reach the workload (default 127.0.0.1)
    --label KEY=VALUE       may be given several times
    --locality R/Z/S        region, zone and subzone where it runs, or a beginning of these
    --life T                of the certificate (default: as the control plane has it)
    --keep                  stays and renews the certificate at half of its life, until SIGTERM or SIGINT
    --domain NAME           (default cluster.local)
    --cluster NAME          (default Kubernetes)
    --plaintext HOST:PORT   grpc: plaintext ADS port, for libraries that can do no TLS to the control plane
    --xds delta|sotw        envoy: variant of the protocol (default delta)
    --admin HOST:PORT       envoy: its admin page (default 127.0.0.1:15000)
    --outbound HOST:PORT    envoy: the application's HTTP proxy (default 127.0.0.1:15001)
    --application IP        envoy: where the application listens (default 127.0.0.1)`;

/** Prints one line of JSON when the files are there; with `--keep` it then stays. */
export async function bootstrap(args: string[], terminal: Terminal): Promise<number> {
  const { values } = parse(args, {
    out: { type: "string" },
    namespace: { type: "string" },
    "service-account": { type: "string" },
    for: { type: "string" },
    server: { type: "string" },
    data: { type: "string" },
    "token-file": { type: "string" },
    root: { type: "string" },
    workload: { type: "string" },
    address: { type: "string" },
    label: { type: "string", multiple: true },
    locality: { type: "string" },
    life: { type: "string" },
    keep: { type: "boolean" },
    domain: { type: "string" },
    cluster: { type: "string" },
    plaintext: { type: "string" },
    xds: { type: "string" },
    admin: { type: "string" },
    outbound: { type: "string" },
    application: { type: "string" },
  });
  const serviceAccount = required(values["service-account"], "--service-account");
  const workload: Workload = {
    namespace: required(values.namespace, "--namespace"),
    serviceAccount,
    name: values.workload ?? serviceAccount,
    address: ip(values.address ?? "127.0.0.1", "--address"),
    labels: labels(values.label ?? []),
    locality: locality(values.locality ?? ""),
    domain: values.domain ?? defaultMesh.domain,
    cluster: values.cluster ?? defaultMesh.cluster,
  };
  const dir = required(values.out, "--out");
  const software = softwareOf(values);
  const options: BootstrapOptions = {
    dir,
    server: hostPort(values.server ?? "127.0.0.1:15012", "--server"),
    workload,
    software,
    lifeSeconds: Math.floor(seconds(values.life, "--life") ?? 0),
    ...proofs(values, workload),
  };
  const certificate = await writeBootstrap(options);
  const endsAt = new Date(certificate.notAfter).toISOString();
  terminal.out(`${JSON.stringify({ ready: true, file: join(dir, fileNames[software.kind]), endsAt })}\n`);
  if (values.keep !== true) return 0;
  // The clock's timers keep no process alive.
  const alive = setInterval(() => {}, 86_400_000);
  try {
    const env = { clock: systemClock, random: Math.random, stopped: terminal.stopped };
    await keepFresh(options, certificate, env, ({ code, message }) => terminal.err(`${code}: ${message}\n`));
  } finally {
    clearInterval(alive);
  }
  return 0;
}

type Values = Readonly<Record<string, string | boolean | readonly (string | boolean)[] | undefined>>;

function softwareOf(values: Values): Software {
  const text = (name: string, or: string): string => (typeof values[name] === "string" ? values[name] : or);
  const kind = text("for", "grpc");
  if (kind === "grpc") {
    const plaintext = values["plaintext"];
    return { kind, plaintext: typeof plaintext === "string" ? hostPort(plaintext, "--plaintext") : undefined };
  }
  if (kind !== "envoy") throw new UsageError(`--for: ${kind} is neither grpc nor envoy`);
  const protocol = text("xds", "delta");
  if (protocol !== "delta" && protocol !== "sotw") throw new UsageError(`--xds: ${protocol} is neither delta nor sotw`);
  return {
    kind,
    protocol,
    admin: address(text("admin", "127.0.0.1:15000"), "--admin"),
    outbound: address(text("outbound", "127.0.0.1:15001"), "--outbound"),
    application: ip(text("application", "127.0.0.1"), "--application"),
  };
}

/** With the control plane's folder at hand a token is made for each request; else the file is read again each time. */
function proofs(values: Values, { namespace, serviceAccount }: Workload): Pick<BootstrapOptions, "rootPem" | "token"> {
  const { data, root } = values;
  const tokenFile = values["token-file"];
  if (typeof data === "string") {
    const key = loadTokenKey(data);
    const rootFile = typeof root === "string" ? root : join(data, "ca", fileNames.root);
    return {
      rootPem: () => readRoot(rootFile),
      token: () => issueJoinToken(key, { namespace, serviceAccount, lifeSeconds: 60 }, systemClock.now()),
    };
  }
  if (typeof tokenFile !== "string" || typeof root !== "string")
    throw new UsageError("--data, or --token-file and --root: without them nothing proves who asks");
  return {
    rootPem: () => readRoot(root),
    // Not a token is told without a word of it: it may be the wrong file, and a key.
    token: async () =>
      checked(read(tokenFile, "--token-file").trim(), /^[\w-]+\.[\w-]+\.[\w-]+$/, tokenFile, "a token"),
  };
}

function readRoot(file: string): string {
  return checked(read(file, "--root"), /-----BEGIN CERTIFICATE-----/, file, "a certificate in PEM");
}

function checked(text: string, pattern: RegExp, file: string, what: string): string {
  if (!pattern.test(text)) throw new ControlPlaneError("JOIN", `${file} does not hold ${what}`);
  return text;
}

function read(file: string, option: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    const errno = (error as NodeJS.ErrnoException).code ?? "unreadable";
    throw new ControlPlaneError("JOIN", `${option}: cannot read ${file}: ${errno}`, error);
  }
}

function labels(pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const [, key, value] = /^([^=]+)=(.*)$/.exec(pair) ?? [];
      if (key === undefined || value === undefined) throw new UsageError(`--label: ${pair} is not KEY=VALUE`);
      return [key, value];
    }),
  );
}

function locality(text: string): WireLocality {
  if (!/^[^/\s]*(\/[^/\s]*){0,2}$/.test(text)) throw new UsageError(`--locality: ${text} is not REGION/ZONE/SUBZONE`);
  const [region = "", zone = "", subZone = ""] = text.split("/");
  return { region, zone, sub_zone: subZone };
}

function ip(text: string, option: string): string {
  if (isIP(text) === 0) throw new UsageError(`${option}: ${text} is not an address`);
  return text;
}

function hostPort(text: string, option: string): string {
  if (
    !/^(\[[0-9a-fA-F:]+\]|[^:\s]+):[1-9]\d{0,4}$/.test(text) ||
    Number(text.slice(text.lastIndexOf(":") + 1)) > 65_535
  )
    throw new UsageError(`${option}: ${text} is not HOST:PORT`);
  return text;
}

/** To listen on: no name. */
function address(text: string, option: string): string {
  ip(
    hostPort(text, option)
      .slice(0, text.lastIndexOf(":"))
      .replace(/^\[(.*)\]$/, "$1"),
    option,
  );
  return text;
}
