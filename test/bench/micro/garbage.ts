// The other half of a pick's budget (design.md): it allocates nothing. Exact bytes, by the meter of the whole-request benchmark.
// Run: node tools/task.mjs exec node --conditions=trama-source --expose-gc test/bench/micro/garbage.ts
import { Cluster } from "../../../packages/engine/src/cluster/cluster.ts";
import { MeshError } from "../../../packages/engine/src/errors.ts";
import type { Picker } from "../../../packages/engine/src/cluster/picker.ts";
import { State } from "../../../packages/engine/src/state.ts";
import { startMeter } from "../meter.ts";
import { balancers, env, keyed, set } from "../picks.ts";

const picks = 1_000_000;

for (const weight of ["equal", "unequal"] as const)
  for (const balancer of balancers) {
    const { picker } = new Cluster(set(balancer, weight), env, new State());
    run(picker);
    const stop = startMeter();
    run(picker);
    const bytes = Math.max(0, stop().heapBytes) / picks;
    process.stdout.write(`a pick allocates: ${balancer.kind}, ${weight}  ${bytes.toFixed(2)} bytes/iter\n`);
  }

function run(picker: Picker): void {
  for (let turn = 0; turn < picks; turn++) {
    const picked = picker.pick(keyed[turn & 255]!);
    if (picked instanceof MeshError) throw picked;
    picked.load.active = (picked.load.active + 1) & 7;
  }
}
