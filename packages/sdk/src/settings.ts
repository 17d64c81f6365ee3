import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { type AdmissionConfig, healthPaths, type Locality, type Logger } from "@trama/engine";
import { pemBlocks } from "@trama/xds";

import { stderrLogger } from "./env/log.ts";
import { TramaError } from "./errors.ts";
import type { MeshOptions, OverloadOptions } from "./options.ts";

/** The options, checked, with defaults and environment applied. */
export interface Settings {
  /** Empty with a bootstrap. */
  readonly controlPlane: string;
  readonly controlPlaneName: string | undefined;
  readonly rootCertFile: string | undefined;
  readonly rootCert: string | undefined;
  readonly token: string | (() => string | Promise<string>) | undefined;
  readonly tokenFile: string | undefined;
  /** A file; absent, and without `controlPlane`, the bootstrap is what gRPC's own variables name. */
  readonly bootstrap: string | undefined;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly workload: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly address: string | undefined;
  readonly locality: Locality | undefined;
  readonly clusterId: string;
  readonly outboundTrafficPolicy: "ALLOW_ANY" | "REGISTRY_ONLY";
  readonly identityDir: string | undefined;
  readonly certificateLifeSeconds: number;
  readonly joinTimeoutMs: number;
  readonly discoveryTimeoutMs: number;
  readonly drainMs: number;
  readonly metrics: { readonly grpcMethods: number };
  /** `undefined`: nothing is ever refused. */
  readonly overload: AdmissionConfig | undefined;
  /** Paths that neither overload nor a limit of a port refuses. */
  readonly exempt: readonly string[];
  readonly log: Logger;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Checks everything that can be checked before anything is started. Each fault names the option and the variable. */
export async function settingsOf(options: MeshOptions, env: Environment): Promise<Settings> {
  const read = reader(options, env);
  const bootstrap = read.text("bootstrap");
  const common = {
    bootstrap,
    controlPlaneName: read.text("controlPlaneName"),
    address: read.text("address"),
    locality: localityOf(read.text("locality")),
    clusterId: read.text("clusterId") ?? "Kubernetes",
    labels: labelsOf(options, env),
    outboundTrafficPolicy: policyOf(read.text("outboundTrafficPolicy") ?? "ALLOW_ANY"),
    identityDir: read.text("identityDir"),
    certificateLifeSeconds: read.number("certificateLifeSeconds", 86_400, 10, 7_776_000),
    joinTimeoutMs: read.number("joinTimeoutMs", 20_000, 100, 600_000),
    discoveryTimeoutMs: read.number("discoveryTimeoutMs", 10_000, 100, 600_000),
    drainMs: read.number("drainMs", 5_000, 0, 600_000),
    metrics: metricsOf(options, env),
    overload: overloadOf(options, env),
    exempt: exemptOf(options, env),
    log: options.log ?? stderrLogger(),
  };
  if (bootstrap !== undefined || (read.text("controlPlane") === undefined && namesBootstrap(env))) {
    const namespace = read.text("namespace") ?? "";
    const serviceAccount = read.text("serviceAccount") ?? "";
    const workload = read.text("workload") ?? serviceAccount;
    return {
      ...common,
      controlPlane: "",
      rootCertFile: undefined,
      rootCert: undefined,
      token: undefined,
      tokenFile: undefined,
      namespace,
      serviceAccount,
      workload,
    };
  }
  const controlPlane = addressOf(read.text("controlPlane"));
  const roots = rootsOf(read.text("rootCertFile"), read.text("rootCert"));
  const proof = tokenOf(options, read, common.identityDir !== undefined);
  const subject = await subjectOf(proof);
  const namespace = agreed("namespace", read.text("namespace"), subject?.namespace);
  const serviceAccount = agreed("serviceAccount", read.text("serviceAccount"), subject?.serviceAccount);
  return {
    ...common,
    ...roots,
    ...proof,
    controlPlane,
    namespace,
    serviceAccount,
    workload: read.text("workload") ?? serviceAccount,
  };
}

/** Where a platform has prepared a process for gRPC's xDS (BS1), that will do: our own variables go before. */
function namesBootstrap(env: Environment): boolean {
  return Boolean(env["GRPC_XDS_BOOTSTRAP"] || env["GRPC_XDS_BOOTSTRAP_CONFIG"]);
}

/** `controlPlane` → `TRAMA_CONTROL_PLANE`, `metrics.grpcMethods` → `TRAMA_METRICS_GRPC_METHODS`. */
function variable(option: string): string {
  return `TRAMA_${option
    .replace(/[A-Z]/g, (letter) => `_${letter}`)
    .replaceAll(".", "_")
    .toUpperCase()}`;
}

interface Reader {
  text(option: keyof MeshOptions): string | undefined;
  number(option: keyof MeshOptions, fallback: number, least: number, most: number): number;
}

function reader(options: MeshOptions, env: Environment): Reader {
  return {
    text(option) {
      const value = options[option];
      if (value === undefined) return env[variable(option)] || undefined;
      if (typeof value !== "string" || value === "") throw invalid(option, "must be a text that is not empty");
      return value;
    },
    number(option, fallback, least, most) {
      const given: unknown = options[option];
      return wholeNumber(option, given === undefined ? env[variable(option)] || fallback : given, least, most);
    },
  };
}

function wholeNumber(option: string, value: unknown, least: number, most: number): number {
  const number = typeof value === "string" && /^-?\d{1,15}$/.test(value) ? Number(value) : value;
  if (typeof number !== "number" || !Number.isInteger(number) || number < least || number > most)
    throw invalid(
      option,
      `must be a whole number from ${least} to ${most}, and is ${JSON.stringify(value)?.slice(0, 40)}`,
    );
  return number;
}

function metricsOf({ metrics = {} }: MeshOptions, env: Environment): Settings["metrics"] {
  const option = "metrics.grpcMethods";
  const { grpcMethods = env[variable(option)] || 0 } = metrics;
  return { grpcMethods: wholeNumber(option, grpcMethods, 0, 10_000) };
}

/** Envoy's defaults, but for the update interval, for which it has none. */
const gradient = {
  updateIntervalMs: 100,
  percentile: 50,
  minRttIntervalMs: 60_000,
  jitterPercent: 15,
  minRttRequests: 50,
  bufferPercent: 25,
};

function exemptOf({ overload }: MeshOptions, env: Environment): readonly string[] {
  const given = env[variable("overload.exempt")];
  const exempt = overload?.exempt ?? given?.split(",").map((path) => path.trim()) ?? healthPaths;
  if (!Array.isArray(exempt) || exempt.some((path) => typeof path !== "string" || !path.startsWith("/")))
    throw invalid("overload.exempt", "must be a list of paths, each beginning with /");
  return exempt as readonly string[];
}

function overloadOf(options: MeshOptions, env: Environment): AdmissionConfig | undefined {
  const { overload = {} } = options;
  const number = (name: keyof OverloadOptions, fallback: number, least: number, most: number): number => {
    const option = `overload.${name}`;
    const given = overload[name] ?? (env[variable(option)] || fallback);
    return given === 0 || given === "0" ? 0 : wholeNumber(option, given, least, most);
  };
  const loopDelayMs = number("loopDelayMs", 0, 10, 60_000);
  const utilization = number("utilizationPercent", 0, 1, 99);
  const maxConcurrency = number("maxConcurrency", 0, 1, 1_000_000);
  const minConcurrency = number("minConcurrency", Math.min(3, Math.max(1, maxConcurrency)), 1, 1_000_000);
  const exempt = exemptOf(options, env);
  if (maxConcurrency > 0 && minConcurrency > maxConcurrency)
    throw invalid("overload.minConcurrency", "must not be more than maxConcurrency");
  if (loopDelayMs + utilization + maxConcurrency === 0) return undefined;
  return {
    loopDelayMs: loopDelayMs || undefined,
    utilization: utilization === 0 ? undefined : utilization / 100,
    concurrency: maxConcurrency === 0 ? undefined : { ...gradient, minConcurrency, maxConcurrency },
    exempt,
  };
}

function addressOf(text: string | undefined): string {
  if (text === undefined)
    throw invalid("controlPlane", "is missing: give host:port of the control plane, or a bootstrap file");
  const port = /^[^/\s@?#]+:(\d{1,5})$/.exec(text)?.[1];
  if (port === undefined || Number(port) < 1 || Number(port) > 65_535)
    throw invalid("controlPlane", `must be host:port, and is ${JSON.stringify(text.slice(0, 100))}`);
  return text;
}

function rootsOf(
  rootCertFile: string | undefined,
  rootCert: string | undefined,
): { rootCertFile: string | undefined; rootCert: string | undefined } {
  if (rootCertFile !== undefined && rootCert !== undefined)
    throw invalid("rootCert", "and rootCertFile are both given: give one of them");
  if (rootCertFile === undefined && rootCert === undefined)
    throw invalid(
      "rootCertFile",
      "is missing: give the PEM file with the root certificate that vouches for the control plane",
    );
  const option = rootCertFile === undefined ? "rootCert" : "rootCertFile";
  const blocks = pemBlocks(rootCert ?? readText(option, rootCertFile!));
  if (blocks.length === 0) throw invalid(option, "holds no certificate in PEM form");
  // Node passes over those that it cannot read, and then nobody is trusted.
  for (const [index, block] of blocks.entries())
    if (!isCertificate(block))
      throw invalid(option, `holds a certificate that cannot be read, number ${index + 1} of ${blocks.length}`);
  return { rootCertFile, rootCert };
}

function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).raw.length > 0;
  } catch {
    return false;
  }
}

