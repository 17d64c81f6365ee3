import { create, toBinary } from "@bufbuild/protobuf";
import { HeaderList } from "@trama/engine";
import type { Call, RouteConfiguration, Service } from "@trama/engine";
import { RouteConfigurationSchema } from "@trama/proto/envoy/config/route/v3/route_pb.js";
import { ListenerSchema } from "@trama/proto/envoy/config/listener/v3/listener_pb.js";

import type { ForwardTarget } from "../../../../packages/engine/src/route/forward-target.ts";
import { compileRoutes } from "../../../../packages/engine/src/route/router.ts";
import { compileRegex } from "../../../../packages/sdk/src/env/regex.ts";
import { listenerType } from "../../../../packages/xds/src/resources/listener.ts";
import { routeType } from "../../../../packages/xds/src/resources/route.ts";
import type { DecodeOptions } from "../../../../packages/xds/src/resources/type.ts";
import { makeCall } from "../../../kit/call.ts";
import { testEnv } from "../../../kit/env.ts";
import { TestSink } from "../../../kit/sink.ts";
import { corsFilter, faultFilter, outboundListener, routerFilter } from "../../../kit/xds-resources.ts";
import type { WireRequest } from "../http1.ts";
import type { RoutesInit } from "./table.ts";
import { answerLines, answered, headerLines } from "./verdict.ts";
import type { Verdict } from "./verdict.ts";

export const decodeOptions: DecodeOptions = { regex: compileRegex, certificateProviders: new Set(["default"]) };

export interface OurRoutes {
  readonly config: RouteConfiguration;
  judge(request: WireRequest): Verdict;
}

/** Our way: bytes → decoder → engine, with the SDK's regex engine, up to the point where a cluster would pick an endpoint. */
export function ourRoutes(table: RoutesInit, clusters: readonly string[], seed: number): OurRoutes {
  const config = routeType.decode(
    toBinary(RouteConfigurationSchema, create(RouteConfigurationSchema, table)),
    decodeOptions,
  ).value;
  const listener = listenerType.decode(
    toBinary(ListenerSchema, outboundListener("l:80", "r", [faultFilter, corsFilter, routerFilter])),
    decodeOptions,
  ).value;
  const env = testEnv({ seed, regex: compileRegex });
  let forwarded: Call | undefined;
  const upstream: Service = (call, sink) => {
    forwarded = call;
    sink.onHead({ status: 200, headers: HeaderList.empty() }, { pause() {}, resume() {} });
    sink.onEnd(undefined);
  };
  const target = (name: string): ForwardTarget => ({ config: { name, service: undefined }, service: () => upstream });
  const service = compileRoutes(config, {
    env,
    filters: listener.kind === "outbound" ? listener.http.filters : [],
    state: { counter: () => ({ value: 0 }) },
    cluster: (name) => (clusters.includes(name) ? target(name) : undefined),
  });
  return {
    config,
    judge({ method, target: path, host, headers }) {
      forwarded = undefined;
      const call = makeCall({ method, path, authority: host, startMs: 0 });
      for (const [name, value] of headers) call.headers.append(name, value);
      const sink = new TestSink();
      service(call, sink);
      return verdictOf(call, forwarded, sink);
    },
  };
}

function verdictOf(call: Call, forwarded: Call | undefined, sink: TestSink): Verdict {
  const { route } = call.record;
  const answer = sink.head === undefined ? [] : answerLines(joined(sink.head.headers));
  if (forwarded !== undefined) {
    const { method, path: target, authority: host, headers } = forwarded;
    const cluster = call.record.cluster?.name ?? "";
    return { kind: "forwarded", route, cluster, method, target, host, headers: headerLines(headers.flat()), answer };
  }
  if (sink.error?.code === "NO_ROUTE") return { kind: "no route" };
  if (sink.error?.code === "NO_CLUSTER") return { kind: "no cluster", route };
  if (sink.status !== undefined) return answered(route, sink.status, sink.text, answer);
  return { kind: "odd", text: sink.error === undefined ? "no answer" : `${sink.error.code}: ${sink.error.message}` };
}

/** As the oracle's own reader of HTTP gives the fields of Envoy's answers: of several with one name all in one. */
function joined(headers: HeaderList): string[] {
  const names = new Set(headers.flat().flatMap((text, at) => (at % 2 === 0 ? [text.toLowerCase()] : [])));
  return [...names].flatMap((name) => [name, headers.joined(name)!]);
}
