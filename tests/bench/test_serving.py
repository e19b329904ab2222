"""The other servers: how they are started, asked and compared; and what of their numbers becomes a floor."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPMessage
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from synfire.base.errors import PermanentError, UserError
from synfire.bench import BENCHMARKS, Settings, wrk
from synfire.bench.peers import OURS, PEERS, Server
from synfire.bench.peers.net import raw, reader
from synfire.bench.peers.server import Setup, ask, running
from synfire.bench.peers.text import unpacked
from synfire.bench.serving import MODELS, Contestant, Questions, floors
from synfire.bench.wrk import Load, whole_request
from synfire.graph import flatten
from synfire.graph.passes import simplify
from synfire.ops import Array
from synfire.wire import oip
from synfire.zoo import load, sample

SCORES = np.arange(3, dtype=np.float32)

ANSWERING = """
import os, sys, http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = bytes.fromhex(sys.argv[2])
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class Fixed(Server):
    """Answers every sample by the same scores, or leaves at once where it is given other `code`."""

    name = "fixed"
    package = "synfire"

    def __init__(self, scores: Array = SCORES, code: str = ANSWERING) -> None:
        self._scores = scores
        self._code = code

    def command(self, setup: Setup, folder: Path) -> list[str]:
        return [sys.executable, "-c", self._code, str(setup.port), self._scores.tobytes().hex()]

    def request(self, model: str, sample: Array) -> bytes:
        return whole_request("/", {}, raw(sample))

    def scores(self, headers: HTTPMessage, body: bytes) -> Array:
        return np.frombuffer(body, np.float32)


def questions() -> Questions:
    return Questions("svgg-mnist", [np.zeros((1, 28, 28), np.float32)], SCORES[None])


def row(model: str, server: str, requests_s: float, alone_p50_s: float) -> dict[str, Any]:
    return {"model": model, "server": server, "requests_s": requests_s, "alone_p50_s": alone_p50_s}


def body_of(request: bytes) -> bytes:
    head, _, body = request.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head.split(b"\r\n")
    return body


def test_the_worst_model_against_the_best_peer_is_what_counts() -> None:
    rows = [
        *(row(MODELS[0], OURS.name, 100.0, 0.001), row(MODELS[0], "a", 10.0, 0.01), row(MODELS[0], "b", 20.0, 0.02)),
        *(row(MODELS[1], OURS.name, 90.0, 0.002), row(MODELS[1], "a", 30.0, 0.01), {"model": MODELS[1], "server": "b"}),
    ]
    assert {each.name: (each.value, each.holds) for each in floors(rows)} == {
        "serving_rps_ratio": (3.0, False),
        "serving_p50_ratio": (0.2, True),
    }


def test_without_another_server_there_is_no_floor() -> None:
    alone = [row(model, OURS.name, 100.0, 0.001) for model in MODELS]
    assert floors([*alone, {"model": MODELS[0], "server": "mosec", "setup": "not installed"}]) == []


def test_it_says_where_wrk_and_the_framework_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(UserError, match="apt install wrk"):
        BENCHMARKS["serving"].measure(Settings(), print)
    monkeypatch.setattr("shutil.which", lambda name: name)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"docs/serving\.md says how to make an environment"):
        BENCHMARKS["serving"].measure(Settings(), print)


@pytest.mark.parametrize("name", sorted(PEERS))
def test_every_peer_is_sent_the_sample_as_it_is(name: str) -> None:
    image = sample(flatten(load("svgg-mnist")))["input"][0]
    body = body_of(PEERS[name].request("svgg-mnist", image))
    if name not in ("mosec", "ray"):
        texts = [text for text in _texts(msgspec.json.decode(body)) if len(text) > 1000]
        (body,) = unpacked(texts)
    assert body == image.tobytes()


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for each in inner for text in _texts(each)]


def test_our_own_request_and_answer_are_the_protocols() -> None:
    recording = np.stack([np.arange(5), np.ones(5), np.ones(5), np.zeros(5)], 1).astype(np.int64)
    request = OURS.request("scnn-nmnist", recording)
    length = int(request.partition(b"Inference-Header-Content-Length: ")[2].partition(b"\r")[0])
    (sent,) = oip.parse_infer_request(body_of(request), length).inputs.values()
    assert sent.dtype == np.int32
    np.testing.assert_array_equal(sent[0], recording)
    body, length_of_answer = oip.build_infer_response(oip.InferResponse("m", {"output": SCORES[None]}), ["output"])
    headers = HTTPMessage()
    headers[oip.HEADER_LENGTH.lower()] = str(length_of_answer)
    np.testing.assert_array_equal(OURS.scores(headers, body), SCORES)


