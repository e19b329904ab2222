"""Who calls: loops that ask one request after the other, check each answer, and tell what came of it."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from synfire.bench.soak.asking import Asked, exchanged
from synfire.bench.soak.connection import Connection
from synfire.bench.soak.faulty import FAULTY
from synfire.bench.soak.judgement import Exchange, Outcome, Refusal
from synfire.bench.soak.questions import (
    Question,
    Repertoire,
    difference,
    request_of,
    rpc_difference,
    rpc_stream_difference,
    stream_difference,
)
from synfire.bench.soak.rpc import RpcConnection, RpcRequest, rpc_request

RETRY_S = 0.1
"""Between two attempts to connect."""

FRESH = 0.03
"""How many requests come over a connection of their own."""

Tell = Callable[[Exchange], None]


class Doors(NamedTuple):
    """Where gateways answer: a URL, and `host:port` for gRPC."""

    url: str
    grpc: str


class Caller:
    """Asks as its `kind` does until it is told to `leave`. `doors` says where, at each connection anew."""

    def __init__(
        self,
        kind: str,
        doors: Callable[[], Doors],
        repertoires: Mapping[str, Repertoire],
        rng: random.Random,
        tell: Tell,
    ) -> None:
        self.kind = kind
        self._doors = doors
        self._repertoires = list(repertoires.values())
        self._rng = rng
        self._tell = tell
        self._ids = itertools.count()
        self._name = f"{kind}-{rng.randrange(2**32):08x}"
        self._connection: Connection | RpcConnection | None = None
        self._over = False

    def leave(self) -> None:
        """Ask nothing new from now on; a session is ended first."""
        self._over = True

    async def run(self, pause_s: float) -> None:
        """Ask, with a pause of up to `pause_s` after each request, until told to leave."""
        try:
            while not self._over:
                await _KINDS[self.kind](self)
                await asyncio.sleep(self._rng.uniform(0, pause_s))
        finally:
            if self._connection is not None:
                self._connection.close()

    async def plain(self) -> None:
        """One sample in binary."""
        repertoire = self._rng.choice(self._repertoires)
        await self._ask(self._whole(repertoire, self._rng.choice(repertoire.samples)))

    async def batch(self) -> None:
        """A few samples in one request."""
        repertoire = self._rng.choice(self._repertoires)
        questions = self._rng.choices(repertoire.samples, k=self._rng.randint(2, 6))
        await self._ask(self._whole(repertoire, repertoire.together(questions)))

    async def json(self) -> None:
        """One sample as people write it."""
        repertoire = self._rng.choice(self._repertoires)
        await self._ask(self._whole(repertoire, self._rng.choice(repertoire.samples), binary=False))

    async def stream(self) -> None:
        """An answer that comes in parts."""
        await self._ask(self._streamed())

    async def leaving(self) -> None:
        """The caller goes away, soon after it asked."""
        repertoire = self._rng.choice(self._repertoires)
        asked = self._whole(repertoire, self._rng.choice(repertoire.samples))
        asked = self._streamed() if self._rng.random() < 0.5 else asked
        await self._ask(replace(asked, leaves_s=self._rng.uniform(0.0, 0.02)))

    async def hasty(self) -> None:
        """A request that allows itself little time."""
        repertoire, timeout_s = self._rng.choice(self._repertoires), self._rng.randint(1, 30) / 1e3
        asked = self._whole(repertoire, self._rng.choice(repertoire.samples), timeout_s=timeout_s)
        await self._ask(replace(asked, timeout_s=timeout_s))

    async def faulty(self) -> None:
        """A request that cannot be answered, and must be told why."""
        repertoire = self._rng.choice(self._repertoires)
        make, status, words = self._rng.choice(FAULTY)
        request = make(repertoire.model, self._rng.choice(repertoire.samples))
        await self._ask(Asked(repertoire.model, request, expected=Refusal(status, words)))

    async def grpc(self) -> None:
        """A few samples in one request over gRPC, as raw or as typed numbers."""
        repertoire, id = self._rng.choice(self._repertoires), f"{self._name}-{next(self._ids)}"
        question = repertoire.together(self._rng.choices(repertoire.samples, k=self._rng.randint(1, 3)))
        request = rpc_request(repertoire.model, question.inputs, id, raw=self._rng.random() < 0.5)
        await self._ask(Asked(repertoire.model, request, question, partial(rpc_difference, repertoire, id)))

    async def grpc_stream(self) -> None:
        """An answer that comes in parts over gRPC."""
        repertoire, id = self._rng.choice(self._repertoires), f"{self._name}-{next(self._ids)}"
        question = self._rng.choice(repertoire.samples)
        request = rpc_request(repertoire.model, question.inputs, id, part_steps=self._rng.randint(1, 5))
        await self._ask(Asked(repertoire.model, request, question, partial(rpc_stream_difference, repertoire, id)))

    async def session(self) -> None:
        """Calls that go on from one another; they begin anew where one fails."""
        repertoire = self._rng.choice(self._repertoires)
        script, session = self._rng.choice(repertoire.sessions), f"{self._name}-{next(self._ids)}"
        count, began_s = self._rng.randint(2, len(script)), time.monotonic()
        for number, question in enumerate(script[:count]):
            last = number == count - 1 or self._over
            flags = {"sequence_id": session, "sequence_start": number == 0, "sequence_end": last}
            asked = self._whole(repertoire, question, parameters=flags)
            outcome = await self._ask(replace(asked, session_s=began_s if number else None))
            if last or outcome not in ("right", "wrong"):  # where a wrong answer is excused the session is there
                return

    def _whole(self, repertoire: Repertoire, question: Question, **how: Any) -> Asked:
        id = f"{self._name}-{next(self._ids)}"
        request = request_of(repertoire.model, question.inputs, id=id, **how)
        return Asked(repertoire.model, request, question, partial(difference, repertoire, id))

    def _streamed(self) -> Asked:
        repertoire = self._rng.choice(self._repertoires)
        question = self._rng.choice(repertoire.samples)
        parameters = {"part_steps": self._rng.randint(1, 5)}
        request = request_of(repertoire.model, question.inputs, parameters=parameters, stream=True)
        return Asked(repertoire.model, request, question, partial(stream_difference, repertoire), streamed=True)

    async def _ask(self, asked: Asked) -> Outcome:
        """Send it, wait for what comes, and tell."""
        sent_s = time.monotonic()
        exchange = asked.exchange(self.kind, sent_s)
        try:
            connection = await self._connected(isinstance(asked.request, RpcRequest))
        except OSError as error:
            exchange = replace(exchange, ended_s=time.monotonic(), outcome="unreached", text=str(error))
            await asyncio.sleep(RETRY_S)
        else:
            exchange = await exchanged(connection, asked, replace(exchange, opened_s=connection.opened_s))
        self._tell(exchange)
        return exchange.outcome

    async def _connected(self, rpc: bool) -> Connection | RpcConnection:
        """The connection, or now and then another one. Raises `OSError` when nobody takes it."""
        if self._connection is not None and (self._connection.closed or self._rng.random() < FRESH):
            self._connection.close()
            self._connection = None
        if self._connection is None:
            where = urlsplit(f"//{self._doors().grpc}" if rpc else self._doors().url)
            opened = RpcConnection if rpc else Connection
            self._connection = await opened.open(where.hostname or "", where.port or 80)
        return self._connection


_KINDS = {
    each.__name__: each
    for each in (
        Caller.plain,
        Caller.batch,
        Caller.json,
        Caller.stream,
        Caller.leaving,
        Caller.hasty,
        Caller.faulty,
        Caller.grpc,
        Caller.grpc_stream,
        Caller.session,
    )
}
