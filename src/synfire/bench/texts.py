"""Streams of text, read in the same way from a language engine and from synfire: bytes are counted, and hardly looked at."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from synfire.engines.language import llama
from synfire.engines.language.child import EngineChild, granted_cores
from synfire.engines.language.server import body_of
from synfire.formats import load
from synfire.ops.language_model import Generation, LanguageModel

PROMPT = "the king said"
_END = b"0\r\n\r\n"
_PATIENCE_S = 120.0


@dataclass(frozen=True)
class Question:
    """A greedy answer of so many tokens."""

    tokens: int


@dataclass(frozen=True)
class Read:
    """How quick streams were: tokens a second of all together, and the median time to a first token."""

    tokens_s: float
    first_s: float


@dataclass(frozen=True)
class Text:
    """What came of one stream; `whole` where it came to its end, with as many tokens as were wanted."""

    text: str
    whole: bool
    longest_pause_s: float


class Asked(Protocol):
    """Something that answers with a stream of events."""

    def request(self, question: Question) -> tuple[socket.socket, bytes]:
        """A connection, and the request to send along it."""
        ...


def ask(who: Asked, question: Question, streams: int) -> Read:
    """Ask for so many streams at a time, and read them to their ends."""
    began_s = time.perf_counter()
    open_: dict[int, socket.socket] = {}
    first: dict[int, float] = {}
    with select.epoll() as poll:
        for _ in range(streams):
            connection, request = who.request(question)
            connection.sendall(request)
            open_[connection.fileno()] = connection
            poll.register(connection, select.EPOLLIN)
        while open_:
            for descriptor, _ in poll.poll(_PATIENCE_S):
                data = open_[descriptor].recv(1 << 16)
                if descriptor not in first and b"data:" in data:
                    first[descriptor] = time.perf_counter() - began_s
                if not data or data.endswith(_END):
                    poll.unregister(descriptor)
                    open_.pop(descriptor).close()
    took_s = time.perf_counter() - began_s
    return Read(streams * question.tokens / took_s, sorted(first.values())[len(first) // 2])


@dataclass(frozen=True)
class Through:
    """A model at a gateway."""

    url: str
    model: str

    def request(self, question: Question) -> tuple[socket.socket, bytes]:
        body = {
            "model": self.model,
            "prompt": PROMPT,
            "max_tokens": question.tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
        }
        where = urlsplit(self.url)
        connection = socket.create_connection((where.hostname, where.port), _PATIENCE_S)
        return connection, _post("/v1/completions", json.dumps(body).encode())

    def ask(self, question: Question, streams: int) -> Read:
        return ask(self, question, streams)

    def read(self, question: Question, at: int = 0, act: Callable[[], object] = lambda: None) -> Text:
        """One stream, read; `act` is called once `at` events have come, where that is not 0."""
        connection, request = self.request(question)
        text, finish, events, pause_s, last_s = "", "", 0, 0.0, time.perf_counter()
        with connection:
            connection.sendall(request)
            for line in connection.makefile("rb"):
                if not line.startswith(b"data: {"):
                    continue
                now_s = time.perf_counter()
                pause_s, last_s = max(pause_s, now_s - last_s), now_s
                event = json.loads(line.removeprefix(b"data: "))
                for choice in event.get("choices", ()):
                    text += choice["text"]
                    finish = choice["finish_reason"] or finish
                events += 1
                if events == at:
                    act()
        return Text(text, finish == "length", pause_s)


@dataclass(frozen=True)
class Alone:
    """The engine that would answer, by itself: the same process with the same settings, asked at its own door."""

    address: str
    context: int

    @classmethod
    @contextmanager
    def of(cls, path: Path) -> Iterator[Alone]:
        """The engine with the model in the file, for the block. Raises as loading does."""
        (model,) = load(path).operators.values()
        assert isinstance(model, LanguageModel)
        order = {"model": str(path), "context": model.context, "streams": model.streams}
        child = EngineChild(llama.SCRIPT, order, granted_cores())
        try:
            child.ready()
            yield cls(child.address, model.context)
        finally:
            child.end()

    def request(self, question: Question) -> tuple[socket.socket, bytes]:
        wanted = Generation(PROMPT, question.tokens, 0.0, ignore_eos=True)
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(_PATIENCE_S)
        connection.connect(self.address)
        return connection, _post("/completion", json.dumps(body_of(wanted, self.context)).encode())

    def ask(self, question: Question, streams: int) -> Read:
        return ask(self, question, streams)


def _post(path: str, body: bytes) -> bytes:
    return (
        b"POST %s HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        % (path.encode(), len(body))
    ) + body
