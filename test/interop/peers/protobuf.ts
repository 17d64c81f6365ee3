import { isDeepStrictEqual } from "node:util";
import { join } from "node:path";

import { fromBinary, toJson } from "@bufbuild/protobuf";
import { loadRegistry } from "@trama/proto";

import type { WireResource } from "../../../control-plane/src/snapshot.ts";
import { allGenerated } from "../envoy/validate/collect.ts";
import { installPython, pythonBin } from "../install/python.ts";
import type { Capability, Context, Peer } from "../peer.ts";
import { startProcess } from "../process.ts";

/** One answer of `py/decode.py`. */
interface Reading {
  readonly error?: string;
  /** A packed message that it does not have. */
  readonly foreign?: string;
  readonly json?: unknown;
  readonly bytes?: string;
  readonly unknown?: readonly string[];
}

/** Envoy's contrib, of which gRPC publishes nothing; only our own clients are sent it. */
const contrib = "envoy.extensions.load_balancing_policies.peak_ewma.v3alpha.PeakEwma";

const program = join(import.meta.dirname, "../py/decode.py");
const types = ["listener", "routeConfiguration", "cluster", "clusterLoadAssignment", "secret"] as const;

/**
 * All that our control plane generates, read by somebody else's protobuf with somebody else's copy of the messages: it knows every field,
 * means the same by it, and what it writes is read by us as what it was.
 */
const reads: Capability = {
  name: "reads what we generate as we mean it, and writes it back",
  limitMs: 120_000,
  async run(context) {
    const registry = await loadRegistry();
    const groups = allGenerated(join(context.scratch, "identity.json"), types);
    const resources = [...new Map(groups.flatMap((each) => each.resources.map((one) => [one.version, one]))).values()];
    const readings = await readAll(context, resources);
    const wrong: string[] = [];
    let [bytes, left] = [0, 0];
    for (const [at, { typeUrl, name, bytes: ours }] of resources.entries()) {
      const schema = registry.getMessage(typeUrl.replace(/.*\//, ""))!;
      const json = (from: Uint8Array): unknown => toJson(schema, fromBinary(schema, from), { registry });
      const found = readings[at]!;
      bytes += ours.length;
      if (found.foreign === contrib) {
        left++;
        continue;
      }
      const why =
        found.error ??
        found.foreign ??
        (found.unknown!.length > 0 ? `fields that it does not know: ${found.unknown!.join(", ")}` : undefined) ??
        (isDeepStrictEqual(found.json, json(ours)) ? undefined : `it reads ${JSON.stringify(found.json)}`) ??
        (isDeepStrictEqual(json(Buffer.from(found.bytes!, "base64")), json(ours)) ? undefined : "it writes otherwise");
      if (why !== undefined) wrong.push(`${typeUrl.split(".").at(-1)} ${name}: ${why}`);
    }
    for (const line of wrong) context.progress(line);
    const figures = { resources: resources.length, bytes, wrong: wrong.length, left };
    if (wrong.length > 0)
      return { result: "fail", detail: `${wrong.length} differ: ${wrong[0]!.slice(0, 300)}`, figures };
    const detail = `${resources.length - left} resources, ${bytes} bytes, no unknown field; ${left} with peak EWMA left out`;
    return { result: "pass", detail, figures };
  },
};

async function readAll(context: Context, resources: readonly WireResource[]): Promise<Reading[]> {
  const found: Reading[] = [];
  const all = Promise.withResolvers<void>();
  const onLine = (line: string): void => {
    found.push(JSON.parse(line) as Reading);
    if (found.length === resources.length) all.resolve();
  };
  const child = startProcess(join(pythonBin(context.cache), "python"), [program], {
    cwd: context.scratch,
    signal: context.signal,
    onLine,
  });
  for (const { typeUrl, bytes } of resources) child.write(`${typeUrl} ${Buffer.from(bytes).toString("base64")}`);
  const ended = child.ended.then((why): never => {
    throw new Error(`it ended after ${found.length} of ${resources.length} (${why}): ${child.output().slice(-500)}`);
  });
  ended.catch(() => {});
  await Promise.race([all.promise, ended]);
  await child.stop();
  return found;
}

/** Google's protobuf for Python (upb), and the messages that gRPC publishes. */
export const protobufForPython: Peer = {
  name: "protobuf for Python",
  version: "7.36.2, xds-protos 1.85.0",
  needs: "python",
  install: installPython,
  capabilities: [reads],
};
