/**
 * Calls between the test and the processes that it starts, over the IPC channel that `fork` makes. A program lists its
 * methods once; the test sees them typed. Errors arrive with their name, code and message, because those are what the
 * tests are about.
 */
export type Methods = Record<string, (argument: never) => unknown>;
export type ArgumentOf<M extends Methods, K extends keyof M> = Parameters<M[K]>[0];
export type ResultOf<M extends Methods, K extends keyof M> = Awaited<ReturnType<M[K]>>;

export interface CallMessage {
  readonly kind: "call";
  readonly id: number;
  readonly method: string;
  readonly argument: unknown;
}

export interface ReplyMessage {
  readonly kind: "reply";
  readonly id: number;
  readonly value?: unknown;
  readonly error?: Failure;
}

/** What a program says once, unasked: it is up, or it failed to start and ends. */
export interface ReadyMessage {
  readonly kind: "ready";
  readonly value?: unknown;
  readonly error?: Failure;
}

/** An error as it crosses a process boundary. */
export interface Failure {
  readonly name: string;
  readonly code: string;
  readonly message: string;
  /** The chain of causes, outermost first. */
  readonly causes: readonly { readonly name: string; readonly code: string; readonly message: string }[];
}

export function failureOf(thrown: unknown): Failure {
  const causes: { name: string; code: string; message: string }[] = [];
  for (let cause = causeOf(thrown); cause !== undefined && causes.length < 8; cause = causeOf(cause))
    causes.push(facts(cause));
  return { ...facts(thrown), causes };
}

function facts(thrown: unknown): { name: string; code: string; message: string } {
  if (!(thrown instanceof Error)) return { name: typeof thrown, code: "", message: String(thrown) };
  const code = (thrown as { code?: unknown }).code;
  return { name: thrown.name, code: typeof code === "string" ? code : "", message: thrown.message };
}

function causeOf(thrown: unknown): unknown {
  return thrown instanceof Error ? thrown.cause : undefined;
}

/** In a program: answers the test's calls. A test that went away ends the program. */
export function answer(methods: Methods): void {
  process.on("message", (message: CallMessage) => {
    if (message.kind !== "call") return;
    const method = methods[message.method];
    Promise.resolve()
      .then(() => {
        if (method === undefined) throw new Error(`this program has no method ${message.method}`);
        return (method as (argument: unknown) => unknown)(message.argument);
      })
      .then(
        (value) => process.send?.({ kind: "reply", id: message.id, value }),
        (error: unknown) => process.send?.({ kind: "reply", id: message.id, error: failureOf(error) }),
      );
  });
  process.on("disconnect", () => process.exit(3));
}

/** In a program: says that it is up. */
export function ready(value?: unknown): void {
  process.send?.({ kind: "ready", value });
}

/** In a program: says why it cannot start. */
export function notReady(thrown: unknown): void {
  process.send?.({ kind: "ready", error: failureOf(thrown) });
}
