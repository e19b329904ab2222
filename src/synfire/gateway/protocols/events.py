"""`/api/events`: the recoveries on record."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from synfire.base.errors import UserError
from synfire.gateway.api import APIS, Api
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.http import Endpoint, HttpRequest, HttpResponse, json_response
from synfire.wire.recovery import RecoveryRecord

LAST = 20
MOST = 1000


class Events:
    """Reads the catalog, in a thread."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    def endpoints(self) -> Iterable[Endpoint]:
        newest, gives = "the newest last", list[RecoveryRecord]
        yield Endpoint("GET", "/api/events", self.events, f"The {LAST} newest recoveries, {newest}", None, gives)
        yield Endpoint("GET", "/api/events/{last}", self.events, f"As many recoveries, {newest}", None, gives, (400,))

    async def events(self, request: HttpRequest) -> HttpResponse:
        last = request.path.get("last", str(LAST))
        if not (last.isascii() and last.isdecimal() and len(last) <= 4 and 1 <= int(last) <= MOST):
            raise UserError(f"{last!r} recoveries cannot be told; ask for a whole number from 1 to {MOST}")
        recoveries = self._plane.recoveries
        found = await asyncio.to_thread(recoveries.recent, int(last)) if recoveries is not None else ()
        return json_response(list(found))


APIS.add("events", Api(endpoints=lambda plane: Events(plane).endpoints()))
