"""Messages over a socket between a worker and a function's process: a few words as JSON, and arrays as they lie in memory."""

from __future__ import annotations

import json
import socket
import struct
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from synfire.functions.slot import BYTES, Array

_HEAD = struct.Struct("<II")
_LENGTH = np.dtype("<u4")
_MOST_PIECES = 64
_READ_BYTES = 1 << 16
_ALIGNED_BYTES = 16


class Message(NamedTuple):
    """What is said, and the arrays that belong to it, by name."""

    said: dict[str, Any]
    arrays: Mapping[str, Array] = {}


class Ended(Exception):
    """Raised when the other end is closed, and all that it had said has been read."""


class Conversation:
    """Messages in both directions. Over a socket that does not block it does not either: what cannot be sent yet is `unsent`."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._unsent: deque[memoryview] = deque()
        self._come = bytearray()

    @property
    def unsent(self) -> bool:
        """Whether `flush` shall be called when the socket can be written."""
        return bool(self._unsent)

    def send(self, said: Mapping[str, Any], arrays: Mapping[str, Array] | None = None) -> None:
        """Say something. Raises `OSError` when nobody listens any more."""
        self._unsent.extend(_pieces(said, arrays or {}))
        self.flush()

    def flush(self) -> None:
        """Send what is unsent, as much of it as can be. Raises `OSError`."""
        while self._unsent:
            try:
                sent = self._socket.sendmsg([self._unsent[n] for n in range(min(len(self._unsent), _MOST_PIECES))])
            except BlockingIOError:
                return
            while sent and sent >= len(self._unsent[0]):
                sent -= len(self._unsent.popleft())
            if sent:
                self._unsent[0] = self._unsent[0][sent:]

    def come(self) -> Iterator[Message]:
        """The messages that have come since. Raises `Ended` behind the last one."""
        open_ = self._receive()
        while (message := self._next()) is not None:
            yield message
        if not open_:
            raise Ended

    def _receive(self) -> bool:
        """Read all that is there; whether more may come. One that blocks is read once."""
        while True:
            try:
                data = self._socket.recv(_READ_BYTES)
            except BlockingIOError:
                return True
            except ConnectionError:
                return False
            self._come += data
            if not data or self._socket.getblocking():
                return bool(data)

    def _next(self) -> Message | None:
        if len(self._come) < _HEAD.size:
            return None
        words, content = _HEAD.unpack_from(self._come)
        start, end = _HEAD.size + words, _HEAD.size + words + content
        if len(self._come) < end:
            return None
        said = json.loads(self._come[_HEAD.size : start])
        message = Message(said, dict(_arrays(said.pop("arrays"), self._come[start:end])))
        del self._come[:end]
        return message


def _pieces(said: Mapping[str, Any], arrays: Mapping[str, Array]) -> Iterator[memoryview]:
    contents = {name: _content(array) for name, array in arrays.items()}
    notes = [
        [name, BYTES if array.dtype == object else array.dtype.name, array.shape, len(contents[name])]
        for name, array in arrays.items()
    ]
    words = json.dumps({**said, "arrays": notes}).encode()
    yield memoryview(_HEAD.pack(len(words), sum(map(_aligned, map(len, contents.values())))) + words)
    for content in contents.values():
        yield from filter(len, (content, memoryview(bytes(_aligned(len(content)) - len(content)))))


def _aligned(size: int) -> int:
    """What an array of that size takes, so that the next one begins where numbers may."""
    return -(-size // _ALIGNED_BYTES) * _ALIGNED_BYTES


def _content(array: Array) -> memoryview:
    if array.dtype != object:
        return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    texts: list[bytes] = list(array.flat)
    return memoryview(np.array([len(each) for each in texts], _LENGTH).tobytes() + b"".join(texts))


def _arrays(notes: Iterable[tuple[str, str, list[int], int]], content: bytearray) -> Iterator[tuple[str, Array]]:
    """The arrays, each of which may be written to."""
    place = 0
    for name, kind, shape, size in notes:
        texts = kind == BYTES
        yield name, _texts(content, place, shape) if texts else np.ndarray(shape, kind, content, place)
        place += _aligned(size)


def _texts(content: bytearray, place: int, shape: list[int]) -> Array:
    count = int(np.prod(shape, dtype=np.int64))
    lengths = np.ndarray((count,), _LENGTH, content, place).tolist()
    found, place = np.empty(count, object), place + count * _LENGTH.itemsize
    for number, length in enumerate(lengths):
        found[number] = bytes(content[place : place + length])
        place += length
    return found.reshape(shape)
