import { create, toBinary } from "@bufbuild/protobuf";
import { HeaderList, noFlow } from "@trama/engine";
import { RouteConfigurationSchema } from "@trama/proto/envoy/config/route/v3/route_pb.js";

import { compileRoutes } from "../../../../packages/engine/src/route/router.ts";
import { MirrorLoad } from "../../../../packages/engine/src/state.ts";
import { compileRegex } from "../../../../packages/sdk/src/env/regex.ts";
import { routeType } from "../../../../packages/xds/src/resources/route.ts";
import { makeCall } from "../../../kit/call.ts";
import { testEnv } from "../../../kit/env.ts";
import { TestSink } from "../../../kit/sink.ts";
import type { WireRequest } from "../http1.ts";
import { decodeOptions } from "../routes/ours.ts";
import type { RoutesInit } from "../routes/table.ts";
import { main } from "./cases.ts";
import { copyLine } from "./copy.ts";

/** Our way: bytes → decoder → engine, up to the clusters that get the copies. */
export function ourCopies(table: RoutesInit, seed: number): (request: WireRequest) => string[] {
  const config = routeType.decode(
    toBinary(RouteConfigurationSchema, create(RouteConfigurationSchema, table)),
    decodeOptions,
  ).value;
  const env = testEnv({ seed, regex: compileRegex });
  let copies: string[] = [];
  const service = compileRoutes(config, {
    env,
    filters: [],
    state: { counter: () => ({ value: 0 }) },
    mirrors: { load: new MirrorLoad(), counter: { begin() {}, end() {} } },
    cluster: (name) => ({
      config: { name, service: undefined },
      service: () => (call, sink) => {
        const { method, path: target, authority: host, headers } = call;
        if (name !== main) copies.push(copyLine(name, { method, target, host, headers: headers.flat() }));
        sink.onHead({ status: 200, headers: HeaderList.empty() }, noFlow);
        sink.onEnd(undefined);
      },
    }),
  });
  return ({ method, target: path, host, headers }) => {
    copies = [];
    const call = makeCall({ method, path, authority: host, startMs: env.clock.now() });
    for (const [name, value] of headers) call.headers.append(name, value);
    service(call, new TestSink());
    return copies.toSorted();
  };
}
