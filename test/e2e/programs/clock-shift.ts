/** Preload: this process lives TEST_CLOCK_SHIFT_MS away from everybody else, as a machine with a wrong clock does. */
const shiftMs = Number(process.env["TEST_CLOCK_SHIFT_MS"] ?? 0);
const RealDate = Date;

class ShiftedDate extends RealDate {
  constructor(...given: [] | [number | string | Date] | [number, number]) {
    if (given.length === 0) super(RealDate.now() + shiftMs);
    else super(...(given as [number]));
  }

  static override now(): number {
    return RealDate.now() + shiftMs;
  }
}

globalThis.Date = ShiftedDate as DateConstructor;
