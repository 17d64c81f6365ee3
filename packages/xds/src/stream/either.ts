import type { OpenSession, Session } from "./session.ts";

/** The server has no such method. */
const unimplemented = 12;

/**
 * Delta, until the server says that it knows no delta; from then on the state of the world. That is remembered for as long as this
 * function is: a server that learns delta meanwhile serves the other form as well.
 */
export function openEither(delta: OpenSession, sotw: OpenSession): OpenSession {
  let deltaRefused = false;
  return (options) => {
    if (deltaRefused) return sotw(options);
    let answered = false;
    let opened = false;
    // The stream that takes over goes on where this one was, seen from outside: there is one connection, and it stands.
    const onOpened = (): void => {
      if (!opened) options.onOpened();
      opened = true;
    };
    let session: Session = delta({
      ...options,
      onOpened,
      onAnswered() {
        answered = true;
        options.onAnswered();
      },
      onEnd(status) {
        if (status.code !== unimplemented || answered) return options.onEnd(status);
        deltaRefused = true;
        options.log.info("the control plane does not speak delta xDS; its other form, state of the world, is used");
        session = sotw({ ...options, onOpened });
      },
    });
    return {
      sync: () => session.sync(),
      close: () => session.close(),
    };
  };
}
