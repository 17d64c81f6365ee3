import { join } from "node:path";

import type { ListedNode } from "./ads/plaintext.ts";
import { count, parse, required, seconds, UsageError } from "./arguments.ts";
import { issueJoinToken, TokenRequestError } from "./auth/join-token.ts";
import { loadTokenKey } from "./auth/token-key.ts";
import { systemClock } from "./clock.ts";
import { type ControlPlaneOptions, parseOptions } from "./config.ts";
import { formatDiagnostic } from "./diagnostics.ts";
import { ControlPlaneError } from "./errors.ts";
import { openFolders } from "./first-configuration.ts";
import { bootstrap, bootstrapUsage } from "./join/command.ts";
import { type ControlPlane, startControlPlane } from "./runner.ts";
import type { Terminal } from "./terminal.ts";

const usage = `usage: trama-control-plane <command> [options]

  run    serves configuration and certificates until SIGTERM or SIGINT
    --config DIR            folder of YAML, watched; may be given several times
    --data DIR              folder for keys and certificates, kept between starts
    --ca DIR                ca-cert.pem, ca-key.pem, root-cert.pem, cert-chain.pem (default: <data>/ca, made at the first start)
    --host ADDRESS          of the ADS and CA port (default 127.0.0.1)
    --port N                0 takes any free one (default 15012)
    --http-host ADDRESS     of the status server, which has no authentication (default 127.0.0.1)
    --http-port N           0 takes any free one (default 15014)
    --server-name NAME      DNS name or address under which clients dial; may be given several times
    --trust-domain NAME     (default cluster.local)
    --domain NAME           completes short host names (default cluster.local)
    --root-namespace NAME   (default istio-system)
    --cluster NAME          (default Kubernetes)
    --credentials-dir DIR   where callers have the Secrets that credentialName names (default /etc/trama/credentials)
    --networks FILE         Istio's networks: which endpoints are in which network, and the gateways into each; read at the start
    --certificate-life T    of workloads that ask for none (default 24h)
    --max-connection-age T  (default 30m)
    --plaintext-port N      ADS without TLS on 127.0.0.1, for libraries that can do no more, and for listed nodes alone
    --plaintext-node ID=NAMESPACE/SERVICE-ACCOUNT   who is answered there; may be given several times
    --shutdown-grace T      (default 2s)
    --log LEVEL             trace, debug, info, warn, error, silent (default info); the log goes to stderr

  token  prints a join token, without a running control plane
    --data DIR --namespace NAME --service-account NAME [--life T]  (default 1h, at most 366d)

${bootstrapUsage}

  check  prints every fault of the YAML as file:line:column, exit code 1 if there is an error
    DIR... [--trust-domain NAME] [--domain NAME] [--root-namespace NAME] [--cluster NAME] [--networks FILE]

T is a number with s, m, h or d: 90s, 15m, 24h, 30d.`;

/** Codes with which the program ends, as in sysexits where one fits. */
export const exitCodes: Readonly<Record<"ok" | "faults" | "usage" | "failed", number>> = {
  ok: 0,
  /** `check` found errors; `token` refused what it was asked. */
  faults: 1,
  usage: 2,
  /** The control plane could not start. */
  failed: 3,
};

/** Runs one command; resolves to the exit code. */
export async function runCli(args: readonly string[], terminal: Terminal): Promise<number> {
  const [command, ...rest] = args;
  try {
    // Behind a command as well.
    switch (rest.includes("--help") || rest.includes("-h") ? "help" : command) {
      case "run":
        return await run(rest, terminal);
      case "token":
        return await token(rest, terminal);
      case "check":
        return await check(rest, terminal);
      case "bootstrap":
        return await bootstrap(rest, terminal);
      case "help":
      case "--help":
      case "-h":
        terminal.out(`${usage}\n`);
        return exitCodes.ok;
      default:
        throw new UsageError(command === undefined ? "no command" : `unknown command ${command}`);
    }
  } catch (error) {
    if (error instanceof UsageError) {
      terminal.err(`${error.message}\n\n${usage}\n`);
      return exitCodes.usage;
    }
    if (error instanceof TokenRequestError) {
      terminal.err(`${error.message}\n`);
      return exitCodes.faults;
    }
    if (!(error instanceof ControlPlaneError)) throw error;
    terminal.err(`${error.code}: ${error.message}\n`);
    return error.code === "OPTIONS" ? exitCodes.usage : exitCodes.failed;
  }
}

