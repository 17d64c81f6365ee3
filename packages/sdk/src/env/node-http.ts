import type * as Http from "node:http";
import type * as Https from "node:https";

/**
 * `node:http`, not by `import`: for an import Node reads every property of the module to make names of them, three of which load its
 * built-in fetch, WebSocket and their like on being read. 25 ms and 12 MB of each process that joins, measured.
 */
export const http: typeof Http = process.getBuiltinModule("node:http");
export const https: typeof Https = process.getBuiltinModule("node:https");
