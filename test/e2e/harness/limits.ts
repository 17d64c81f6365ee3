import { vi } from "vitest";

/**
 * Several processes start, join and talk in each test: that takes seconds on a busy machine, and a time-out that strikes
 * then says nothing. What must be quick says so itself, with `until` or a measured time.
 */
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });
