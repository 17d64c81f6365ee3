import { type ClientAdapter, Scope, type ServerAdapter } from "./adapter.ts";
import { balancingScenarios } from "./balancing-scenarios.ts";
import { clientScenarios } from "./client-scenarios.ts";
import { grpcClient, grpcServer } from "./grpc-adapters.ts";
import { healthScenarios } from "./health-scenarios.ts";
import { httpScenarios } from "./http-scenarios.ts";
import { httpClients, httpServers } from "./http-servers.ts";
import { routingScenarios } from "./routing-scenarios.ts";
import { serverScenarios } from "./server-scenarios.ts";

/** One line of the list: an adapter, a scenario, and how to run it; without `run`, why it means nothing there. */
export interface Case {
  readonly adapter: string;
  readonly scenario: string;
  readonly lacks: string | undefined;
  readonly run: () => Promise<void>;
}

const clients: readonly ClientAdapter[] = [...httpClients, grpcClient];
const servers: readonly ServerAdapter[] = [...httpServers, grpcServer];

export const cases: readonly Case[] = [
  ...clients.flatMap((adapter) =>
    list(adapter, {
      ...clientScenarios,
      ...routingScenarios,
      ...balancingScenarios,
      ...healthScenarios,
      ...httpScenarios,
    }),
  ),
  ...servers.flatMap((adapter) => list(adapter, serverScenarios)),
];

function list<A extends ClientAdapter | ServerAdapter>(
  adapter: A,
  scenarios: Readonly<Record<string, (adapter: A, scope: Scope) => Promise<void>>>,
): Case[] {
  return Object.entries(scenarios).map(([scenario, play]) => ({
    adapter: adapter.name,
    scenario,
    lacks: adapter.lacks[scenario],
    run: async () => {
      const scope = new Scope();
      try {
        await play(adapter, scope);
      } finally {
        await scope.close();
      }
    },
  }));
}
