// `npm run conformance:adapters`: the same scenarios over every adapter. A line each; what an adapter lacks, with the reason.

import { cases } from "./scenarios.ts";

// The mesh's own timers never keep a process alive, and while a server closes there may be nothing else.
setInterval(() => {}, 1_000);
const counts = { pass: 0, fail: 0, lacks: 0 };
for (const { adapter, scenario, lacks, run } of cases) {
  let result: keyof typeof counts = "pass";
  let why = "";
  if (lacks !== undefined) {
    result = "lacks";
    why = `: ${lacks}`;
  } else
    await run().catch((error: unknown) => {
      result = "fail";
      why = `: ${error instanceof Error ? error.message.split("\n").slice(0, 4).join(" ") : String(error)}`;
    });
  counts[result]++;
  process.stdout.write(`${adapter} ${scenario} ${result}${why}\n`);
}
process.stdout.write(`${counts.pass} passed, ${counts.fail} failed, ${counts.lacks} lacking\n`);
// Sockets that a failing scenario left open must not keep the verdict waiting.
process.exit(counts.fail === 0 ? 0 : 1);
