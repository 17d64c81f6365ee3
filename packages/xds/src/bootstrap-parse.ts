import type {
  AllowedGrpcService,
  Authority,
  Bootstrap,
  BootstrapNode,
  CallCredentials,
  CertificateProvider,
  ChannelCredentials,
  ServerFeature,
  XdsServer,
} from "./bootstrap.ts";
import { XdsError } from "./errors.ts";
import { parseTarget } from "./stream/target.ts";

type Json = Readonly<Record<string, unknown>>;

const features: ReadonlySet<string> = new Set<ServerFeature>([
  "ignore_resource_deletion",
  "trusted_xds_server",
  "fail_on_data_errors",
  "resource_timer_is_transient_error",
  "xds_v3",
]);

const defaultRefreshMs = 600_000;

/**
 * Turns the JSON of a bootstrap into a {@link Bootstrap}. Unknown fields are ignored (BS2); a fault in one we read is an
 * XdsError `BOOTSTRAP_INVALID` that names the field, and nothing is half configured (BS15).
 */
export function parseBootstrap(json: unknown): Bootstrap {
  const root = object(json, "the bootstrap");
  const servers = serverList(root["xds_servers"], "xds_servers");
  const [first, ...rest] = servers;
  if (first === undefined)
    fail("xds_servers", "is missing or empty", 'Name a server: [{"server_uri": "host:port", …}].');
  return {
    servers: [first, ...rest],
    node: node(root["node"]),
    certificateProviders: entries(root["certificate_providers"], "certificate_providers", certificateProvider),
    serverListenerTemplate: optionalText(
      root["server_listener_resource_name_template"],
      "server_listener_resource_name_template",
    ),
    clientListenerTemplate:
      optionalText(
        root["client_default_listener_resource_name_template"],
        "client_default_listener_resource_name_template",
      ) ?? "%s",
    authorities: entries(root["authorities"], "authorities", authority),
    allowedGrpcServices: entries(root["allowed_grpc_services"], "allowed_grpc_services", allowedService),
  };
}

function serverList(value: unknown, field: string): XdsServer[] {
  if (value === undefined) return [];
  return array(value, field).map((item, index) => server(item, `${field}[${index}]`));
}

function server(value: unknown, field: string): XdsServer {
  const json = object(value, field);
  const uri = text(json["server_uri"], `${field}.server_uri`);
  if (parseTarget(uri) === undefined)
    fail(
      `${field}.server_uri`,
      `is ${JSON.stringify(uri.slice(0, 100))}, which is not the address of one server`,
      "Write host:port, dns:///host:port or unix:///path.",
    );
  return {
    uri,
    ...credentials(json, field),
    features: featureSet(json["server_features"], `${field}.server_features`),
  };
}

function credentials(json: Json, field: string): AllowedGrpcService {
  const channel = channelCredentials(json["channel_creds"], `${field}.channel_creds`);
  const call = callCredentials(json["call_creds"], `${field}.call_creds`);
  if (channel.kind === "insecure" && call.length > 0) {
    fail(`${field}.call_creds`, "would be sent over an insecure channel", 'Use channel_creds of type "tls".');
  }
  return { channel, call };
}

/** The first type we know wins (BS4). */
function channelCredentials(value: unknown, field: string): ChannelCredentials {
  const list = value === undefined ? [] : array(value, field);
  for (const [index, item] of list.entries()) {
    const json = object(item, `${field}[${index}]`);
    const type = text(json["type"], `${field}[${index}].type`);
    if (type === "insecure") return { kind: "insecure" };
    if (type === "tls") return tlsCredentials(json["config"], `${field}[${index}].config`);
  }
  fail(field, "names no type that is supported", 'Add {"type": "tls"} or, for a test, {"type": "insecure"}.');
}

function tlsCredentials(value: unknown, field: string): ChannelCredentials {
  const json = value === undefined ? {} : object(value, field);
  const roots = optionalText(json["ca_certificate_file"], `${field}.ca_certificate_file`);
  optionalDuration(json["refresh_interval"], `${field}.refresh_interval`); // files are read anew for each connection
  return {
    kind: "tls",
    roots: roots === undefined ? undefined : { file: roots },
    certificate: certificatePair(json, field),
    serverName: undefined,
  };
}

/** Certificate and key count as one pair: both or neither (BS4, BS8). */
function certificatePair(
  json: Json,
  field: string,
): { readonly certificateFile: string; readonly privateKeyFile: string } | undefined {
  const certificateFile = optionalText(json["certificate_file"], `${field}.certificate_file`);
  const privateKeyFile = optionalText(json["private_key_file"], `${field}.private_key_file`);
  if (certificateFile === undefined && privateKeyFile === undefined) return undefined;
  if (certificateFile === undefined) fail(`${field}.certificate_file`, "is missing", "private_key_file needs it.");
  if (privateKeyFile === undefined) fail(`${field}.private_key_file`, "is missing", "certificate_file needs it.");
  return { certificateFile, privateKeyFile };
}

