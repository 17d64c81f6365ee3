// oxlint-disable-next-line typescript/triple-slash-reference -- ambient declarations have nothing to import
/// <reference path="./undici-lib.d.ts" />
/**
 * The six parts of undici that a mesh needs, loaded by file: the package's index brings its fetch, cache, mock and proxies along,
 * which are 60 ms and 14 MB of each process that joins (measured; `test/bench` reports it). undici's version is pinned exactly, and
 * `undici-parts.test.ts` fails should a file move or be another class than the index has.
 */
import type * as undici from "undici";
import api from "undici/lib/api/index.js";
import errorsModule from "undici/lib/core/errors.js";
import AgentModule from "undici/lib/dispatcher/agent.js";
import ClientModule from "undici/lib/dispatcher/client.js";
import DispatcherModule from "undici/lib/dispatcher/dispatcher.js";
import WrapperModule from "undici/lib/dispatcher/dispatcher1-wrapper.js";

export const Agent: typeof undici.Agent = AgentModule;
export const Client: typeof undici.Client = ClientModule;
export const Dispatcher: typeof undici.Dispatcher = DispatcherModule;
export const Dispatcher1Wrapper: typeof undici.Dispatcher1Wrapper = WrapperModule;
export const errors: typeof undici.errors = errorsModule;
/** `request`, `stream` and their like, which undici's index adds to the prototype of `Dispatcher`. */
export const dispatcherMethods: object = api;
