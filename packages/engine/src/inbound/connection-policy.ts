import { Call, noBody } from "../call.ts";
import type { Peer } from "../call.ts";
import type { FilterChain } from "../config.ts";
import type { Env } from "../env.ts";
import { HeaderList } from "../headers.ts";
import { rbacFilter } from "../policy/rbac.ts";
import type { Snapshot } from "../snapshot.ts";
import type { Transport } from "../transport.ts";

/**
 * Whether a peer may have a connection to an opaque port. Its filters judge a connection once, when it begins; what this answers is asked
 * again with each change of configuration, so that a connection does not outlive the permission that it was made under.
 */
export function connectionPolicy({ filters }: FilterChain, env: Env): (peer: Peer) => boolean {
  const rules = filters.flatMap(({ name, config, disabled }) => {
    const filter = disabled || config.kind !== "rbac" ? undefined : rbacFilter(config, name, env);
    return filter?.onRequest === undefined ? [] : [filter.onRequest.bind(filter)];
  });
  return (peer) => rules.every((judge) => judge(connectionOf(peer)) === "continue");
}

/** A connection as a call, for whoever only looks at its peer. */
function connectionOf(peer: Peer): Call {
  return new Call({
    snapshot: nothing,
    side: "inbound",
    protocol: "tcp",
    method: "CONNECT",
    authority: peer.serverName,
    path: "/",
    headers: HeaderList.ofFlat([]),
    body: noBody,
    transport: nowhere,
    peer,
    startMs: 0,
  });
}

const nothing: Snapshot = {
  version: 0,
  config: { outbound: new Map(), inbound: new Map(), clusters: new Map() },
  outbound: () => undefined,
  opaque: () => undefined,
  inbound: () => undefined,
};

const nowhere: Transport = { send() {} };
