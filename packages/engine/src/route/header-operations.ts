import type { Call } from "../call.ts";
import type { FieldOperations, FieldWrite, HeaderOperations } from "../config-mutation.ts";
import type { RouteConfig, RouteConfiguration, VirtualHost, WeightedCluster } from "../config.ts";
import { MeshError } from "../errors.ts";
import type { HeaderList } from "../headers.ts";
import type { Flow, Layer, ResponseHead, Sink } from "../service.ts";
import { type Format, compileFormat } from "./format.ts";
import { setAuthority } from "./rewrite.ts";

/** Changes a list of fields for a call, or says why it must not be sent. */
export type FieldEditor = (headers: HeaderList, call: Call, answer: HeaderList | undefined) => MeshError | undefined;

/** What a route does to fields; `undefined` where nothing is said at any level, and a call pays nothing. */
export interface HeaderEditors {
  readonly request: FieldEditor | undefined;
  readonly response: FieldEditor | undefined;
}

/**
 * Header operations of all levels, in the order in which Envoy's router runs them: the weighted cluster's, then the route's, the virtual
 * host's and the whole configuration's; of the last three the order is turned round by `mostSpecificHeadersLast`. The host for
 * a weighted cluster is part of it; the route's own rewrites come after all of them.
 */
export function headerEditors(
  config: RouteConfiguration,
  host: VirtualHost,
  route: RouteConfig,
  cluster?: WeightedCluster,
): HeaderEditors {
  const levels = routeLevels(config, host, route);
  const own = cluster?.headers;
  const request = [...editorsOf([own], "request"), ...authorityEditors(cluster), ...editorsOf(levels, "request")];
  return { request: inTurn(request), response: inTurn(editorsOf([own, ...levels], "response")) };
}

/** The host for one weighted cluster: between its own operations and those of the route, in Envoy's order. */
function authorityEditors(cluster: WeightedCluster | undefined): FieldEditor[] {
  const authority = cluster?.authority;
  if (authority === undefined) return [];
  return [
    (_headers, call) => {
      setAuthority(call, authority);
      return undefined;
    },
  ];
}

/**
 * Runs them for a call that is sent on. It stands below the filters, as in Envoy: they see what the application wrote, and
 * change the answer after it was edited here. Once a call, not once an attempt.
 */
export function headerLayer({ request, response }: HeaderEditors): Layer | undefined {
  if (request === undefined && response === undefined) return undefined;
  return (inner) => (call, sink) => {
    const error = request?.(call.headers, call, undefined);
    if (error !== undefined) return sink.onError(error);
    inner(call, response === undefined ? sink : new EditedAnswer(call, sink, response));
  };
}

/** Whether any level says something, for those who cannot do it. */
export function hasHeaderOperations(config: RouteConfiguration, host: VirtualHost, route: RouteConfig): boolean {
  return routeLevels(config, host, route).some((level) => level !== undefined);
}

type Levels = readonly (HeaderOperations | undefined)[];

function routeLevels(config: RouteConfiguration, host: VirtualHost, route: RouteConfig): Levels {
  const levels = [route.headers, host.headers, config.headers];
  return config.mostSpecificHeadersLast === true ? levels.toReversed() : levels;
}

function editorsOf(levels: Levels, side: keyof HeaderOperations): FieldEditor[] {
  return levels.flatMap((level) => {
    const operations = level?.[side];
    return operations === undefined ? [] : [compileFields(operations)];
  });
}

function inTurn(editors: readonly FieldEditor[]): FieldEditor | undefined {
  const [first] = editors;
  if (editors.length < 2) return first;
  return (headers, call, answer) => {
    for (const editor of editors) {
      const error = editor(headers, call, answer);
      if (error !== undefined) return error;
    }
    return undefined;
  };
}

interface CompiledWrite extends Omit<FieldWrite, "value"> {
  readonly value: Format | string;
}

/** The operations of one level. Most policies write fixed texts under no condition; those need nothing made per call. */
export function compileFields({ remove, write }: FieldOperations): FieldEditor {
  const compiled = write.map((one): CompiledWrite => ({ ...one, value: compileFormat(one.value) }));
  // Overwriting first, whatever the order in the configuration.
  const ordered = [...compiled.filter(overwrites), ...compiled.filter((one) => !overwrites(one))];
  const fixed = ordered.every(({ value, action }) => typeof value === "string" && isUnconditional(action));
  const useful = ordered.filter(({ value, keepEmpty }) => value !== "" || keepEmpty);
  return (headers, call, answer) => {
    for (const name of remove) headers.remove(name);
    return fixed ? writeFixed(useful, headers) : writeMade(useful, headers, call, answer);
  };
}

function overwrites({ action }: CompiledWrite): boolean {
  return action === "overwrite" || action === "overwrite_if_present";
}

function isUnconditional(action: FieldWrite["action"]): boolean {
  return action === "append" || action === "overwrite";
}

function writeFixed(writes: readonly CompiledWrite[], headers: HeaderList): undefined {
  for (const { name, value, action } of writes) {
    if (action === "overwrite") headers.set(name, value as string);
    else headers.append(name, value as string);
  }
  return undefined;
}

/** All values before any is written: none of them is made out of another. */
function writeMade(
  writes: readonly CompiledWrite[],
  headers: HeaderList,
  call: Call,
  answer: HeaderList | undefined,
): MeshError | undefined {
  const values: (string | undefined)[] = [];
  for (const { name, value, action, keepEmpty } of writes) {
    const text = typeof value === "string" ? value : value(call, answer);
    // oxlint-disable-next-line no-control-regex -- these three are what divides fields and messages on the wire
    if (typeof value !== "string" && /[\0\r\n]/.test(text))
      return new MeshError("BAD_REQUEST", `the value that the policy makes for ${name} has a line break or NUL in it`);
    const wanted =
      (text !== "" || keepEmpty) && (isUnconditional(action) || headers.has(name) === (action !== "add_if_absent"));
    values.push(wanted ? text : undefined);
  }
  for (const [at, text] of values.entries()) {
    const write = writes[at]!;
    if (text === undefined) continue;
    if (overwrites(write)) headers.set(write.name, text);
    else headers.append(write.name, text);
  }
  return undefined;
}

/** The one sink that such a call costs, where its answer is changed. */
class EditedAnswer implements Sink {
  readonly #call: Call;
  readonly #sink: Sink;
  readonly #edit: FieldEditor;
  #ended = false;

  constructor(call: Call, sink: Sink, edit: FieldEditor) {
    this.#call = call;
    this.#sink = sink;
    this.#edit = edit;
  }

  onHead(head: ResponseHead, flow: Flow): void {
    if (this.#ended) return;
    const error = this.#edit(head.headers, this.#call, head.headers);
    if (error === undefined) return this.#sink.onHead(head, flow);
    // Whoever is at work is told and may answer at once.
    this.#call.abort(error);
    this.onError(this.#call.aborted ?? error);
  }

  onData(chunk: Uint8Array): void {
    if (!this.#ended) this.#sink.onData(chunk);
  }

  onEnd(trailers: HeaderList | undefined): void {
    if (this.#end()) this.#sink.onEnd(trailers);
  }

  onError(error: MeshError): void {
    if (this.#end()) this.#sink.onError(error);
  }

  #end(): boolean {
    if (this.#ended) return false;
    this.#ended = true;
    return true;
  }
}
