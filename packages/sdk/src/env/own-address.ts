import { networkInterfaces } from "node:os";

/** An address by which the machine is reached from others, for what is keyed by the source of a call; `undefined`: it has only loopback. */
export function ownAddress(): string | undefined {
  const all = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  const outer = all.filter(({ internal, address }) => !internal && !address.startsWith("fe80:"));
  return (outer.find(({ family }) => family === "IPv4") ?? outer[0])?.address;
}
