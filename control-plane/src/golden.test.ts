import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { type Registry, fromBinary, toJson } from "@bufbuild/protobuf";
import { loadRegistry, typeUrls } from "@trama/proto";
import { afterAll, describe, expect, test } from "vitest";
import { parse, stringify } from "yaml";

import type { ConfigState } from "./config-store.ts";
import { FieldTrial, type Fields } from "../test/kit/field-effects.ts";
import { goldenConfig } from "../test/kit/golden-config.ts";
import { formatDiagnostic } from "./diagnostics.ts";
import type { NodeView } from "./snapshot.ts";

// Golden files: testdata/<stage>/<case>.in.yaml → <case>.out.yaml. UPDATE_GOLDEN=1 writes the answers anew; look at each
// difference before you keep it. A line `# file: <name>` in the input begins another file of the configuration.
const testdata = join(import.meta.dirname, "../testdata");
const update = process.env["UPDATE_GOLDEN"] === "1";
const registry: Registry = await loadRegistry();

const stages: Readonly<Record<string, (input: string, file: string) => unknown>> = {
  /** Configuration → all findings. */
  findings: (input, file) => load(input, file).diagnostics.map(formatDiagnostic),
  listeners: resources,
  routes: resources,
  clusters: resources,
  endpoints: resources,
};

const used = new Set<string>(["fields/mesh.yaml"]);
for (const [stage, run] of Object.entries(stages)) {
  describe(stage, () => {
    for (const file of readdirSync(join(testdata, stage)).filter((name) => name.endsWith(".in.yaml"))) {
      const out = file.replace(/\.in\.yaml$/, ".out.yaml");
      used.add(`${stage}/${file}`).add(`${stage}/${out}`);
      test(file.replace(".in.yaml", ""), () => {
        compare(`${stage}/${out}`, run(readFileSync(join(testdata, stage, file), "utf8"), file));
      });
    }
  });
}

function compare(file: string, found: unknown): void {
  const path = join(testdata, file);
  const got = stringify(found, { lineWidth: 0 });
  if (update) writeFileSync(path, got);
  expect(got).toBe(existsSync(path) ? readFileSync(path, "utf8") : "no such file: run with UPDATE_GOLDEN=1");
}

/**
 * Each field of a kind, and each value with a meaning of its own, beside the fields that are `given` → what it changes or what is said of
 * it. Neither is only right for what is `default` and says why. A test for each, for some kinds have a hundred.
 */
describe.each(readdirSync(join(testdata, "fields")).filter((name) => name.endsWith(".in.yaml")))(
  "fields/%s",
  (file) => {
    const out = `fields/${file.replace(/\.in\.yaml$/, ".out.yaml")}`;
    used.add(`fields/${file}`).add(out);
    const kind = file.replace(".in.yaml", "").replaceAll(/(?:^|-)(.)/g, (_all, letter: string) => letter.toUpperCase());
    const trial = new FieldTrial(readFileSync(join(testdata, "fields/mesh.yaml"), "utf8"), kind);
    const all = parse(readFileSync(join(testdata, "fields", file), "utf8")) as readonly Tried[];
    const found: unknown[] = [];
    test.each(all.map((written) => [JSON.stringify(written), written] as const))("%s", (_text, written) => {
      const { given = {}, default: same, ...tried } = written;
      const effects = trial.effects(given, tried);
      found.push({ ...written, ...(same === undefined && { effects }) });
      expect(effects.length === 0, "it has no effect, and nothing is said of it").toBe(same !== undefined);
    });
    test("all of them as they were", () => compare(out, found));
  },
);
type Tried = Fields & { readonly given?: Fields; readonly default?: string };

test("every golden file is used", () => {
  const found = readdirSync(testdata, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => `${entry.parentPath.slice(testdata.length + 1)}/${entry.name}`);
  expect(found.filter((file) => !used.has(file))).toEqual([]);
});

afterAll(() => used.clear());

const load = (input: string, file: string): ConfigState =>
  goldenConfig(input, file, { rootsPem: "-----BEGIN CERTIFICATE-----" });

interface Question {
  readonly node?: Partial<NodeView>;
  readonly ask: readonly string[];
}

const types: Readonly<Record<string, string>> = {
  lds: typeUrls.listener,
  rds: typeUrls.routeConfiguration,
  cds: typeUrls.cluster,
  eds: typeUrls.clusterLoadAssignment,
  sds: typeUrls.secret,
};

/** The first document says who asks for what; the rest is the configuration. */
function resources(input: string, file: string): unknown {
  const end = input.indexOf("\n---\n");
  const questions = parse(input.slice(0, end)) as readonly Question[];
  const { snapshot, diagnostics } = load(input.slice(end + 5), file);
  expect(diagnostics.map(formatDiagnostic)).toEqual([]);
  return questions.map(({ node, ask }) => ({
    node: node ?? {},
    answers: ask.map((each) => {
      const [type = "", name = ""] = each.split(/ (.*)/);
      const found = snapshot?.resource({ ...someNode, ...node }, types[type] ?? "", name);
      if (found === undefined) return { [each]: null };
      expect(found.name).toBe(name);
      const schema = registry.getMessage(found.typeUrl.replace(/.*\//, ""));
      return { [each]: schema === undefined ? null : toJson(schema, fromBinary(schema, found.bytes), { registry }) };
    }),
  }));
}

const someNode: NodeView = {
  id: "sidecar~10.0.0.9~client.shop~shop.svc.cluster.local",
  namespace: "shop",
  serviceAccount: "client",
  workload: "client",
  labels: { app: "client" },
  addresses: ["10.0.0.9"],
  kind: "trama",
  locality: { region: "", zone: "", subZone: "" },
  cluster: "Kubernetes",
};
