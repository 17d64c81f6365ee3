import { isIP } from "node:net";

import * as z from "zod";

import { type Network, sameRange } from "../../model/networks.ts";
import { message } from "./message.ts";
import { cut, fail, localityText, networkName, portNumber } from "./values.ts";

/** Port of an east-west gateway where none is said, as in Istio's samples. */
const usualPort = 15_443;

/** `10.0.0.0/8`, or one address. */
const range = z.string().transform((text, context) => {
  const [, address = "", digits] = /^([^/%]*)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const family = isIP(address);
  const most = family === 6 ? 128 : 32;
  const bits = digits === undefined ? most : Number(digits);
  if (family === 0 || bits > most) return fail(context, `"${cut(text)}" is no range: write 10.0.0.0/8 or fd00::/16`);
  return `${address.toLowerCase()}/${bits}`;
});

const members = message({ fromCidr: range.optional(), fromRegistry: z.string().optional() }).superRefine(
  ({ fromCidr, fromRegistry }, context) => {
    if ((fromCidr === undefined) === (fromRegistry === undefined))
      context.addIssue({ code: "custom", message: "exactly one of fromCidr and fromRegistry is needed" });
  },
);

const gateway = message(
  {
    address: z.string().transform((text, context) => {
      if (isIP(text) !== 0 && !text.includes("%")) return text.toLowerCase();
      return fail(
        context,
        `"${cut(text)}" is no IP address: callers are told addresses alone, so write those of the name`,
      );
    }),
    port: portNumber.default(usualPort),
    // Istio takes it, too, and acts on that of the endpoints.
    locality: localityText.optional(),
  },
  { registryServiceName: "no service of a platform is known here; write address, an entry for each" },
);

const network = message({
  endpoints: z.array(members).max(1_000).default([]),
  gateways: z.array(gateway).max(100).default([]),
});

/** Istio's MeshNetworks (istio-api §15), with the name of the only registry that this control plane has. */
export function meshNetworksSchema(registry: string): z.ZodType<readonly Network[]> {
  return message({
    networks: z.record(
      networkName.refine((name) => name !== "", "a network needs a name"),
      network,
    ),
  })
    .superRefine(({ networks }, context) => {
      for (const [path, text] of contradictions(networks, registry))
        context.addIssue({ code: "custom", path: [...path], message: text });
    })
    .transform(({ networks }) =>
      Object.entries(networks).map(([name, { endpoints, gateways }]) => ({
        name,
        ranges: endpoints.flatMap(({ fromCidr }) => fromCidr ?? []),
        registry: endpoints.some(({ fromRegistry }) => fromRegistry !== undefined),
        gateways: gateways.map(({ address, port }) => ({ address, port })),
      })),
    );
}

function* contradictions(
  networks: Readonly<Record<string, z.output<typeof network>>>,
  registry: string,
): Iterable<readonly [readonly (string | number)[], string]> {
  const ranges: { readonly range: string; readonly name: string }[] = [];
  let whole: string | undefined;
  for (const [name, { endpoints, gateways }] of Object.entries(networks)) {
    for (const [at, { fromCidr, fromRegistry }] of endpoints.entries()) {
      const path = ["networks", name, "endpoints", at];
      const other = ranges.find((each) => fromCidr !== undefined && sameRange(each.range, fromCidr));
      if (other !== undefined)
        yield [[...path, "fromCidr"], `${fromCidr} is in network ${other.name} already: keep one`];
      else if (fromCidr !== undefined) ranges.push({ range: fromCidr, name });
      if (fromRegistry === undefined) continue;
      if (fromRegistry !== registry)
        yield [
          [...path, "fromRegistry"],
          `"${cut(fromRegistry)}" is no registry of this control plane: its own is ${registry} (--cluster); write that, or fromCidr`,
        ];
      else if (whole !== undefined)
        yield [[...path, "fromRegistry"], `${registry} is in network ${whole} already: keep one`];
      else whole = name;
    }
    for (const [at, { address, port }] of gateways.entries())
      if (gateways.slice(0, at).some((each) => each.address === address && each.port === port))
        yield [["networks", name, "gateways", at], `${address} with port ${port} is given twice: remove one`];
  }
}