type Proof = Pick<Settings, "token" | "tokenFile">;

function tokenOf(options: MeshOptions, read: Reader, mayDoWithout: boolean): Proof {
  const tokenFile = read.text("tokenFile");
  const token =
    typeof options.token === "function"
      ? options.token
      : tokenFile !== undefined && options.token === undefined
        ? undefined
        : read.text("token");
  if (token !== undefined && tokenFile !== undefined)
    throw invalid("token", "and tokenFile are both given: give one of them");
  if (token === undefined && tokenFile === undefined && !mayDoWithout)
    throw invalid("token", "is missing: give the join token of this service account, or tokenFile");
  return { token, tokenFile };
}

interface Subject {
  readonly namespace: string;
  readonly serviceAccount: string;
}

/** Whom the token speaks of (I8). Not verified: that is the control plane's affair; it saves people from saying it twice. */
async function subjectOf({ token, tokenFile }: Proof): Promise<Subject | undefined> {
  const option = tokenFile === undefined ? "token" : "tokenFile";
  if (token === undefined && tokenFile === undefined) return undefined;
  let text: string;
  try {
    text = (typeof token === "function" ? await token() : (token ?? readText("tokenFile", tokenFile!))).trim();
  } catch (thrown) {
    if (thrown instanceof TramaError) throw thrown;
    throw invalid(option, `could not be had: ${thrown instanceof Error ? thrown.message : String(thrown)}`, thrown);
  }
  const [, payload, , more] = /^[\w-]+\.[\w-]+\.[\w-]*$/.test(text) ? text.split(".") : [];
  if (payload === undefined || more !== undefined) throw invalid(option, "is not a JWT");
  let claims: { readonly sub?: unknown } | null;
  try {
    claims = JSON.parse(Buffer.from(payload, "base64url").toString()) as typeof claims;
  } catch {
    throw invalid(option, "is not a JWT: its second part is not JSON");
  }
  const sub = typeof claims?.sub === "string" ? claims.sub : "";
  const [, namespace, serviceAccount] = /^system:serviceaccount:([^:]+):([^:]+)$/.exec(sub) ?? [];
  return namespace === undefined || serviceAccount === undefined ? undefined : { namespace, serviceAccount };
}

