"""A client or a server of the mesh on grpcio (C-core) as published: what is tried is its xDS client, its credentials and
its authorization, so everything else is as small as can be. Messages are bare bytes, so that no generated code is needed.

    peer.py server <name> <ip:port>     answers "<name> <who called>"
    peer.py client <target> <calls>     a line of JSON for each round of calls, until it is ended
"""

import collections
import json
import sys
import time
from concurrent import futures

import grpc


class Echo(grpc.GenericRpcHandler):
    def __init__(self, name):
        self._name = name

    def service(self, details):
        if details.method not in ("/demo.Echo/Say", "/demo.Echo/Secret"):
            return None
        return grpc.unary_unary_rpc_method_handler(self._answer)

    def _answer(self, _request, context):
        names = context.auth_context().get("peer_spiffe_id", [b"-"])
        return f"{self._name} ".encode() + names[0]


def serve(name, address):
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8), xds=True)
    server.add_generic_rpc_handlers((Echo(name),))
    # Plaintext is only what a Listener without TLS asks for; one with TLS is never served without.
    credentials = grpc.xds_server_credentials(grpc.insecure_server_credentials())
    if server.add_secure_port(address, credentials) == 0:
        raise SystemExit(f"cannot listen on {address}")
    server.start()
    server.wait_for_termination()


def call(target, calls):
    channel = grpc.secure_channel(target, grpc.xds_channel_credentials())
    say = channel.unary_unary("/demo.Echo/Say")
    secret = channel.unary_unary("/demo.Echo/Secret")

    def attempt(method):
        try:
            return method(b"hello", timeout=2).decode(), None
        except grpc.RpcError as error:
            return None, f"{error.code().name}: {error.details()}"

    while True:
        answers, errors = collections.Counter(), collections.Counter()
        for _ in range(calls):
            reply, error = attempt(say)
            if error is None:
                answers[reply] += 1
            else:
                errors[error] += 1
        reply, error = attempt(secret)
        print(json.dumps({"say": answers, "errors": errors, "secret": error or reply}), flush=True)
        time.sleep(0.1)


if __name__ == "__main__":
    role, first, second = sys.argv[1:]
    if role == "server":
        serve(first, second)
    else:
        call(first, int(second))
