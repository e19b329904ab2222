"""Reads a request's body within the limits."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from typing import Protocol

from synfire.base.errors import UserError
from synfire.gateway.http import HttpRequest, Message, Receive
from synfire.gateway.limits import Limits
from synfire.gateway.status import SlowBody, TooLarge


class Gone(Exception):
    """Raised when the caller went away: there is nobody to answer."""


class Incoming(Protocol):
    """The body of a request while it comes."""

    def whole(self) -> bytes | None:
        """All of it, where it is there already and was not taken."""
        ...

    async def receive(self) -> Message:
        """What has come of it, or that the caller has gone, as an ASGI message."""
        ...


async def read_body(headers: dict[bytes, bytes], incoming: Incoming, limits: Limits) -> bytes:
    """The body, decompressed. Raises `TooLarge` before it holds more than the limit, `SlowBody` when it lingers."""
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > limits.body_bytes:
        raise _too_large(limits)
    body = incoming.whole()
    if body is None:
        body = await _received(incoming.receive, limits)
    encoding = headers.get(b"content-encoding", b"identity")
    return body if encoding == b"identity" else _decompress(body, encoding.decode("latin-1"), limits)


async def pieces_of(request: HttpRequest) -> AsyncIterator[bytes]:
    """The body of a request as it comes, however long it is. Raises `Gone` where the caller leaves in its midst."""
    more = request.receive is not None
    while more and request.receive is not None:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Gone
        more = message.get("more_body", False)
        yield message.get("body", b"")


async def _received(receive: Receive, limits: Limits) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        return await _read_more(body, receive, limits)
    if message["type"] == "http.disconnect":
        raise Gone
    return body


async def _read_more(first: bytes, receive: Receive, limits: Limits) -> bytes:
    chunks, size, more = [first], len(first), True
    try:
        async with asyncio.timeout(limits.body_timeout_s):
            while more and size <= limits.body_bytes:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Gone
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                more = message.get("more_body", False)
    except TimeoutError as error:
        raise SlowBody(
            f"{size} bytes of the body came within {limits.body_timeout_s:g} s (limit body_timeout_s), then no end; check "
            "Content-Length against what was sent"
        ) from error
    if size > limits.body_bytes:
        raise _too_large(limits)
    return b"".join(chunks)


def _decompress(body: bytes, encoding: str, limits: Limits) -> bytes:
    window = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}.get(encoding.strip().lower())
    if window is None:
        raise UserError(f"Content-Encoding {encoding!r} is not known; use gzip, deflate, or none")
    reader = zlib.decompressobj(window)
    try:
        plain = reader.decompress(body, limits.body_bytes + 1)
    except zlib.error as error:
        raise UserError(f"the body is not valid {encoding}: {error}; send it again, or without compression") from error
    if len(plain) > limits.body_bytes:
        raise _too_large(limits)
    if not reader.eof:
        raise UserError(f"the {encoding} body ends too early; was it cut off?")
    return plain


def _too_large(limits: Limits) -> TooLarge:
    return TooLarge(
        f"the body is longer than {limits.body_bytes} bytes, the limit body_bytes; send fewer samples a call"
    )
