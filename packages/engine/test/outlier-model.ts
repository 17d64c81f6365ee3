import type { OutlierConfig } from "../src/config.ts";

/** What the model is told of: an answer's code, or a failure of our own side with the code that it counts as. */
export interface ModelEnd {
  readonly host: number;
  readonly code: number;
  readonly local: boolean;
}

interface Host {
  fiveHundreds: number;
  gateways: number;
  locals: number;
  ejected: boolean;
  ejectedAt: number;
  returnedAt: number | undefined;
  backoff: number;
  readonly ends: { readonly at: number; readonly success: boolean; readonly side: "answers" | "local" }[];
}

/**
 * Outlier detection once more, as slowly and plainly as can be, written from Envoy's description of it: every end is kept
 * in a list, every sweep takes place, everything is looked up by walking. Without jitter, without probing, and with
 * chances of 0 and 100 only.
 */
export class OutlierModel {
  readonly hosts: Host[];
  readonly #config: OutlierConfig;
  #now: number;
  #nextSweep: number;

  constructor(config: OutlierConfig, hosts: number, now: number) {
    this.#config = config;
    this.#now = now;
    this.#nextSweep = now + config.intervalMs;
    this.hosts = Array.from({ length: hosts }, () => ({
      fiveHundreds: 0,
      gateways: 0,
      locals: 0,
      ejected: false,
      ejectedAt: 0,
      returnedAt: undefined,
      backoff: 0,
      ends: [],
    }));
  }

  get ejected(): boolean[] {
    return this.hosts.map((each) => each.ejected);
  }

  advance(ms: number): void {
    const end = this.#now + ms;
    while (this.#nextSweep <= end) {
      this.#now = this.#nextSweep;
      this.#sweep();
      this.#nextSweep += this.#config.intervalMs;
    }
    this.#now = end;
  }

  end({ host: at, code, local }: ModelEnd): void {
    const host = this.hosts[at]!;
    const split = this.#config.splitLocalOrigin;
    if (split) {
      host.ends.push({ at: this.#now, success: !local, side: "local" });
      if (!local) host.locals = 0;
      else if (++host.locals === this.#config.consecutiveLocalOrigin && !host.ejected) {
        this.#eject(host, this.#config.enforcingConsecutiveLocalOrigin);
        host.locals = 0;
      }
    }
    if (split && local) return;
    host.ends.push({ at: this.#now, success: code < 500, side: "answers" });
    if (code < 500) {
      host.fiveHundreds = 0;
      host.gateways = 0;
      return;
    }
    const gateway = code === 502 || code === 503 || code === 504;
    if (!gateway) host.gateways = 0;
    else if (++host.gateways === this.#config.consecutiveGatewayFailure && !host.ejected) {
      this.#eject(host, this.#config.enforcingConsecutiveGatewayFailure);
      host.gateways = 0;
    }
    if (++host.fiveHundreds === this.#config.consecutive5xx && !host.ejected) {
      this.#eject(host, this.#config.enforcingConsecutive5xx);
      host.fiveHundreds = 0;
    }
  }

  #eject(host: Host, enforcing: number): void {
    if (host.ejected || enforcing === 0) return;
    const { maxEjectionPercent, alwaysEjectOne, baseEjectionMs, maxEjectionMs } = this.#config;
    const out = this.hosts.filter((each) => each.ejected).length;
    const fits = (100 * (out + 1)) / this.hosts.length <= maxEjectionPercent;
    if (!fits && !(alwaysEjectOne && out === 0)) return;
    host.ejected = true;
    host.ejectedAt = this.#now;
    if (host.backoff * baseEjectionMs < maxEjectionMs + baseEjectionMs) host.backoff++;
  }

  #sweep(): void {
    const { baseEjectionMs, maxEjectionMs, intervalMs } = this.#config;
    for (const host of this.hosts) {
      if (!host.ejected) continue;
      if (Math.min(baseEjectionMs * host.backoff, maxEjectionMs) > this.#now - host.ejectedAt) continue;
      host.ejected = false;
      host.returnedAt = this.#now;
      host.fiveHundreds = host.gateways = host.locals = 0;
    }
    this.#judge("answers");
    this.#judge("local");
    for (const host of this.hosts)
      if (!host.ejected && host.returnedAt !== undefined && this.#now - host.returnedAt >= intervalMs)
        host.backoff = Math.max(0, host.backoff - 1);
  }

  #judge(side: "answers" | "local"): void {
    const { successRate, failurePercentage, intervalMs } = this.#config;
    if (this.hosts.length < successRate.minHosts && this.hosts.length < failurePercentage.minHosts) return;
    const rates = this.hosts
      .filter((host) => !host.ejected)
      .map((host) => {
        const ends = host.ends.filter((each) => each.side === side && each.at >= this.#now - intervalMs);
        const good = ends.filter((each) => each.success).length;
        return { host, total: ends.length, rate: (good * 100) / ends.length };
      })
      .filter(({ total }) => total > 0);
    const forSuccess = rates.filter(({ total }) => total >= successRate.requestVolume);
    const forFailure = rates.filter(({ total }) => total >= failurePercentage.requestVolume);
    if (forSuccess.length > 0 && forSuccess.length >= successRate.minHosts) {
      const mean = forSuccess.reduce((sum, { rate }) => sum + rate, 0) / forSuccess.length;
      const variance = forSuccess.reduce((sum, { rate }) => sum + (rate - mean) ** 2, 0) / forSuccess.length;
      const threshold = mean - (successRate.stdevFactor / 1_000) * Math.sqrt(variance);
      const enforcing = side === "local" ? successRate.enforcingLocalOrigin : successRate.enforcing;
      for (const { host, rate } of forSuccess) if (rate < threshold) this.#eject(host, enforcing);
    }
    if (forFailure.length > 0 && forFailure.length >= failurePercentage.minHosts) {
      const enforcing = side === "local" ? failurePercentage.enforcingLocalOrigin : failurePercentage.enforcing;
      for (const { host, rate } of forFailure)
        if (100 - rate >= failurePercentage.threshold) this.#eject(host, enforcing);
    }
  }
}
