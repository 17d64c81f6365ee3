/** Answers of one interval, and of the one before it, which is complete and is what rates are judged by. */
export class Volume {
  success = 0;
  total = 0;
  lastSuccess = 0;
  lastTotal = 0;

  add(success: boolean): void {
    this.total++;
    if (success) this.success++;
  }

  turn(): void {
    this.lastSuccess = this.success;
    this.lastTotal = this.total;
    this.success = this.total = 0;
  }

  /** Percent of successes in the complete interval; only where `lastTotal` is not 0. */
  get rate(): number {
    return (this.lastSuccess * 100) / this.lastTotal;
  }
}

/** What outlier detection remembers of one endpoint: kept under its address as long as any snapshot knows that. */
export class OutlierRecord {
  consecutive5xx = 0;
  consecutiveGateway = 0;
  consecutiveLocal = 0;
  /** Of what the endpoint answered, and of what happened on our side; only kept where rates are judged. */
  readonly answers: Volume = new Volume();
  readonly local: Volume = new Volume();
  ejected = false;
  ejectedAtMs = 0;
  jitterMs = 0;
  /** By what an ejection's base time is multiplied; grows with each, and falls by one with each sweep in peace. */
  multiplier = 0;
  /** `undefined`: it has not come back yet, or was never away. */
  returnedAtMs: number | undefined = undefined;
  /** Its time is over since, and it waits for a request that tries it. */
  halfOpenAtMs: number | undefined = undefined;
  /** That request is under way: the object that its attempt was given, so that no older attempt is taken for it. */
  probe: object | undefined = undefined;

  forgetRuns(): void {
    this.consecutive5xx = this.consecutiveGateway = this.consecutiveLocal = 0;
  }
}
