import { serveSubject } from "../subject.ts";

/** Imports the modules that its arguments name, and tells what that took of this thread and of memory. */
const startRss = process.memoryUsage.rss();
const startCpu = process.threadCpuUsage();
for (const name of process.argv.slice(2)) await import(name);
const { user, system } = process.threadCpuUsage(startCpu);

await serveSubject({
  ready: { cpuMs: (user + system) / 1_000, rssBytes: process.memoryUsage.rss() - startRss },
  close: () => Promise.resolve(),
});
