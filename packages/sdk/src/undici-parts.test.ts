import { Agent, Client, Dispatcher, Dispatcher1Wrapper, errors } from "undici";
import { expect, test } from "vitest";

import * as parts from "./undici-parts.ts";

test("the files are where they were, and hold what undici's index exports", () => {
  expect({ ...parts }).toEqual({
    Agent,
    Client,
    Dispatcher,
    Dispatcher1Wrapper,
    errors,
    dispatcherMethods: expect.anything() as unknown,
  });
  expect(parts.Client).toBe(Client);
  expect(parts.Dispatcher).toBe(Dispatcher);
  expect(Object.keys(parts.dispatcherMethods).toSorted()).toEqual([
    "connect",
    "pipeline",
    "request",
    "stream",
    "upgrade",
  ]);
  for (const [name, method] of Object.entries(parts.dispatcherMethods))
    expect(Dispatcher.prototype[name as "request"]).toBe(method);
});
