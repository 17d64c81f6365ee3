// The parts of undici that `undici-parts.ts` loads by file. They are the very classes that the package's own types describe.
declare module "undici/lib/dispatcher/client.js" {
  import { Client } from "undici";
  export default Client;
}
declare module "undici/lib/dispatcher/agent.js" {
  import { Agent } from "undici";
  export default Agent;
}
declare module "undici/lib/dispatcher/dispatcher.js" {
  import { Dispatcher } from "undici";
  export default Dispatcher;
}
declare module "undici/lib/dispatcher/dispatcher1-wrapper.js" {
  import { Dispatcher1Wrapper } from "undici";
  export default Dispatcher1Wrapper;
}
declare module "undici/lib/core/errors.js" {
  import { errors } from "undici";
  export default errors;
}
declare module "undici/lib/api/index.js" {
  const api: object;
  export default api;
}