/** All supported types apply, others are passed over (BS5). */
function callCredentials(value: unknown, field: string): CallCredentials[] {
  if (value === undefined) return [];
  const found: CallCredentials[] = [];
  for (const [index, item] of array(value, field).entries()) {
    const json = object(item, `${field}[${index}]`);
    if (text(json["type"], `${field}[${index}].type`) !== "jwt_token_file") continue;
    const config = object(json["config"], `${field}[${index}].config`);
    found.push({
      kind: "token_file",
      file: text(config["jwt_token_file"], `${field}[${index}].config.jwt_token_file`),
    });
  }
  return found;
}

function featureSet(value: unknown, field: string): ReadonlySet<ServerFeature> {
  const found = new Set<ServerFeature>();
  if (value === undefined) return found;
  for (const [index, item] of array(value, field).entries()) {
    const word = text(item, `${field}[${index}]`);
    if (isFeature(word)) found.add(word);
  }
  return found;
}

function isFeature(word: string): word is ServerFeature {
  return features.has(word);
}

/** All of it is optional to the reader (BS7). */
function node(value: unknown): BootstrapNode {
  const json = value === undefined ? {} : object(value, "node");
  const place = json["locality"] === undefined ? undefined : object(json["locality"], "node.locality");
  return {
    id: optionalText(json["id"], "node.id") ?? "",
    cluster: optionalText(json["cluster"], "node.cluster") ?? "",
    locality: place && {
      region: optionalText(place["region"], "node.locality.region") ?? "",
      zone: optionalText(place["zone"], "node.locality.zone") ?? "",
      subZone: optionalText(place["sub_zone"], "node.locality.sub_zone") ?? "",
    },
    metadata: json["metadata"] === undefined ? {} : object(json["metadata"], "node.metadata"),
  };
}

function certificateProvider(value: unknown, field: string): CertificateProvider {
  const json = object(value, field);
  const plugin = text(json["plugin_name"], `${field}.plugin_name`);
  // BS8: an unknown plug-in is a fault only for the resource that names it.
  if (plugin !== "file_watcher") return { kind: "unsupported", plugin };
  const config = object(json["config"], `${field}.config`);
  const pair = certificatePair(config, `${field}.config`);
  const caCertificateFile = optionalText(config["ca_certificate_file"], `${field}.config.ca_certificate_file`);
  if (pair === undefined && caCertificateFile === undefined) {
    fail(
      `${field}.config`,
      "names no file",
      "Give certificate_file with private_key_file, ca_certificate_file, or all.",
    );
  }
  return {
    kind: "file_watcher",
    certificateFile: pair?.certificateFile,
    privateKeyFile: pair?.privateKeyFile,
    caCertificateFile,
    refreshIntervalMs:
      optionalDuration(config["refresh_interval"], `${field}.config.refresh_interval`) ?? defaultRefreshMs,
  };
}

function authority(value: unknown, field: string, name: string): Authority {
  const json = object(value, field);
  const start = `xdstp://${name}/`;
  const templateField = `${field}.client_listener_resource_name_template`;
  const template = optionalText(json["client_listener_resource_name_template"], templateField);
  if (template !== undefined && !template.startsWith(start)) {
    fail(templateField, "belongs to another authority", `It must start with ${start} (gRFC A47).`);
  }
  return {
    servers: serverList(json["xds_servers"], `${field}.xds_servers`),
    clientListenerTemplate: template ?? `${start}envoy.config.listener.v3.Listener/%s`,
    fallbackOnReachabilityOnly: json["fallback_on_reachability_only"] === true,
  };
}

function allowedService(value: unknown, field: string): AllowedGrpcService {
  return credentials(object(value, field), field);
}

// ── readers of JSON that name the field ──────────────────────────────────────────────────────────────────────────

function fail(field: string, problem: string, remedy: string): never {
  throw new XdsError("BOOTSTRAP_INVALID", `bootstrap: ${field} ${problem}. ${remedy}`, { field });
}

function object(value: unknown, field: string): Json {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    fail(field, "is not a JSON object", "Write it as { … }.");
  }
  return value as Json;
}

function array(value: unknown, field: string): readonly unknown[] {
  if (!Array.isArray(value)) fail(field, "is not a list", "Write it as [ … ].");
  return value;
}

function text(value: unknown, field: string): string {
  if (typeof value !== "string" || value === "") fail(field, "is missing or not a text", 'Write it as "…".');
  return value;
}

function optionalText(value: unknown, field: string): string | undefined {
  return value === undefined || value === "" ? undefined : text(value, field);
}

/** A duration in protobuf's JSON form: `600s`, `0.5s`. */
function optionalDuration(value: unknown, field: string): number | undefined {
  if (value === undefined) return undefined;
  const match = typeof value === "string" ? /^(\d{1,9}(?:\.\d{1,9})?)s$/.exec(value) : null;
  const ms = match === null ? 0 : Number(match[1]) * 1000;
  if (ms <= 0) fail(field, "is not a positive duration", 'Write seconds with an s: "600s".');
  return ms;
}

function entries<T>(
  value: unknown,
  field: string,
  read: (value: unknown, field: string, name: string) => T,
): Map<string, T> {
  const found = new Map<string, T>();
  if (value === undefined) return found;
  for (const [name, item] of Object.entries(object(value, field)))
    found.set(name, read(item, `${field}.${name}`, name));
  return found;
}
