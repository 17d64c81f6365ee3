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

test("a server that takes none of the protocols is told of in words, and OpenSSL's own words end where they end", () => {
  const alert = Object.assign(new Error("0A000460:SSL routines::tlsv1 alert no application protocol\n"), {
    code: "ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL",
  });
  expect(failureOf("a:80", "TLS_FAILED", alert).message).toBe(
    "a:80: it does not speak HTTP/1.1, which this call needs",
  );
  expect(failureOf("a:80", "TLS_FAILED", alert, "h2").message).toBe(
    "a:80: it does not speak HTTP/2, which this call needs",
  );
  expect(failureOf("a:80", "TLS_FAILED", new Error("wrong version number\n")).message).toBe(
    "a:80: wrong version number",
  );
});
