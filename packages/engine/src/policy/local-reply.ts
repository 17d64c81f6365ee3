import type { Call } from "../call.ts";
import type { MeshError } from "../errors.ts";
import { HeaderList } from "../headers.ts";
import { noFlow } from "../service.ts";
import type { Sink } from "../service.ts";
import type { LocalReply } from "./filter.ts";
import { grpcStatusOf } from "./grpc-status.ts";

/**
 * Answers a call from here, as Envoy's local replies do: HTTP callers get the status and a short text, gRPC callers a
 * trailers-only answer. Writes flag and gRPC status into the record. `edit` is what the route does to its answers.
 */
export function answerLocally(call: Call, sink: Sink, reply: LocalReply, edit?: AnswerEdit): void {
  if (call.aborted !== undefined) return sink.onError(call.aborted);
  if (reply.flag !== "-") call.record.flag = reply.flag;
  const own = HeaderList.ofFlat(reply.headers ?? []);
  const error = reply.asIs === true ? undefined : edit?.(own, call, own);
  if (error !== undefined) return sink.onError(error);
  if (call.protocol === "grpc") return answerGrpc(call, sink, reply, own.flat());
  const body = typeof reply.body === "string" ? encoder.encode(reply.body) : reply.body;
  const fields = own.flat().slice();
  if (body !== undefined && body.length > 0) {
    if (!hasContentType(fields)) fields.push("content-type", "text/plain");
    fields.push("content-length", String(body.length));
  } else if (reply.status !== 204 && reply.status !== 304) fields.push("content-length", "0");
  sink.onHead({ status: reply.status, headers: HeaderList.ofFlat(fields) }, noFlow);
  // The caller may have given up on seeing the head.
  if (aborted(call, sink)) return;
  if (body !== undefined && body.length > 0 && call.method !== "HEAD") {
    sink.onData(body);
    if (aborted(call, sink)) return;
  }
  sink.onEnd(undefined);
}

/** Changes the fields of an answer of our own before those that frame it are added, or says why it must not go out. */
export type AnswerEdit = (headers: HeaderList, call: Call, answer: HeaderList) => MeshError | undefined;

function answerGrpc(call: Call, sink: Sink, reply: LocalReply, own: readonly string[]): void {
  const status = reply.grpcStatus ?? grpcStatusOf(reply.status);
  call.record.grpcStatus = status;
  const fields = ["content-type", "application/grpc", "grpc-status", String(status), ...own];
  if (typeof reply.body === "string" && reply.body !== "") fields.push("grpc-message", percentEncode(reply.body));
  sink.onHead({ status: 200, headers: HeaderList.ofFlat(fields) }, noFlow);
  if (!aborted(call, sink)) sink.onEnd(undefined);
}

function aborted(call: Call, sink: Sink): boolean {
  const reason = call.aborted;
  if (reason !== undefined) sink.onError(reason);
  return reason !== undefined;
}

function hasContentType(fields: readonly string[]): boolean {
  return fields.some((field, at) => at % 2 === 0 && field.toLowerCase() === "content-type");
}

/** `grpc-message` carries printable ASCII; the rest, and the percent sign, as UTF-8 triplets (gRPC over HTTP/2). */
function percentEncode(text: string): string {
  return text.toWellFormed().replace(/[^ -$&-~]/gu, encodeURIComponent);
}

const encoder = new TextEncoder();
