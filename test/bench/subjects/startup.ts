import { serveSubject } from "../subject.ts";

/** Imports `trama` and joins by its environment, once, and tells what both took. */
const startRss = process.memoryUsage.rss();
const startCpu = process.threadCpuUsage();
const startMs = performance.now();
const { joinMesh } = await import("trama");
const importedMs = performance.now();
const importCpu = process.threadCpuUsage(startCpu);
const mesh = await joinMesh();
const joinedMs = performance.now();
const allCpu = process.threadCpuUsage(startCpu);

await serveSubject({
  ready: {
    importMs: importedMs - startMs,
    joinMs: joinedMs - importedMs,
    importCpuMs: (importCpu.user + importCpu.system) / 1_000,
    joinCpuMs: (allCpu.user + allCpu.system - importCpu.user - importCpu.system) / 1_000,
    rssBytes: process.memoryUsage.rss() - startRss,
  },
  close: () => mesh.close({ deadlineMs: 1_000 }),
});
