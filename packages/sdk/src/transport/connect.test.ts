import { expect, test } from "vitest";

import { failureOf } from "./connect.ts";

test("that we can open no more is a limit of ours, and no fault of the endpoint", () => {
  const fault = (code: string): NodeJS.ErrnoException => Object.assign(new Error(`connect ${code}`), { code });
  for (const code of ["EMFILE", "ENFILE"]) {
    const cause = fault(code);
    expect(failureOf("10.0.0.1:80", "CONNECT_FAILED", cause)).toMatchObject({
      code: "OVERFLOW",
      sent: false,
      message: expect.stringMatching(/^10\.0\.0\.1:80: this (process|machine) .*\(E[MN]FILE\)/) as string,
      cause,
    });
  }
  expect(failureOf("10.0.0.1:80", "TLS_FAILED", fault("ECONNRESET")).code).toBe("TLS_FAILED");
  const several = new AggregateError([fault("ECONNREFUSED"), fault("ETIMEDOUT")]);
  expect(failureOf("a:80", "CONNECT_FAILED", several).message).toBe("a:80: connect ECONNREFUSED; connect ETIMEDOUT");
});
