import { readFileSync } from "node:fs";
import { onTestFinished } from "vitest";

import type { ControlPlaneOptions } from "../../src/config.ts";
import { type ControlPlane, type Environment, runControlPlane } from "../../src/runner.ts";
import { type Credentials, type TestClient, testClient } from "./ads-client.ts";
import { type Contents, type FakeSource, fakeSource } from "./fake-source.ts";
import { tempDir } from "./temp-dir.ts";

export interface Running {
  readonly controlPlane: ControlPlane;
  readonly source: FakeSource;
  readonly dataDir: string;
  readonly root: string;
  /** A client of `shop/web` with a fresh token, unless other credentials are given. */
  readonly client: (credentials?: Partial<Credentials>) => Promise<TestClient>;
  /** A client with exactly these credentials besides the root. */
  readonly bare: (credentials?: Partial<Credentials>) => TestClient;
}

/** A whole control plane on free ports with a source that the test writes; closed after the test. */
export async function running(
  contents: Contents | undefined,
  options: Partial<ControlPlaneOptions> = {},
  environment: Partial<Environment> = {},
): Promise<Running> {
  const dataDir = options.dataDir ?? tempDir();
  const source = fakeSource(contents);
  const controlPlane = await runControlPlane(
    {
      configDirs: ["unused"],
      dataDir,
      port: 0,
      httpPort: 0,
      logLevel: "silent",
      identifier: "test",
      shutdownGraceSeconds: 0,
      ...options,
    },
    { openSource: () => Promise.resolve(source), ...environment },
  );
  onTestFinished(() => controlPlane.close());
  const root = readFileSync(controlPlane.rootCertFile, "utf8");
  const bare = (credentials: Partial<Credentials> = {}): TestClient =>
    testClient(controlPlane.port, { root, ...credentials });
  return {
    controlPlane,
    source,
    dataDir,
    root,
    bare,
    async client(credentials) {
      const token = await controlPlane.issueToken({ namespace: "shop", serviceAccount: "web", lifeSeconds: 60 });
      return bare({ token, ...credentials });
    },
  };
}
