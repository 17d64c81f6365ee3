// The other half of a pick's budget (design.md): it allocates nothing. Exact bytes, by the meter of the whole-request benchmark. And
// the time of the fastest of fifty batches: on a machine with other work an average tells more of that.
// Run: node tools/task.mjs exec node --conditions=trama-source --expose-gc test/bench/micro/pick-exact.ts
import { Cluster } from "../../../packages/engine/src/cluster/cluster.ts";
import { MeshError } from "../../../packages/engine/src/errors.ts";
import type { Picker } from "../../../packages/engine/src/cluster/picker.ts";
import { State } from "../../../packages/engine/src/state.ts";
import { startMeter } from "../meter.ts";
import { balancers, env, keyed, set } from "../picks.ts";

const batches = 50;
const picks = 20_000;

for (const weight of ["equal", "unequal"] as const)
  for (const balancer of balancers) {
    const { picker } = new Cluster(set(balancer, weight), env, new State());
    let fastestMs = Infinity;
    for (let batch = 0; batch < batches; batch++) {
      const startMs = performance.now();
      run(picker);
      fastestMs = Math.min(fastestMs, performance.now() - startMs);
    }
    const stop = startMeter();
    for (let batch = 0; batch < batches; batch++) run(picker);
    const bytes = Math.max(0, stop().heapBytes) / (batches * picks);
    const what = `${balancer.kind}, ${weight}`;
    process.stdout.write(`fastest pick: ${what}  ${((fastestMs / picks) * 1e6).toFixed(0)} ns/iter\n`);
    process.stdout.write(`a pick allocates: ${what}  ${bytes.toFixed(2)} bytes/iter\n`);
  }

function run(picker: Picker): void {
  for (let turn = 0; turn < picks; turn++) {
    const picked = picker.pick(keyed[turn & 255]!);
    if (picked instanceof MeshError) throw picked;
    picked.load.active = (picked.load.active + 1) & 7;
  }
}