def test_peers_make_the_frames_that_the_operator_makes() -> None:
    graph = simplify(flatten(load("scnn-nmnist")))
    operator: Any = next(graph.operator(name) for name in graph.order() if graph.operator(name).kind == "EventFrames")
    (recording,) = sample(graph).values()
    np.testing.assert_array_equal(reader(graph)(raw(recording[0])), operator.frames(recording[0]))


def test_a_server_runs_for_a_block_and_is_compared() -> None:
    asked = questions()
    with running(Fixed(), Setup(model="m"), asked.requests(Fixed())[0]) as url:
        assert asked.compare(Fixed(), url) == 0.0
    with pytest.raises(OSError, match="refused"):
        ask(url, asked.requests(Fixed())[0])


def test_a_server_that_computes_something_else_is_not_compared() -> None:
    other, asked = Fixed(SCORES + 1), questions()
    with (
        running(other, Setup(model="m"), asked.requests(other)[0]) as url,
        pytest.raises(PermanentError, match="differ by 1 from the framework's own"),
    ):
        asked.compare(other, url)


def test_a_server_that_does_not_run_is_a_row_that_says_so() -> None:
    contestant = Contestant(Fixed(code="raise SystemExit('out of order')"), questions(), seconds=1)
    contestant.search([Setup(model="m")], lambda text: None)
    contestant.measure(lambda text: None)
    assert contestant.row() == {"model": "svgg-mnist", "server": "fixed", "setup": "does not run here"}
    assert "exit code 1" in contestant.failures[0]
    assert "out of order" in contestant.failures[0]


def test_the_most_requests_within_the_latency_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(url: str, requests: list[bytes], concurrency: int, seconds: float) -> Load:
        """Latency grows with what is under way: 10 ms for each request, of which four are computed at a time."""
        answers = 100 * min(concurrency, 4) + concurrency
        p50_s, p99_s = 0.01 * concurrency, 0.012 * concurrency
        busy_s, own_s = 0.002 * answers, 0.0005 * answers
        return Load(
            p50_s=p50_s, p99_s=p99_s, answers=answers, seconds=1.0, refused=0, broken=0, busy_s=busy_s, own_s=own_s
        )

    monkeypatch.setattr(wrk, "load", measured)
    contestant = Contestant(Fixed(), questions(), seconds=1)
    contestant.search([Setup(model="m")], lambda text: None)
    contestant.measure(lambda text: None)
    found = contestant.row()
    assert (found["concurrency"], found["requests_s"], found["alone_p50_s"]) == (4, 404.0, 0.01)
    assert (found["cores_s"], found["wrk_s"]) == pytest.approx((0.002, 0.0005))


def test_what_the_rounds_show_counts_for_more_than_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    lucky, better, worst = (Setup(model="m", workers=workers) for workers in (1, 2, 3))
    begun: list[Setup] = []

    def measured(url: str, requests: list[bytes], concurrency: int, seconds: float) -> Load:
        searched = len(begun) <= 3
        rate = {lucky: 300 if searched else 100, better: 200, worst: 50}[begun[-1]]
        return Load(p50_s=0.01, p99_s=0.02, answers=rate, seconds=1.0, refused=0, broken=0)

    @contextmanager
    def runs(self: Contestant, setup: Setup) -> Iterator[str]:
        begun.append(setup)
        yield ""

    monkeypatch.setattr(wrk, "load", measured)
    monkeypatch.setattr(Contestant, "_running", runs)
    monkeypatch.setattr(Questions, "compare", lambda *given: 0.0)
    contestant = Contestant(Fixed(), questions(), seconds=1)
    contestant.search([lucky, better, worst], lambda text: None)
    for _ in range(3):
        contestant.measure(lambda text: None)
    assert begun.count(worst) == 1
    assert (contestant.row()["setup"], contestant.row()["requests_s"]) == (Fixed().words(better), 200.0)


def test_wrk_that_saw_refusals_measured_nothing() -> None:
    said = b'Running\n\n{"p50_s":1e-3,"p99_s":1e-2,"answers":5,"seconds":1.0,"refused":5,"broken":0}\n'
    done = subprocess.CompletedProcess([], 0, said, b"")
    with pytest.raises(PermanentError, match="of 5 requests 5 were refused"):
        wrk._found(done)
    with pytest.raises(PermanentError, match="exit code 1 and said: unable to connect"):
        wrk._found(subprocess.CompletedProcess([], 1, b"", b"unable to connect"))


@pytest.mark.skipif(not wrk.installed(), reason="wrk is not installed")
def test_wrk_sends_whole_requests_in_turns() -> None:
    asked = questions()
    with running(Fixed(), Setup(model="m"), asked.requests(Fixed())[0]) as url:
        found = wrk.load(url, asked.requests(Fixed()) * 2, 2, 1)
    assert found.requests_s > 0
    assert 0 < found.p50_s <= found.p99_s
