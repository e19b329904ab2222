"""The load that checks every answer: what it does beside asking a gateway of ours without a pause (`test_recovery`)."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import numpy as np
import pytest

from synfire.bench.witness import LOST, RIGHT, Case, Job, Seen, witness
from synfire.testing.answering import handling

REQUEST = b"POST /%s HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"


class Echo(BaseHTTPRequestHandler):
    """A server of raw answers, which knows no ids. What is asked of `/closes` is answered, and the connection closed; `/hangs` answers
    when the test is over."""

    protocol_version = "HTTP/1.1"
    over = threading.Event()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/hangs":
            self.over.wait()
        self.close_connection = self.path == "/closes"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def echo() -> Iterator[str]:
    Echo.over.clear()
    with handling(Echo) as url:
        try:
            yield url
        finally:
            Echo.over.set()


def seen(path: bytes, right: bytes = b"hi", patience_s: float = 5.0, pause_s: float = 0.0) -> Seen:
    request, answer = (base64.b64encode(each).decode() for each in (REQUEST % path, right))
    with echo() as url, witness(Job(url, {"one": [Case(request, answer)]}, 0, patience_s, pause_s)) as load:
        return load.stop()["one"]


def test_answers_of_other_servers_are_compared_whole() -> None:
    assert set(seen(b"echoes").verdict) == {RIGHT}
    assert RIGHT not in set(seen(b"echoes", right=b"ho").verdict)


def test_a_pause_comes_after_each_request() -> None:
    one = seen(b"echoes", pause_s=0.05)
    assert np.all(one.sent_s[1:] - one.ended_s[:-1] >= 0.05)


def test_a_connection_that_is_closed_between_two_requests_loses_none() -> None:
    one = seen(b"closes", pause_s=0.05)
    assert len(one.verdict) > 5
    assert set(one.verdict) == {RIGHT}


@pytest.mark.slow
def test_what_is_not_answered_in_time_is_lost() -> None:
    one = seen(b"hangs", patience_s=0.1)
    assert set(one.verdict) == {LOST}
    assert one.complaints[0] == "no answer within 0.1 s"
    assert np.all(one.ended_s - one.sent_s < 5)
