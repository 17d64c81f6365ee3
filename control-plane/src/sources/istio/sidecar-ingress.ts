import * as z from "zod";

import { type InboundPoolSpec, inboundPool } from "./inbound-pool.ts";
import { message } from "./message.ts";
import { cut, fail, portNumber } from "./values.ts";

/** One entry of `Sidecar.ingress` as validated (istio-api §8): a port of the workloads, and its own limits. */
export interface IngressSpec {
  readonly port: { readonly number: number };
  /** Absent: those of the whole Sidecar. */
  readonly connectionPool?: InboundPoolSpec | undefined;
  /** As written: nothing captures calls here. */
  readonly captureMode?: unknown;
}

const protocols = ["HTTP", "HTTP2", "GRPC", "TCP", "MONGO", "MYSQL", "REDIS"] as const;

const port = message(
  {
    number: portNumber,
    name: z.string().optional(),
    protocol: z
      .string()
      .transform((text, context) =>
        (protocols as readonly string[]).includes(text.toUpperCase())
          ? text
          : fail(
              context,
              `"${cut(text)}" is not what the mesh serves: write HTTP, HTTP2, GRPC or TCP, or leave the port out`,
            ),
      )
      .optional(),
  },
  { targetPort: "defaultEndpoint is what Istio reads, and here the server listens on number itself; remove it" },
);

/** The application's own address, on every machine. */
const own = /^(127\.0\.0\.1|0\.0\.0\.0|\[::1\]|\[::\]):([1-9]\d{0,4})$/;

export const sidecarIngress: z.ZodType<readonly IngressSpec[]> = z
  .array(
    message(
      {
        port,
        defaultEndpoint: z.string().optional(),
        connectionPool: inboundPool.optional(),
        captureMode: z.unknown().optional(),
      },
      {
        bind: "a server binds its own address; remove it",
        tls: "TLS of a proxy with callers outside of the mesh; PeerAuthentication says what the mesh's own TLS is, and a server may speak TLS of its own on a port that is not protected",
      },
    ).transform(({ port: { number }, defaultEndpoint, connectionPool, captureMode }, context): IngressSpec => {
      const found = { port: { number }, connectionPool, captureMode };
      if (defaultEndpoint === undefined || own.exec(defaultEndpoint)?.[2] === `${number}`) return found;
      return fail(
        context,
        `defaultEndpoint "${cut(defaultEndpoint)}": nothing passes calls on to another place: let the server listen on port ${number}, and write 127.0.0.1:${number} or nothing`,
      );
    }),
  )
  .min(1, "is empty: remove it, or write ports")
  .refine((list) => new Set(list.map((each) => each.port.number)).size === list.length, {
    error: "names a port twice: remove one of the two",
  });
