/**
 * What an attempt has shown of its endpoint so far. Made only where somebody wants to know: a cluster whose observers are told of the ends of
 * attempts (see `AttemptObserver.attemptEnded`, whose words these are), and a call that is hedged by how long others took.
 */
export class Observation {
  readonly sentMs: number;
  status = 0;
  grpcStatus = -1;
  headMs = -1;
  askedMs = -1;

  constructor(sentMs: number) {
    this.sentMs = sentMs;
  }
}
