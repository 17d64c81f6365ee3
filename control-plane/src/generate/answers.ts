import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  RedirectAction_RedirectResponseCode as Code,
  type RedirectActionSchema,
  type RouteSchema,
} from "@trama/proto/envoy/config/route/v3/route_components_pb.js";
import type { RouteConfigurationSchema } from "@trama/proto/envoy/config/route/v3/route_pb.js";

import type { Redirect, Rule } from "../model/route.ts";
import type { StaticRule } from "./static-rules.ts";

type Action = MessageInitShape<typeof RouteSchema>["action"] & {};

/** Envoy's limit where nothing else is said. */
const usualLimit = 4096;

/** A route that answers by itself. `called`: the port. */
export function answerAction(answer: NonNullable<Rule["answer"]>, called: number): Action {
  if (answer.kind === "redirect") return { case: "redirect", value: redirect(answer, called) };
  const { status, body } = answer;
  return {
    case: "directResponse",
    value: { status, ...(body === undefined ? {} : { body: { specifier: { case: "inlineBytes", value: body } } }) },
  };
}

/** Envoy refuses the whole configuration for a body that is larger than it was told of. */
export function answerLimit(
  rules: readonly StaticRule[],
): Pick<MessageInitShape<typeof RouteConfigurationSchema>, "maxDirectResponseBodySizeBytes"> {
  const sizes = rules.map(({ rule: { answer } }) => (answer?.kind === "direct" ? (answer.body?.length ?? 0) : 0));
  const largest = Math.max(0, ...sizes);
  return largest > usualLimit ? { maxDirectResponseBodySizeBytes: largest } : {};
}

const codes: Readonly<Record<number, Code>> = {
  301: Code.MOVED_PERMANENTLY,
  302: Code.FOUND,
  303: Code.SEE_OTHER,
  307: Code.TEMPORARY_REDIRECT,
  308: Code.PERMANENT_REDIRECT,
};

function redirect(
  { status, scheme, authority, port, path }: Redirect,
  called: number,
): MessageInitShape<typeof RedirectActionSchema> {
  const number = portOf(port, scheme, authority, called);
  return {
    responseCode: codes[status] ?? Code.MOVED_PERMANENTLY,
    ...(scheme === undefined ? {} : { schemeRewriteSpecifier: { case: "schemeRedirect", value: scheme } }),
    ...(authority === undefined ? {} : { hostRedirect: authority }),
    ...(number === undefined ? {} : { portRedirect: number }),
    ...(path === undefined
      ? {}
      : {
          pathRewriteSpecifier: { case: path.kind === "whole" ? "pathRedirect" : "prefixRewrite", value: path.value },
        }),
  };
}

/** The scheme's own port need not be said, except to replace another one that the caller's host has. */
function portOf(
  port: Redirect["port"],
  scheme: Redirect["scheme"],
  authority: string | undefined,
  called: number,
): number | undefined {
  if (port === undefined) return undefined;
  const usual = scheme === "https" ? 443 : 80;
  const number = port === "default" ? usual : port === "called" ? called : port;
  return number === usual && authority !== undefined ? undefined : number;
}
