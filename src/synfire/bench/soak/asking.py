"""One request: how it is sent, how its answer is checked, and what came of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from synfire.base.errors import UserError
from synfire.bench.soak.connection import Broken, Connection, Reply
from synfire.bench.soak.judgement import Exchange, Outcome, Refusal
from synfire.bench.soak.questions import Question, stream_error
from synfire.bench.soak.rpc import RpcConnection, RpcReply, RpcRequest

PATIENCE_S = 90.0
"""A request without an answer for so long is silent. The gateway itself gives up after 60 s."""


@dataclass(frozen=True)
class Asked:
    """One request, as it is sent, and how its answer is checked: `wrong` tells in words what is wrong with a reply of status 200
    to a `question`, of which there is none where the request is at fault.
    """

    model: str
    request: bytes | RpcRequest
    question: Question | None = None
    wrong: Callable[[Question, Reply], str] = lambda question, reply: ""
    leaves_s: float | None = None
    timeout_s: float | None = None
    session_s: float | None = None
    expected: Refusal | None = None
    streamed: bool = False

    def exchange(self, kind: str, sent_s: float) -> Exchange:
        """What becomes of it, before anything has."""
        return Exchange(
            kind,
            self.model,
            sent_s,
            sent_s,
            "right",
            timeout_s=self.timeout_s,
            session_s=self.session_s,
            expected=self.expected,
        )

    def error(self, reply: Reply) -> str | None:
        """The error that the reply is, or ends in; None where it is none."""
        if reply.status != 200:
            return reply.body.decode(errors="replace")
        if isinstance(reply, RpcReply):
            return reply.error or None
        return stream_error(reply) or None if self.streamed else None

    async def send(self, connection: Connection | RpcConnection) -> Reply:
        """Send it there, and wait for the whole answer. Raises `Broken` when the connection ends before."""
        if isinstance(connection, RpcConnection):
            assert isinstance(self.request, RpcRequest)
            return await connection.ask(self.request)
        assert isinstance(self.request, bytes)
        return await connection.ask(self.request)


async def exchanged(connection: Connection | RpcConnection, asked: Asked, begun: Exchange) -> Exchange:
    """What came of a request over this connection."""
    outcome: Outcome
    try:
        async with asyncio.timeout(PATIENCE_S if asked.leaves_s is None else asked.leaves_s):
            reply = await asked.send(connection)
    except Broken as broken:
        return replace(begun, ended_s=time.monotonic(), outcome="broken", text=str(broken))
    except TimeoutError:
        connection.close()
        outcome = "silent" if asked.leaves_s is None else "left"
        return replace(begun, ended_s=time.monotonic(), outcome=outcome)
    ended = replace(begun, ended_s=time.monotonic())
    if connection.surplus:
        return replace(ended, outcome="wrong", text=f"{connection.surplus} answers that nobody asked for")
    error = asked.error(reply)
    if error is not None:
        return replace(ended, outcome="refused", status=reply.status, text=error)
    return _checked(asked, reply, ended)


def _checked(asked: Asked, reply: Reply, ended: Exchange) -> Exchange:
    """Whether the answer is right, by the bits of the device that is planned, or of a processor in its place."""
    if asked.question is None:
        return ended
    wrong = _difference(asked, asked.question, reply)
    for stages, question in asked.question.unlike.items() if wrong else ():
        if not _difference(asked, question, reply):
            return replace(ended, unlike=stages)
    return replace(ended, outcome="wrong" if wrong else "right", text=wrong)


def _difference(asked: Asked, question: Question, reply: Reply) -> str:
    try:
        return asked.wrong(question, reply)
    except (UserError, LookupError, ValueError) as error:
        return f"the answer cannot be read: {error!r}"
