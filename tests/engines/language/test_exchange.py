"""One question over a Unix socket, against a server that says what it likes, in pieces as it likes."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synfire.base.errors import PermanentError
from synfire.engines.language.exchange import Exchange

CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunks(*parts: bytes) -> bytes:
    return CHUNKED + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (*parts, b""))


@contextmanager
def saying(folder: Path, pieces: list[bytes]) -> Iterator[tuple[str, list[bytes]]]:
    """A server that reads one request, says these pieces, and closes; what it read."""
    address, heard = str(folder / "s"), []
    Path(address).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen(1)

        def serve() -> None:
            connection, _ = listening.accept()
            with connection, suppress(BrokenPipeError):
                heard.append(connection.recv(1 << 20))
                for piece in pieces:
                    connection.sendall(piece)

        thread = threading.Thread(target=serve)
        thread.start()
        yield address, heard
        thread.join(10)


def ask(address: str) -> tuple[Exchange, list[bytes]]:
    exchange, events = Exchange(address, "/completion", b'{"a":1}'), []
    while not exchange.ended:
        if exchange.unsent:
            exchange.send()
        assert select.select([exchange], [], [], 10)[0]
        exchange.receive()
        events += exchange.events()
    exchange.close()
    return exchange, events


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.lists(st.integers(1, 60), max_size=12), st.booleans())
def test_events_are_the_same_however_they_are_cut(tmp_path, sizes, together):
    said = b'data: {"n":1}\n\ndata: {"n":2}\n\n: a remark\n\n', b'data: {"n":3}\n\nerror: {"n":4}\n\n'
    whole = chunks(b"".join(said)) if together else chunks(*said)
    pieces, start = [], 0
    for size in sizes:
        pieces.append(whole[start : start + size])
        start += size
    with saying(tmp_path, [*pieces, whole[start:]]) as (address, heard):
        exchange, events = ask(address)
    assert events == [b'{"n":1}', b'{"n":2}', b'{"n":3}', b'{"n":4}']
    assert exchange.status == 200
    assert heard[0].startswith(b"POST /completion HTTP/1.1\r\n")
    assert heard[0].endswith(b'Content-Length: 7\r\nConnection: close\r\n\r\n{"a":1}')


def test_an_answer_of_known_length_is_read_whole(tmp_path):
    with saying(tmp_path, [b"HTTP/1.1 400 Bad Request\r\nContent-", b"Length: 5\r\n\r\nwrong"]) as (address, _):
        exchange, _ = ask(address)
    assert (exchange.status, exchange.body) == (400, b"wrong")


def test_a_connection_that_breaks_ends_the_exchange(tmp_path):
    with saying(tmp_path, [chunks(b"data: 1\n\n")[:-8]]) as (address, _):
        exchange, events = ask(address)
    assert exchange.ended
    assert events == []


def test_nobody_at_the_address_is_an_error(tmp_path):
    with pytest.raises(PermanentError, match="does not answer"):
        Exchange(str(tmp_path / "none"), "/", b"")


def test_what_is_no_http_is_an_error(tmp_path):
    with (
        saying(tmp_path, [b"hello\r\n\r\n"]) as (address, _),
        pytest.raises(PermanentError, match="does not speak HTTP"),
    ):
        ask(address)
