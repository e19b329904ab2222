"""Who calls: loops that ask one request after the other, check each answer, and tell what came of it."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from synfire.base.errors import UserError
from synfire.bench.soak.connection import Broken, Connection, Reply
from synfire.bench.soak.judgement import Exchange, Outcome, Refusal
from synfire.bench.soak.questions import (
    Question,
    Repertoire,
    difference,
    post,
    request_of,
    stream_difference,
    stream_error,
)

PATIENCE_S = 90.0
"""A request without an answer for so long is silent. The gateway itself gives up after 60 s."""

RETRY_S = 0.1
"""Between two attempts to connect."""

FRESH = 0.03
"""How many requests come over a connection of their own."""

Tell = Callable[[Exchange], None]


@dataclass(frozen=True)
class Asked:
    """One request, as it is sent, and how its answer is checked: `wrong` tells in words what is wrong with a reply of status 200."""

    model: str
    request: bytes
    wrong: Callable[[Reply], str]
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


class Caller:
    """Asks as its `kind` does until it is told to `leave`. `url` says where, at each connection anew."""

    def __init__(
        self, kind: str, url: Callable[[], str], repertoires: Mapping[str, Repertoire], rng: random.Random, tell: Tell
    ) -> None:
        self.kind = kind
        self._url = url
        self._repertoires = list(repertoires.values())
        self._rng = rng
        self._tell = tell
        self._ids = itertools.count()
        self._name = f"{kind}-{rng.randrange(2**32):08x}"
        self._connection: Connection | None = None
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
        make, status, words = self._rng.choice(_FAULTY)
        request = make(repertoire.model, self._rng.choice(repertoire.samples))
        await self._ask(Asked(repertoire.model, request, lambda _: "", expected=Refusal(status, words)))

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
            if last or outcome != "right":
                return

    def _whole(self, repertoire: Repertoire, question: Question, **how: Any) -> Asked:
        id = f"{self._name}-{next(self._ids)}"
        request = request_of(repertoire.model, question.inputs, id=id, **how)
        return Asked(repertoire.model, request, lambda reply: difference(repertoire, question, reply, id))

    def _streamed(self) -> Asked:
        repertoire = self._rng.choice(self._repertoires)
        question = self._rng.choice(repertoire.samples)
        parameters = {"part_steps": self._rng.randint(1, 5)}
        request = request_of(repertoire.model, question.inputs, parameters=parameters, stream=True)
        wrong = partial(stream_difference, repertoire, question)
        return Asked(repertoire.model, request, wrong, streamed=True)

    async def _ask(self, asked: Asked) -> Outcome:
        """Send it, wait for what comes, and tell."""
        sent_s = time.monotonic()
        exchange = asked.exchange(self.kind, sent_s)
        try:
            connection = await self._connected()
        except OSError as error:
            exchange = replace(exchange, ended_s=time.monotonic(), outcome="unreached", text=str(error))
            await asyncio.sleep(RETRY_S)
        else:
            exchange = await _exchanged(connection, asked, replace(exchange, opened_s=connection.opened_s))
        self._tell(exchange)
        return exchange.outcome

    async def _connected(self) -> Connection:
        """The connection, or now and then another one. Raises `OSError` when nobody takes it."""
        if self._connection is not None and (self._connection.closed or self._rng.random() < FRESH):
            self._connection.close()
            self._connection = None
        if self._connection is None:
            where = urlsplit(self._url())
            self._connection = await Connection.open(where.hostname or "", where.port or 80)
        return self._connection


async def _exchanged(connection: Connection, asked: Asked, begun: Exchange) -> Exchange:
    """What came of a request over this connection."""
    outcome: Outcome
    try:
        async with asyncio.timeout(PATIENCE_S if asked.leaves_s is None else asked.leaves_s):
            reply = await connection.ask(asked.request)
    except Broken as error:
        return replace(begun, ended_s=time.monotonic(), outcome="broken", text=str(error))
    except TimeoutError:
        connection.close()
        outcome = "silent" if asked.leaves_s is None else "left"
        return replace(begun, ended_s=time.monotonic(), outcome=outcome)
    ended_s = time.monotonic()
    streamed_error = stream_error(reply) if asked.streamed and reply.status == 200 else ""
    if connection.surplus:
        return replace(
            begun, ended_s=ended_s, outcome="wrong", text=f"{connection.surplus} answers that nobody asked for"
        )
    if reply.status != 200 or streamed_error:
        text = streamed_error or reply.body.decode(errors="replace")
        return replace(begun, ended_s=ended_s, outcome="refused", status=reply.status, text=text)
    wrong = _checked(asked, reply)
    return replace(begun, ended_s=ended_s, outcome="wrong" if wrong else "right", text=wrong)


def _checked(asked: Asked, reply: Reply) -> str:
    try:
        return asked.wrong(reply)
    except (UserError, LookupError, ValueError) as error:
        return f"the answer cannot be read: {error!r}"


def _nowhere(model: str, question: Question) -> bytes:
    return request_of(f"no-{model}", question.inputs)


def _nothing(model: str, question: Question) -> bytes:
    return post(f"/v2/models/{model}/infer", b"")


def _gibberish(model: str, question: Question) -> bytes:
    return post(f"/v2/models/{model}/infer", b"\xff{]" * 50)


def _shapeless(model: str, question: Question) -> bytes:
    return request_of(model, {name: array[..., :-1] for name, array in question.inputs.items()})


def _nameless(model: str, question: Question) -> bytes:
    return request_of(model, {f"no-{name}": array for name, array in question.inputs.items()})


def _cut_off(model: str, question: Question) -> bytes:
    whole = json.dumps({"inputs": [{"name": name, "shape": [1], "datatype": "FP32"} for name in question.inputs]})
    return post(f"/v2/models/{model}/infer", whole[:-3].encode())


def _sessionless(model: str, question: Question) -> bytes:
    return request_of(model, question.inputs, parameters={"sequence_id": "nobody-began-it"})


_FAULTY: Sequence[tuple[Callable[[str, Question], bytes], int, str]] = (
    (_nowhere, 404, "no model named"),
    (_nothing, 400, "not an Open Inference Protocol"),
    (_gibberish, 400, "not an Open Inference Protocol"),
    (_shapeless, 400, "shape"),
    (_nameless, 400, "input"),
    (_cut_off, 400, "not an Open Inference Protocol"),
    (_sessionless, 400, "is not open"),
)
"""Requests that are at fault, the status of their answer, and words of it."""

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
        Caller.session,
    )
}
