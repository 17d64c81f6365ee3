import type { Chance } from "../chance.ts";

type Fields = [name: string, value: string][];

/** What a browser adds of where a request comes from, in few spellings, and what asks for a fault. */
export function originFields(chance: Chance): Fields {
  const found: Fields = [];
  const add = (share: number, name: string, values: readonly string[]): void => {
    if (chance.maybe(share)) found.push([name, chance.pick(values)]);
  };
  add(0.4, "origin", ["https://a.example", "http://b.example", "https://evil.test", "null", ""]);
  add(0.3, "access-control-request-method", ["PUT", "DELETE", ""]);
  add(0.2, "access-control-request-headers", ["x-a", "x-z,x-y"]);
  add(0.1, "access-control-request-private-network", ["true", "false"]);
  add(0.2, "x-envoy-fault-abort-request", ["418", "503", "199", "600", "x", ""]);
  // Not by gRPC status: an HTTP caller gets 200 for one from Envoy, and from us what that status means in HTTP.
  add(0.1, "x-envoy-fault-abort-request-percentage", ["0", "100", "200", "x"]);
  return found;
}