const meshOptions = {
  "trust-domain": { type: "string" },
  domain: { type: "string" },
  "root-namespace": { type: "string" },
  cluster: { type: "string" },
  networks: { type: "string" },
} as const;

async function run(args: string[], terminal: Terminal): Promise<number> {
  const { values } = parse(args, {
    ...meshOptions,
    config: { type: "string", multiple: true },
    data: { type: "string" },
    ca: { type: "string" },
    host: { type: "string" },
    port: { type: "string" },
    "http-host": { type: "string" },
    "http-port": { type: "string" },
    "server-name": { type: "string", multiple: true },
    "credentials-dir": { type: "string" },
    "certificate-life": { type: "string" },
    "max-connection-age": { type: "string" },
    "shutdown-grace": { type: "string" },
    "plaintext-port": { type: "string" },
    "plaintext-node": { type: "string", multiple: true },
    log: { type: "string" },
  });
  const controlPlane = await startControlPlane({
    configDirs: values.config ?? [],
    dataDir: required(values.data, "--data"),
    caDir: values.ca,
    host: values.host,
    port: count(values.port, "--port"),
    httpHost: values["http-host"],
    httpPort: count(values["http-port"], "--http-port"),
    serverNames: values["server-name"],
    trustDomain: values["trust-domain"],
    domain: values.domain,
    rootNamespace: values["root-namespace"],
    cluster: values.cluster,
    networksFile: values.networks,
    credentialsDir: values["credentials-dir"],
    certificateLifeSeconds: seconds(values["certificate-life"], "--certificate-life"),
    maxConnectionAgeSeconds: seconds(values["max-connection-age"], "--max-connection-age"),
    shutdownGraceSeconds: seconds(values["shutdown-grace"], "--shutdown-grace"),
    plaintextPort: count(values["plaintext-port"], "--plaintext-port"),
    plaintextNodes: values["plaintext-node"]?.map(listedNode),
    // Any text: the options say which words are levels.
    logLevel: values.log as ControlPlaneOptions["logLevel"],
  });
  terminal.out(`${JSON.stringify(readyLine(controlPlane))}\n`);
  await terminal.stopped;
  await controlPlane.close();
  return exitCodes.ok;
}

/** One line on stdout when the ports are open: what a script needs to go on. */
function readyLine({ address, port, plaintextAddress, httpUrl, rootCertFile }: ControlPlane): object {
  return { ready: true, address, port, plaintextAddress, statusUrl: httpUrl, rootCertFile };
}

function listedNode(text: string): ListedNode {
  const [, id, namespace, serviceAccount] = /^(.+)=([^/=]+)\/([^/=]+)$/.exec(text) ?? [];
  if (id === undefined || namespace === undefined || serviceAccount === undefined)
    throw new UsageError(`--plaintext-node: ${text} is not ID=NAMESPACE/SERVICE-ACCOUNT`);
  return { id, namespace, serviceAccount };
}

async function token(args: string[], terminal: Terminal): Promise<number> {
  const { values } = parse(args, {
    data: { type: "string" },
    namespace: { type: "string" },
    "service-account": { type: "string" },
    life: { type: "string" },
  });
  const request = {
    namespace: required(values.namespace, "--namespace"),
    serviceAccount: required(values["service-account"], "--service-account"),
    lifeSeconds: seconds(values.life, "--life") ?? 3_600,
  };
  const key = loadTokenKey(required(values.data, "--data"));
  terminal.out(`${await issueJoinToken(key, request, systemClock.now())}\n`);
  return exitCodes.ok;
}

async function check(args: string[], terminal: Terminal): Promise<number> {
  const { values, positionals } = parse(args, meshOptions, true);
  if (positionals.length === 0) throw new UsageError("check needs a folder");
  const config = parseOptions({
    configDirs: positionals,
    // Not used by check, but demanded of every control plane.
    dataDir: join(positionals[0] ?? ".", "unused"),
    trustDomain: values["trust-domain"],
    domain: values.domain,
    rootNamespace: values["root-namespace"],
    cluster: values.cluster,
    networksFile: values.networks,
  });
  const source = await openFolders(config, systemClock);
  const found = source.diagnostics;
  const read = source.current !== undefined;
  await source.close();
  for (const diagnostic of found) terminal.out(`${formatDiagnostic(diagnostic)}\n`);
  const errors = found.filter(({ severity }) => severity === "error").length;
  terminal.err(`${errors} errors, ${found.length - errors} warnings\n`);
  return errors === 0 && read ? exitCodes.ok : exitCodes.faults;
}
