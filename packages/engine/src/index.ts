export type * from "./config.ts";
export type * from "./env.ts";
