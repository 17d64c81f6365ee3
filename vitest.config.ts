import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

// Tests run on the sources: the export condition `trama-source` maps every workspace package to its src folder.
const conditions = ["trama-source", "node", "import", "default"];

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: [
      "packages/*/{src,test}/**/*.test.ts",
      "control-plane/{src,test}/**/*.test.ts",
      "examples/*/**/*.test.ts",
      "test/**/*.test.ts",
    ],
    exclude: ["**/node_modules/**", "**/dist/**"],
    // On two cores vitest would run one file after the other, and most of the slow ones wait.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    // Tests start real processes with these conditions too.
    execArgv: ["--conditions=trama-source"],
    // Generated code is plain JavaScript: Node loads it ten times faster than through the transformer.
    server: { deps: { external: [/\/packages\/proto\/gen\//] } },
    reporters: ["default", "./tools/reporter.ts"],
  },
});
