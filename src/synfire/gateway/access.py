"""Asks for a key before any gRPC method runs; for HTTP `synfire.gateway.app` does, before it reads the body."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from synfire.base.errors import Unauthenticated
from synfire.base.keys import HEADER, Keys
from synfire.gateway.proto import SERVICE
from synfire.gateway.status import grpc_status

OPEN = frozenset({f"/{SERVICE}/ServerLive", f"/{SERVICE}/ServerReady"})
"""Methods that answer callers without a key: whoever restarts or balances gateways has none."""


class GrpcAccess(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Refuses calls whose metadata hold no key; put before the handlers of every API, also those of other packages."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        if details.method not in OPEN:
            shown = dict(details.invocation_metadata).get(HEADER)
            try:
                self._keys.check(shown if isinstance(shown, str) else None)
            except Unauthenticated as error:
                return _refusal(error)
        return await continuation(details)


def _refusal(error: Unauthenticated) -> Any:
    async def refuse(requests: Any, context: Any) -> None:
        await context.abort(grpc_status(error), str(error))

    return grpc.stream_stream_rpc_method_handler(refuse)  # fits every method: nothing is read or sent before the status
