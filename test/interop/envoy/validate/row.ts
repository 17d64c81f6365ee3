import { writeFileSync } from "node:fs";
import { join } from "node:path";

import type { Capability, Context } from "../../peer.ts";
import { startProcess } from "../../process.ts";
import { envoyProgram, writeBootstrap } from "../process.ts";
import type { WireResource } from "../../../../control-plane/src/snapshot.ts";
import { validationBootstrap } from "./bootstrap.ts";
import { allGenerated } from "./collect.ts";

/** Everything our control plane generates is valid by Envoy's own checks: listeners, routes, clusters, for each class of client. */
export const validateRow: Capability = {
  name: "validator: what we generate",
  limitMs: 300_000,
  async run(context) {
    const identityFile = join(context.scratch, "identity.json");
    writeFileSync(identityFile, "{}");
    const groups = allGenerated(identityFile, ["listener", "routeConfiguration", "cluster"]);
    const refused: string[] = [];
    let resources = 0;
    for (const [at, group] of groups.entries()) {
      resources += group.resources.length;
      const said = await validate(context, `group-${at}`, group.resources);
      if (said === undefined) continue;
      // One by one, to name the culprit.
      for (const resource of group.resources) {
        const why = await validate(context, `group-${at}-one`, [resource]);
        if (why !== undefined)
          refused.push(`${group.name}: ${resource.typeUrl.split(".").at(-1)} ${resource.name}: ${why}`);
      }
      if (refused.length === 0) refused.push(`${group.name}: ${said}`);
    }
    for (const line of refused) context.progress(line);
    const figures = { groups: groups.length, resources, refused: refused.length };
    if (refused.length > 0) return { result: "fail", detail: `${refused.length} refused: ${refused[0]!}`, figures };
    return { result: "pass", detail: `${resources} resources of ${groups.length} nodes accepted`, figures };
  },
};

/** What Envoy has against these resources; `undefined` when nothing. */
async function validate(
  context: Context,
  name: string,
  resources: readonly WireResource[],
): Promise<string | undefined> {
  const file = join(context.scratch, `${name}.json`);
  await writeBootstrap(file, validationBootstrap(resources));
  const args = ["--mode", "validate", "-c", file, "-l", "error"];
  const running = startProcess(envoyProgram(context), args, { cwd: context.scratch, signal: context.signal });
  const ended = await running.ended;
  if (ended === "exit code 0") return undefined;
  // The reason stands behind a dump of the message.
  return running.output().trim().replaceAll(/\s+/g, " ").slice(-400);
}
