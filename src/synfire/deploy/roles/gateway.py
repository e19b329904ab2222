"""A gateway as a process of its own: it answers callers at ports that the supervisor holds, and follows the controller."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from synfire.base import garbage
from synfire.base.errors import SynfireError
from synfire.chains import read_joined
from synfire.control.record import RecoveryLog
from synfire.deploy.roles.lifeline import Lifeline, live
from synfire.deploy.roles.told import GatewayTold
from synfire.gateway.chains import serve_chain
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.follower import Follower
from synfire.gateway.neighbours import Neighbours
from synfire.gateway.on_demand import OnDemand
from synfire.gateway.recoveries import ToldRecoveries
from synfire.gateway.routes import Routes
from synfire.gateway.server import Server
from synfire.store import MirroredStore
from synfire.wire import codec

LOOPBACK = ("127.0.0.1", "::1", "localhost")


async def serve(told: GatewayTold) -> None:
    """Serve until the supervisor is gone or says so; accepted calls are answered first."""
    plane = DataPlane()
    plane.on_demand = OnDemand() if told.store else None
    plane.local = told.host in LOOPBACK
    routes = Routes(f"{told.name}-{uuid.uuid4().hex[:6]}", told.deployment)
    lifeline = Lifeline(told.lifeline, routes.forsake)
    plane.describe_workers = routes.describe
    plane.recoveries = recoveries = ToldRecoveries(RecoveryLog().recent)
    plane.unsure = recoveries.unsure
    if len(told.names) > 1:
        plane.neighbours = Neighbours(told.name, told.names, Path(told.folder), told.deployment, plane)
    store = MirroredStore(Path(told.folder) / "blobs", lasting=False)
    for digest in told.chains:
        serve_chain(read_joined(store.get(digest)), plane)
    follower = Follower(told.controller, told.deployment, plane, routes, store, recoveries)
    plane.repository = follower
    following = asyncio.create_task(follower.run(), name="follow the controller")
    given = [socket.socket(fileno=each) for each in told.sockets]
    server = Server(plane, told.host, 0, told.grpc_port, given)
    try:
        await asyncio.to_thread(codec.warm)
        if not await _before(follower.whole.wait(), lifeline.ended):
            return
        if plane.neighbours is not None:
            plane.neighbours.open()
        addresses = await server.start()
        garbage.look_seldom()
        lifeline.announce(told.name, [addresses.grpc], addresses.url)
        await lifeline.ended.wait()
        await server.stop()
        if plane.neighbours is not None:
            await plane.neighbours.close()
    except SynfireError as error:
        lifeline.refuse(told.name, error)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        routes.close()


async def _before(what: Coroutine[Any, Any, object], end: asyncio.Event) -> bool:
    """Await one thing, unless the end comes first; whether it came about."""
    doing, ending = asyncio.ensure_future(what), asyncio.ensure_future(end.wait())
    await asyncio.wait({doing, ending}, return_when=asyncio.FIRST_COMPLETED)
    doing.cancel()
    ending.cancel()
    return not end.is_set()


if __name__ == "__main__":
    live(GatewayTold, serve)
