"""How an answer leaves: in one write, where its caller reads."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from synfire.base.errors import Bug, UnknownName
from synfire.gateway.connection import Outbox, write_whole
from synfire.gateway.http import LONGEST_KNOWN, MOST_KNOWN, Endpoint, Router, json_response
from synfire.gateway.status import WrongMethod

LENGTH = (b"content-length", b"2")


class Transport:
    """Keeps each write apart."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closed = False

    def writelines(self, parts: tuple[bytes, ...]) -> None:
        self.writes.append(b"".join(parts))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


def cycle(**changes: Any) -> Any:
    """As much of uvicorn's request and response as an answer touches."""
    told: list[str] = []
    return SimpleNamespace(
        **{
            "flow": SimpleNamespace(write_paused=False),
            "disconnected": False,
            "keep_alive": True,
            "transport": Transport(),
            "message_event": asyncio.Event(),
            "on_response": lambda: told.append("response"),
            "told": told,
            **changes,
        }
    )


def test_head_and_body_leave_in_one_write() -> None:
    one = cycle()
    assert write_whole(one, one.transport.writelines, 200, [LENGTH], b"{}")
    assert one.transport.writes == [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"]
    assert (one.response_complete, one.told, one.transport.closed) == (True, ["response"], False)


@pytest.mark.parametrize(
    ("keep_alive", "headers"), [(False, [LENGTH]), (True, [LENGTH, (b"connection", b"close")])], ids=["caller", "us"]
)
def test_a_connection_that_ends_says_so_once_and_closes(keep_alive: bool, headers: list[tuple[bytes, bytes]]) -> None:
    one = cycle(keep_alive=keep_alive)
    assert write_whole(one, one.transport.writelines, 503, headers, b"{}")
    (written,) = one.transport.writes
    assert written.count(b"connection: close\r\n") == 1
    assert one.transport.closed


def test_answers_of_one_turn_leave_together_and_none_to_who_has_gone() -> None:
    here, gone = cycle().transport, cycle().transport

    async def turn() -> None:
        outbox = Outbox()
        outbox.put(here, (b"one", b"1"))
        outbox.put(gone, (b"two",))
        assert here.writes == []
        gone.close()
        await asyncio.sleep(0)

    asyncio.run(turn())
    assert (here.writes, gone.writes) == ([b"one1"], [])


def test_an_outbox_that_was_emptied_early_keeps_nothing_and_goes_on() -> None:
    transport = cycle().transport

    async def turn() -> None:
        outbox = Outbox()
        outbox.put(transport, (b"one",))
        outbox.empty()
        outbox.put(transport, (b"two",))
        await asyncio.sleep(0)

    asyncio.run(turn())
    assert transport.writes == [b"one", b"two"]


def test_many_at_once_who_end_after_their_request_are_all_answered(gateway: Any) -> None:
    """Each closes its own side as soon as it has asked, while answers of others wait for the end of the turn."""
    with ExitStack() as stack:
        callers = [
            stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port), timeout=20)) for _ in range(32)
        ]
        for each in callers:
            each.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        for each in callers:
            each.shutdown(socket.SHUT_WR)
        answers = [stack.enter_context(each.makefile("rb")).read() for each in callers]
    assert [each.count(b'{"live":true}') for each in answers] == [1] * 32


def test_a_caller_who_does_not_read_is_waited_for() -> None:
    one = cycle(flow=SimpleNamespace(write_paused=True))
    assert not write_whole(one, one.transport.writelines, 200, [LENGTH], b"{}")
    assert one.transport.writes == []


def test_nothing_is_written_to_a_caller_who_has_gone() -> None:
    one = cycle(disconnected=True)
    assert write_whole(one, one.transport.writelines, 200, [LENGTH], b"{}")
    assert one.transport.writes == []


def test_a_header_that_would_begin_another_is_a_bug() -> None:
    one = cycle()
    with pytest.raises(Bug, match="holds a line break"):
        write_whole(one, one.transport.writelines, 200, [LENGTH, (b"x", b"1\r\nset-cookie: y")], b"{}")
    assert one.transport.writes == []


def test_requests_sent_ahead_are_answered_in_their_order(gateway: Any) -> None:
    asked = [f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n" for path in ("/v2/health/live", "/v2/models/none", "/v2")]
    asked[-1] = asked[-1].replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as connection:
        connection.sendall("".join(asked).encode())
        with connection.makefile("rb") as stream:
            answers = stream.read().decode()
    statuses = [part.split(" ", 1)[0] for part in answers.split("HTTP/1.1 ")[1:]]
    assert statuses == ["200", "404", "200"]


def test_a_path_that_was_asked_before_is_found_again() -> None:
    async def handle(request: Any) -> Any:
        return json_response({})

    router = Router([Endpoint("GET", "/models/{model}", handle, "x"), Endpoint("GET", "/live", handle, "x")])
    for _ in range(2):
        assert router.find("GET", "/models/a%2Fb")[1] == {"model": "a/b"}
        assert router.find("HEAD", "/live")[1] == {}
        with pytest.raises(WrongMethod, match="does not take POST"):
            router.find("POST", "/models/a%2Fb")
        with pytest.raises(UnknownName, match="nothing is served"):
            router.find("GET", "/models/a/b")


def test_callers_cannot_fill_the_memory_with_paths() -> None:
    async def handle(request: Any) -> Any:
        return json_response({})

    router = Router([Endpoint("GET", "/models/{model}", handle, "x")])
    for number in range(2 * MOST_KNOWN):
        router.find("GET", f"/models/{number}")
    router.find("GET", "/models/" + "x" * LONGEST_KNOWN)
    assert len(router._known) <= MOST_KNOWN
    assert max(map(len, router._known)) <= LONGEST_KNOWN
