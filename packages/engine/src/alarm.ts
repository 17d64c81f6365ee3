/**
 * Something that a clock rings once, at a moment, unless it is called off before. The timer and the object that it is for are one: every
 * call has up to two, and a timer of its own for each would be garbage a moment later ({@link Clock.set}).
 *
 * The three fields are the clock's own. Whoever implements this gives them these values and touches them no more.
 */
export interface Alarm {
  /** Where it stands among those that are due at the same tick; `undefined`: it is not set. */
  nextAlarm: Alarm | undefined;
  previousAlarm: Alarm | undefined;
  /** 0 before it was ever set. */
  dueTick: number;
  /** It is not set any more when this is called, and may be set anew. */
  ring(): void;
}