/** What is said in two places must be the same (I7): the control plane would refuse it, after more time and with fewer words. */
function agreed(option: "namespace" | "serviceAccount", given: string | undefined, proved: string | undefined): string {
  if (given !== undefined && proved !== undefined && given !== proved)
    throw new TramaError(
      "PERMISSION_DENIED",
      `${option} (${variable(option)}) is ${JSON.stringify(given)}, but the token is for ${JSON.stringify(proved)}; get a token for the one, or leave the option out`,
      { field: option },
    );
  const known = given ?? proved;
  if (known === undefined)
    throw invalid(
      option,
      "is missing, and the token does not say it (its subject is not system:serviceaccount:<namespace>:<name>)",
    );
  return known;
}

function labelsOf(options: MeshOptions, env: Environment): Readonly<Record<string, string>> {
  if (options.labels !== undefined) {
    for (const value of Object.values(options.labels))
      if (typeof value !== "string") throw invalid("labels", "must be a record of texts");
    return options.labels;
  }
  const labels: Record<string, string> = {};
  for (const part of (env["TRAMA_LABELS"] ?? "").split(",")) {
    if (part.trim() === "") continue;
    const [, name, value] = /^\s*([^=\s]+)=([^=]*?)\s*$/.exec(part) ?? [];
    if (name === undefined || value === undefined)
      throw invalid("labels", `must be written as app=reviews,version=v1; ${JSON.stringify(part.slice(0, 40))} is not`);
    labels[name] = value;
  }
  return labels;
}

function localityOf(text: string | undefined): Locality | undefined {
  if (text === undefined) return undefined;
  const [, region, zone = "", subZone = ""] = /^([^/\s]+)(?:\/([^/\s]+)(?:\/([^/\s]+))?)?$/.exec(text) ?? [];
  if (region === undefined)
    throw invalid(
      "locality",
      `must be region, region/zone or region/zone/subzone, and is ${JSON.stringify(text.slice(0, 40))}`,
    );
  return { region, zone, subZone };
}

function policyOf(text: string): "ALLOW_ANY" | "REGISTRY_ONLY" {
  if (text !== "ALLOW_ANY" && text !== "REGISTRY_ONLY")
    throw invalid(
      "outboundTrafficPolicy",
      `must be ALLOW_ANY or REGISTRY_ONLY, and is ${JSON.stringify(text.slice(0, 40))}`,
    );
  return text;
}

function readText(option: keyof MeshOptions, file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (thrown) {
    throw invalid(option, `names a file that cannot be read: ${(thrown as Error).message}`, thrown);
  }
}

function invalid(option: string, problem: string, cause?: unknown): TramaError {
  return new TramaError("OPTIONS_INVALID", `option ${option} (${variable(option)}) ${problem}`, {
    field: option,
    cause,
  });
}
