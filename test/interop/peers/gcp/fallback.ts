import type { Capability } from "../../peer.ts";
import { until } from "../plane.ts";
import { type Mode, startGcp } from "./control.ts";
import { call, type GcpMesh, host, port, withGcp } from "./mesh.ts";
import { hostResources } from "./resources.ts";

const other = "ratings.demo.svc.cluster.local";

/** gRFC A71 with two of them: the second is asked only when the first is away and something is needed that is not held (R66). */
export function fallbackRow(mode: Mode): Capability {
  return {
    name: "two servers: the second one only in need, and back to the first (R66)",
    limitMs: 90_000,
    run: (context) => withGcp(context, mode, (mesh) => fallback(mesh, mode)),
  };
}

async function fallback(mesh: GcpMesh, mode: Mode): Promise<string> {
  const { context, gcp, node, v1, v2 } = mesh;
  const second = await startGcp(context, mode, 75);
  mesh.defer(() => second.close());
  await gcp.set(node, "1", mesh.reviews(100, 0));
  const ratings = hostResources(other, port, [{ name: "", weight: 1, places: [v2] }]);
  // The second knows another truth about the first host, so that one sees whose word holds.
  const branches = [
    { name: "v1", weight: 0, places: [v1] },
    { name: "v2", weight: 100, places: [v2] },
    { name: "v0", weight: 0, places: [] },
  ];
  await second.set(node, "a", [...hostResources(host, port, branches), ...ratings]);
  const joined = await mesh.join(second);
  if ((await call(joined)) !== "200 v1") throw new Error("the first server's word does not hold");
  await gcp.stop();
  await until(context, "the loss is seen", () => !joined.status().controlPlane.connected || undefined);
  // Two attempts to reach it again, at least.
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  if ((await call(joined)) !== "200 v1") throw new Error("the loss of the first server was felt");
  if (second.events.length > 0)
    throw new Error(`the second was asked without need: ${JSON.stringify(second.events[0])}`);
  const answer = await call(joined, other);
  if (!answer.startsWith("200 v2")) throw new Error(`a new host, from the second server: ${answer}`);
  await until(
    context,
    "the second server's word holds",
    async () => (await call(joined)).startsWith("200 v2") || undefined,
  );
  await gcp.set(node, "2", [...mesh.reviews(100, 0), ...ratings]);
  await gcp.start();
  await until(
    context,
    "the first server's word holds again",
    async () => (await call(joined)) === "200 v1" || undefined,
  );
  await until(context, "the second is let go", () => second.events.at(-1)?.event === "closed" || undefined);
  if (!(await call(joined, other)).startsWith("200 v2")) throw new Error("the new host, from the first server");
  return "unasked while nothing was needed; asked for a new host; let go when the first was back";
}
