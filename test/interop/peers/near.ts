import type { Capability } from "../peer.ts";
import { freePorts } from "../process.ts";
import { type Protocol, startEnvoy } from "./envoy.ts";
import { nodesOf, noneRefused } from "./grpc.ts";
import { type Joiner, outcomeOf, withPlane } from "./plane.ts";
import { echoHost, echoPort, nearYaml } from "./policy.ts";
import { calls, proxied, shared, text } from "./proxied.ts";
import { isShared, roundOf } from "./rounds.ts";
import { startSdk } from "./sdk.ts";

const steps = [
  {
    what: "zone aware",
    far: "r1/z2",
    traffic: "{ loadBalancer: { simple: ROUND_ROBIN, zoneAwareLbSetting: { enabled: true, minClusterSize: 2 } } }",
    near: 100,
  },
  { what: "not", far: "r1/z2", traffic: "{ loadBalancer: { simple: ROUND_ROBIN } }", near: 50 },
  {
    what: "regions",
    far: "r2/z2",
    traffic: "{ loadBalancer: { simple: ROUND_ROBIN }, outlierDetection: { maxEjectionPercent: 100 } }",
    near: 100,
  },
] as const;

/** A sidecar that the command `bootstrap` told where it is keeps calls near, as our SDK beside it does: by zone, and by region. */
export function nearRow(protocol: Protocol): Capability {
  return {
    name: "calls stay in the zone, and in the region",
    limitMs: 90_000,
    run: (context) =>
      outcomeOf(async () => {
        const nodes = nodesOf(context);
        const [port1 = 0] = await freePorts(1, nodes.v1.address);
        const [port2 = 0] = await freePorts(1, nodes.v2.address);
        const proxy: Joiner = {
          ...nodes.caller,
          workload: "caller-proxy",
          address: context.addresses.at(37),
          locality: "r1/z1",
        };
        const caller: Joiner = { ...nodes.caller, locality: "r1/z1" };
        const yaml = ({ far, traffic }: (typeof steps)[number]): string =>
          nearYaml({
            servers: [
              { version: "v1", address: nodes.v1.address, port: port1, locality: "r1/z1" },
              { version: "v2", address: nodes.v2.address, port: port2, locality: far },
            ],
            // As many callers in the one zone as in the other: each zone can hold its own calls.
            callers: [
              { address: proxy.address, locality: "r1/z1" },
              { address: caller.address, locality: "r1/z1" },
              { address: context.addresses.at(39), locality: "r1/z2" },
              { address: context.addresses.at(40), locality: "r1/z2" },
            ],
            traffic,
          });
        return withPlane(context, yaml(steps[0]), [], async (plane) => {
          await startSdk(plane, "http-peer.ts", nodes.v1, "server", "v1", `${nodes.v1.address}:${port1}`);
          await startSdk(plane, "http-peer.ts", nodes.v2, "server", "v2", `${nodes.v2.address}:${port2}`);
          const outbound = `${proxy.address}:${(await freePorts(1, proxy.address))[0]}`;
          const envoy = await startEnvoy(context, plane, proxy, protocol, outbound);
          const target = `http://${echoHost}:${echoPort}`;
          const sdk = await startSdk(plane, "http-peer.ts", caller, "client", target, String(calls));
          const found: string[] = [];
          for (const step of steps) {
            plane.write(yaml(step));
            const round = await shared(context, (path) => proxied(outbound, path), step.near);
            const beside = await roundOf(context, sdk, step.what, (each) => isShared(each, calls, step.near));
            found.push(`${step.what} ${text(round)} (SDK ${text(beside)})`);
          }
          noneRefused(plane);
          await envoy.updates();
          return found.join("; ");
        });
      }),
  };
}
