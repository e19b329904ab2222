"""A process's ties to the supervisor that started it: what it is told, and how it learns that nobody is left to answer to."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import uvloop

from synfire.base import turns
from synfire.base.errors import SynfireError
from synfire.base.log import configure_logging
from synfire.deploy.roles.told import Told
from synfire.wire.links.tls import Credential, hold
from synfire.wire.messages import error_words

Post = TypeVar("Post", bound=Told)


def live(told: type[Post], life: Callable[[Post], Coroutine[Any, Any, None]]) -> None:
    """Read the command line and live until the end; Ctrl-C is for the supervisor alone."""
    configure_logging()
    turns.take_short()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    post = msgspec.json.decode(sys.argv[1], type=told)
    if post.credential:
        hold(Credential.read(Path(post.credential)))
    uvloop.run(life(post))


class Lifeline:
    """The process's end of it; `ended` is set when the supervisor is gone, or at SIGTERM. Made in the event loop.

    `act` is called when the supervisor is gone: nobody replaces anything any more.
    """

    def __init__(self, descriptor: int, act: Callable[[], None] = lambda: None) -> None:
        self.ended = asyncio.Event()
        self._act = act
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(False)
        loop = asyncio.get_running_loop()
        loop.add_reader(descriptor, self._closed)
        loop.add_signal_handler(signal.SIGTERM, self.ended.set)

    def announce(self, name: str, addresses: list[str], http: str) -> None:
        """Say that the process is ready, and where."""
        self._say({"name": name, "addresses": addresses, "http": http})

    def refuse(self, name: str, error: SynfireError) -> None:
        """Say why it will not be."""
        kind, text = error_words(error)
        self._say({"name": name, "kind": kind, "text": text})

    def _say(self, words: dict[str, Any]) -> None:
        line = json.dumps({**words, "pid": os.getpid()}) + "\n"
        self._socket.setblocking(True)
        self._socket.sendall(line.encode())
        self._socket.setblocking(False)

    def _closed(self) -> None:
        """The supervisor says nothing: all that can be read is the end."""
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._act()
        self.ended.set()
