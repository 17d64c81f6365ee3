import { bootstrapFor, createGrpcTransport, createXdsClient, type XdsClient } from "@trama/xds";
import { onTestFinished } from "vitest";

import type { ControlPlane } from "../../control-plane/src/index.ts";
import { createClock } from "../../packages/sdk/src/env/clock.ts";
import { type TestEnv, testEnv } from "../kit/env.ts";
import { seededRandom } from "../kit/random.ts";

/** Our client, joined to our control plane as a service account of the namespace `shop`, over the real wire. It ends with the test. */
export async function openClient(
  controlPlane: ControlPlane,
  variant: "delta" | "sotw",
  serviceAccount: string,
  workload: Partial<Parameters<typeof bootstrapFor>[0]>,
): Promise<{ readonly client: XdsClient; readonly logged: TestEnv["logged"] }> {
  const bootstrap = bootstrapFor({
    controlPlane: controlPlane.address,
    rootCertFile: controlPlane.rootCertFile,
    token: await controlPlane.issueToken({ namespace: "shop", serviceAccount, lifeSeconds: 600 }),
    namespace: "shop",
    serviceAccount,
    workload: serviceAccount,
    ...workload,
  });
  const env = testEnv();
  const clock = createClock();
  const client = createXdsClient({
    bootstrap,
    transport: createGrpcTransport({ server: bootstrap.servers[0] }),
    clock,
    random: seededRandom(1),
    log: env.log,
    regex: env.regex,
    onConfig: () => {},
    variant,
  });
  onTestFinished(async () => {
    await client.close();
    clock.close();
  });
  client.start();
  return { client, logged: env.logged };
}
