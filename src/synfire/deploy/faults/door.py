"""A word with a running worker, along the way that its peers come."""

from __future__ import annotations

import select
import time
from typing import TypeVar

from synfire.base.errors import TemporaryError, UserError
from synfire.deploy.faults.fault import Scene
from synfire.wire.links import SocketLink, connect
from synfire.wire.messages import PROTOCOL, AnyMessage, Hello
from synfire.wire.stream import Packet

_PATIENCE_S = 5.0
_Answer = TypeVar("_Answer")


def ask(scene: Scene, worker: str, message: AnyMessage, answer: type[_Answer]) -> _Answer:
    """Send a worker a message, and wait for its answer.

    Raises `UnknownName` for another worker, `UserError` where its door is not known, `TemporaryError` when it does not answer.
    """
    scene.worker(worker)
    if not scene.addresses.get(worker):
        raise UserError(f"the deployment's record does not say where {worker} takes messages; start it again")
    link = connect(scene.addresses[worker], f"worker {worker}")
    try:
        link.send(Packet(Hello(PROTOCOL, scene.deployment, "fault")))
        link.send(Packet(message))
        return _awaited(link, worker, answer)
    finally:
        link.close()


def _awaited(link: SocketLink, worker: str, answer: type[_Answer]) -> _Answer:
    until_s = time.monotonic() + _PATIENCE_S
    while (left_s := until_s - time.monotonic()) > 0:
        select.select([link], [link] if link.pending else [], [], left_s)
        link.flush()
        for packet in link.receive():
            if isinstance(packet.message, answer):
                return packet.message
    raise TemporaryError(
        f"{worker} did not answer within {_PATIENCE_S:g} s; is it stopped, or cut off? Try again later"
    )
