/** Resident memory of this process over a time, sampled often enough to see a buffer grow. */
export interface MemoryUse {
  readonly startBytes: number;
  readonly peakBytes: number;
  readonly peakHeapBytes: number;
  readonly peakExternalBytes: number;
  readonly samples: number;
}

let timer: NodeJS.Timeout | undefined;
let use: { -readonly [K in keyof MemoryUse]: MemoryUse[K] };

export function watchMemory(): void {
  clearInterval(timer);
  // What earlier work left behind is not what is measured (the test starts these programs with --expose-gc).
  (globalThis as { gc?: () => void }).gc?.();
  use = { startBytes: process.memoryUsage.rss(), peakBytes: 0, peakHeapBytes: 0, peakExternalBytes: 0, samples: 0 };
  const sample = (): void => {
    const { rss, heapUsed, external } = process.memoryUsage();
    use.peakBytes = Math.max(use.peakBytes, rss);
    use.peakHeapBytes = Math.max(use.peakHeapBytes, heapUsed);
    use.peakExternalBytes = Math.max(use.peakExternalBytes, external);
    use.samples++;
  };
  sample();
  timer = setInterval(sample, 25);
  timer.unref();
}

export function memoryUse(): MemoryUse {
  return use;
}
