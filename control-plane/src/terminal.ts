/** What the program may touch: a test gives its own. */
export interface Terminal {
  out(text: string): void;
  err(text: string): void;
  /** Resolves when the program is to end. */
  readonly stopped: Promise<unknown>;
}
