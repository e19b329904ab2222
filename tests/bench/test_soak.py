"""What a soak draws, and that each of its invariants can fail."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synfire.base.errors import TemporaryError
from synfire.bench.soak import Violation, random_schedule
from synfire.bench.soak.callers import Caller, Doors
from synfire.bench.soak.connection import Connection, Reply
from synfire.bench.soak.judgement import Exchange, Excuse, Outcome, Refusal, judged
from synfire.bench.soak.ledger import Ledger
from synfire.bench.soak.log import Log
from synfire.bench.soak.memory import GROWTH_BYTES, GROWTH_FILES, MOST_BYTES, WARM_S, Memory
from synfire.bench.soak.processes import Seen, role_of
from synfire.bench.soak.questions import Question, Repertoire, difference, request_of, stream_difference
from synfire.bench.soak.recoveries import Kill, check_records, durations
from synfire.bench.soak.reloading import placed
from synfire.bench.soak.rest import Rest
from synfire.bench.soak.schedule import CALLERS, CALM_S, EARLY, Load, Pause
from synfire.bench.soak.served import Done, Worker
from synfire.bench.soak.striking import Striking
from synfire.bench.soak.strokes import KNOWN, Aim, Sight, Stroke, possible
from synfire.bench.soak.traces import Traces
from synfire.deploy.faults import FAULTS
from synfire.ops import Clock, Kind, Signal
from synfire.plan.plan import Plan, Stage
from synfire.wire import oip
from synfire.wire.recovery import Cause, RecoveryRecord, Step, Touched
from synfire.wire.recovery import Outcome as Ended

MODELS = ("a-digits", "b-digits")
KINDS = ("worker-kill", "worker-stop", "host-lost", "gateway-kill")


def strokes(seed: int, kinds: tuple[str, ...] = KINDS, seconds: float = 300.0) -> list[Stroke]:
    return [each for each in random_schedule(seed, seconds, MODELS, kinds).acts if isinstance(each, Stroke)]


@given(st.integers(0, 2**31), st.floats(20.0, 900.0))
def test_schedule_is_the_seeds_and_leaves_rests_in_peace(seed: int, seconds: float) -> None:
    schedule = random_schedule(seed, seconds, MODELS, KINDS)
    assert schedule == random_schedule(seed, seconds, MODELS, KINDS)
    times = [each.at_s for each in schedule.acts]
    assert times == sorted(times)
    assert times[0] == 0.0
    assert isinstance(schedule.acts[-1], Pause)
    pauses = [each.at_s for each in schedule.acts if isinstance(each, Pause)]
    for stroke in (each for each in schedule.acts if isinstance(each, Stroke)):
        assert all(stroke.at_s > at_s or stroke.until_s < at_s - CALM_S for at_s in pauses)
    for load in (each for each in schedule.acts if isinstance(each, Load)):
        assert all(0 <= count <= CALLERS[kind] for kind, count in load.callers)
        assert sum(count for _, count in load.callers)


def test_gateways_are_killed_early_only_so_that_they_grow_old() -> None:
    killed = [each.at_s for each in strokes(7, seconds=600.0) if each.kind == "gateway-kill"]
    assert killed
    assert max(killed) < EARLY * 600.0
    assert strokes(7, ("gateway-kill",), 600.0)[-1].at_s < EARLY * 600.0


def test_every_kind_of_fault_comes_and_the_load_is_the_same_without_them() -> None:
    assert set(KINDS) == {each.kind for each in strokes(7)}
    calm = random_schedule(7, 300.0, MODELS, ())
    assert not [each for each in calm.acts if isinstance(each, Stroke)]
    both = random_schedule(7, 300.0, MODELS, KINDS)
    assert [each for each in both.acts if isinstance(each, Load)] == [
        each for each in calm.acts if isinstance(each, Load)
    ]
    assert calm.arrangement == both.arrangement


def test_schedule_reads_as_a_story() -> None:
    text = str(random_schedule(7, 60.0, MODELS, KINDS))
    assert text.startswith("synfire serve a-digits b-digits --workers")
    assert "callers: 1 plain, 1 stream" in text
    assert text.endswith("60.00 s  rest")


def test_every_known_fault_has_a_command_that_synfire_has() -> None:
    sight = Sight(("w0", "w1"), ("gateway-0",), ("host-0",), ("00ff",))
    for name in set(possible(own_disk=True)) & set(FAULTS):
        stroke = KNOWN[name].draw(random.Random(1), 3.0)
        target = KNOWN[name].target(stroke, sight)
        assert target is not None
        assert not target or FAULTS[name].target
        words = KNOWN[name].command(stroke, target)
        assert words[:2] == ("fault", name)
        options = {word.removeprefix("--").replace("for", "for_s") for word in words if word.startswith("--")}
        assert options <= set(FAULTS[name].takes)
    assert "disk-full" not in possible(own_disk=False)


def test_nobody_is_hit_where_nobody_is() -> None:
    assert KNOWN["worker-kill"].target(Stroke(0.0, "worker-kill", 5), Sight()) is None
    hit = KNOWN["host-lost"].target(Stroke(0.0, "host-lost", 9), Sight(("w0", "w1", "w2"))) or ""
    assert set(hit.split(",")) <= {"w0", "w1", "w2"}


# Requests


def exchange(outcome: Outcome, **known: Any) -> Exchange:
    return replace(Exchange("plain", "a-digits", 10.0, 10.5, outcome, opened_s=9.0), **known)


KILLED = Excuse("gateway-kill", 10.2, 11.0)
LOST = "{\"error\":\"session 's' of model 'a-digits' is not open\"}"


@pytest.mark.parametrize(
    ("seen", "found"),
    [
        (exchange("right"), "right"),
        (exchange("left"), "left"),
        (exchange("refused", status=404, text="no model named", expected=Refusal(404, "no model")), "refused with 404"),
        (exchange("refused", status=504, timeout_s=0.4), "past its own deadline"),
        (exchange("broken"), "broken by gateway-kill"),
        (exchange("unreached"), "unreached during gateway-kill"),
        (exchange("refused", status=400, text=LOST, session_s=9.5), "session lost by gateway-kill"),
    ],
)
def test_what_is_right_or_excused_has_a_class(seen: Exchange, found: str) -> None:
    assert judged(seen, [KILLED]).startswith(found)


@pytest.mark.parametrize(
    "seen",
    [
        exchange("wrong"),
        exchange("silent"),
        exchange("refused", status=503, text="no worker is left"),
        exchange("refused", status=503, text="the gateway is shutting down"),
        exchange("refused", status=500),
        exchange("refused", status=504),
        exchange("refused", status=504, timeout_s=2.0),
        exchange("broken", sent_s=5.0, ended_s=6.0),
        exchange("broken", sent_s=12.0, ended_s=12.5, opened_s=11.9),
        exchange("unreached", sent_s=12.0, ended_s=12.5),
        exchange("refused", status=400, text=LOST),
        exchange("refused", status=400, text=LOST, session_s=11.5, sent_s=12.0, ended_s=12.5),
        exchange("refused", status=400, text="another reason", session_s=9.5),
        exchange("right", expected=Refusal(400, "")),
        exchange("refused", status=500, text="no model", expected=Refusal(404, "no model")),
        exchange("refused", status=404, text="something else", expected=Refusal(404, "no model")),
    ],
)
def test_what_nothing_excuses_is_a_violation(seen: Exchange) -> None:
    with pytest.raises(Violation, match="plain request to a-digits was"):
        judged(seen, [KILLED])


def test_a_gateway_whose_serve_was_killed_may_say_that_it_is_shutting_down() -> None:
    for status in (503, 200):  # a stream that has begun has its status
        seen = exchange("refused", status=status, text='{"error":"the gateway is shutting down and takes no new call"}')
        assert judged(seen, [Excuse("serve-kill", 10.2, 11.0)]) == "refused by a gateway that serve-kill ends"
    with pytest.raises(Violation):
        judged(seen, [Excuse("serve-kill", 10.7, 11.0)])


def test_a_session_may_be_refused_by_another_gateway_than_the_one_that_was_killed() -> None:
    seen = exchange("refused", status=503, text="gateway-1, which kept the session, was lost; begin it again")
    for kind in ("session", "faulty"):
        assert judged(replace(seen, kind=kind), [KILLED]).startswith("session refused by another gateway")
    for other in (seen, replace(seen, kind="session", sent_s=11.1, ended_s=11.2)):
        with pytest.raises(Violation):
            judged(other, [KILLED])


RELOADED = Excuse("reload", 10.2, 11.0, "a-digits")


def test_a_model_that_is_loaded_again_may_be_missing_meanwhile_and_no_other() -> None:
    missing = exchange("refused", status=404, text="there is no model named 'a-digits'")
    assert judged(missing, [RELOADED]) == "not served during reload"
    assert judged(exchange("refused", status=400, text=LOST, session_s=9.5), [RELOADED]) == "session lost by reload"
    faulty = replace(missing, expected=Refusal(400, "shape"))
    assert judged(faulty, [RELOADED]) == "not served during reload"
    for seen in (
        replace(missing, model="b-digits"),
        replace(missing, sent_s=11.5, ended_s=12.0),
        exchange("refused", status=503, text="no worker is left"),
        exchange("broken"),
        replace(faulty, outcome="right", status=200, text=""),
    ):
        with pytest.raises(Violation):
            judged(seen, [RELOADED])


def test_a_model_is_loaded_on_workers_that_live() -> None:
    stages = tuple(Stage(name=name, operators=(name,), worker=worker) for name, worker in (("s0", "w0"), ("s1", "w1")))
    plan = Plan(model="a", granularity="operator", stages=stages, links=(), frame_steps=1)
    assert placed(plan, ["w0", "w1"]) == plan
    assert [each.worker for each in placed(plan, ["spare-0", "w1"]).stages] == ["spare-0", "w1"]
    with pytest.raises(TemporaryError):
        placed(plan, [])


def test_errors_are_only_excused_while_something_is_at_fault() -> None:
    ledger = Ledger()
    with ledger.excusing("gateway-kill"):
        assert ledger.excused
        began_s = ledger.excuses[0].from_s
        ledger.note(exchange("broken", sent_s=began_s - 1, ended_s=began_s + 1, opened_s=began_s - 2))
    assert not ledger.excused
    after_s = ledger.excuses[0].until_s + 1
    with pytest.raises(Violation):
        ledger.note(exchange("broken", sent_s=after_s, ended_s=after_s + 1, opened_s=after_s))
    assert ledger.requests == {"plain": 2}
    assert ledger.classes == {"broken by gateway-kill": 1}


# Answers

QUESTION = Question(
    {"x": np.zeros((1, 2), np.float32)},
    {"y": np.arange(12, dtype=np.float32).reshape(4, 1, 3), "s": np.ones((4, 1, 2), np.uint8)},
)
REPERTOIRE = Repertoire(
    "a-digits",
    {"y": Signal((3,), Kind.VALUE, Clock.RUNNING), "s": Signal((2,), Kind.SPIKE, Clock.STEP)},
    [QUESTION],
    [[QUESTION] * 2],
)


def answer(id: str = "r1", **changed: Any) -> Reply:
    outputs = {**REPERTOIRE.whole(QUESTION), **changed}
    body, length = oip.build_infer_response(oip.InferResponse("a-digits", outputs, id), list(outputs))
    return Reply(200, {oip.HEADER_LENGTH.lower().encode(): str(length).encode()}, body)


def test_right_answer_has_the_bits_of_the_uncut_model() -> None:
    assert difference(REPERTOIRE, "r1", QUESTION, answer()) == ""
    assert REPERTOIRE.whole(QUESTION)["y"].tolist() == [[9.0, 10.0, 11.0]]
    assert REPERTOIRE.whole(QUESTION)["s"].shape == (1, 4, 2)


def test_one_wrong_bit_or_another_requests_answer_is_seen() -> None:
    y = REPERTOIRE.whole(QUESTION)["y"]
    assert "output 'y' has the wrong bits" in difference(REPERTOIRE, "r1", QUESTION, answer(y=np.nextafter(y, 0)))
    assert "output 'y' is float32 (3,)" in difference(REPERTOIRE, "r1", QUESTION, answer(y=y[0]))
    assert "answer to request 'r2'" in difference(REPERTOIRE, "r1", QUESTION, answer("r2"))
    assert "outputs" in difference(REPERTOIRE, "r1", QUESTION, answer(z=y))


def event(name: str, first: int, steps: int, **changed: Any) -> bytes:
    outputs = {**REPERTOIRE.part(QUESTION, first, steps), **changed}
    told = oip.InferResponse("a-digits", outputs, parameters={"first_step": first, "steps": steps})
    return b"event: %s\ndata: %s\n\n" % (name.encode(), oip.build_infer_response(told)[0])


MODEL_LOST = b'event: error\ndata: {"error": "a worker was lost"}\n\n'


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        (event("part", 0, 3) + event("final", 3, 1), ""),
        (event("part", 0, 3), "it ends after 3 of 4 steps"),
        (event("final", 0, 3), "it ends after 3 of 4 steps"),
        (event("part", 0, 2) + event("final", 3, 1), "begins with step 3"),
        (event("part", 0, 3) + event("part", 0, 3) + event("final", 3, 1), "begins with step 0"),
        (event("final", 0, 4) + event("final", 0, 4), "after the final one"),
        (event("final", 0, 4, s=np.zeros((1, 4, 2), np.uint8)), "steps 0 to 3: output 's' has the wrong bits"),
    ],
)
def test_streamed_answer_is_whole_once_and_right(body: bytes, wrong: str) -> None:
    found = stream_difference(REPERTOIRE, QUESTION, Reply(200, {}, body))
    assert wrong in found
    assert bool(found) == bool(wrong)


# Callers


def http(reply: Reply) -> bytes:
    headers = {b"content-length": str(len(reply.body)).encode(), **reply.headers}
    lines = b"".join(b"%s: %s\r\n" % each for each in headers.items())
    return b"HTTP/1.1 %d Whatever\r\n%s\r\n%s" % (reply.status, lines, reply.body)


def asked_id(request: bytes) -> str:
    head, _, body = request.partition(b"\r\n\r\n")
    length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"inference-header"))
    return oip.parse_infer_request(body, int(length.rpartition(b":")[2])).id


@asynccontextmanager
async def gateway(answers: Callable[[bytes], list[bytes]]) -> AsyncIterator[str]:
    """Answers each request with these bytes; an empty list closes the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.read(1 << 20):
            parts = answers(request)
            writer.writelines(parts)
            if not parts:
                break
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def outcomes(kind: str, answers: Callable[[bytes], list[bytes]], count: int = 3) -> list[Exchange]:
    """What a caller of the kind tells of its first requests."""

    async def ask() -> list[Exchange]:
        seen: list[Exchange] = []

        def tell(exchange: Exchange) -> None:
            seen.append(exchange)
            if len(seen) >= count:
                caller.leave()

        async with gateway(answers) as url:
            caller = Caller(kind, lambda: Doors(url, ""), {"a-digits": REPERTOIRE}, random.Random(1), tell)
            await caller.run(0.0)
        return seen

    return asyncio.run(ask())


def test_caller_tells_right_answers() -> None:
    found = outcomes("plain", lambda request: [http(answer(asked_id(request)))])
    assert [(each.outcome, each.text) for each in found] == [("right", "")] * 3


def test_caller_tells_wrong_answers() -> None:
    y = np.zeros((1, 3), np.float32)
    found = outcomes("plain", lambda request: [http(answer(asked_id(request), y=y))])
    assert found[0].outcome == "wrong"
    assert "output 'y' has the wrong bits: [[0.0" in found[0].text


def test_caller_tells_answers_that_nobody_asked_for() -> None:
    found = outcomes("plain", lambda request: [http(answer(asked_id(request)))] * 2)
    assert found[-1].outcome == "wrong"
    assert "nobody asked for" in found[-1].text


def test_caller_tells_broken_connections_and_errors() -> None:
    assert {each.outcome for each in outcomes("plain", lambda request: [])} == {"broken"}
    refused = outcomes("plain", lambda request: [http(Reply(503, {}, b"lost"))])
    assert {(each.outcome, each.status, each.text) for each in refused} == {("refused", 503, "lost")}
    assert {each.outcome for each in outcomes("plain", lambda request: [b"no HTTP\r\n\r\n"])} == {"broken"}


def test_caller_tells_the_error_that_a_streamed_answer_ends_in() -> None:
    found = outcomes("stream", lambda request: [http(Reply(200, {}, event("part", 0, 3) + MODEL_LOST))])
    assert {each.outcome for each in found} == {"refused"}
    assert "a worker was lost" in found[0].text
    whole = outcomes("stream", lambda request: [http(Reply(200, {}, event("final", 0, 4)))])
    assert {each.outcome for each in whole} == {"right"}


def test_caller_tells_that_nobody_listens() -> None:
    async def ask() -> list[Exchange]:
        seen: list[Exchange] = []
        with socket.create_server(("127.0.0.1", 0)) as taken:
            url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        caller = Caller("plain", lambda: Doors(url, ""), {"a-digits": REPERTOIRE}, random.Random(1), seen.append)
        await caller.plain()
        return seen

    assert [each.outcome for each in asyncio.run(ask())] == ["unreached"]


def test_session_is_begun_and_ended_and_given_up_after_an_error() -> None:
    parameters: list[Mapping[str, Any]] = []

    def answers(request: bytes) -> list[bytes]:
        head, _, body = request.partition(b"\r\n\r\n")
        length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"inference-header"))
        asked = oip.parse_infer_request(body, int(length.rpartition(b":")[2]))
        parameters.append(asked.parameters)
        return [http(answer(asked.id) if len(parameters) != 3 else Reply(400, {}, b"lost its state"))]

    found = outcomes("session", answers, count=4)
    flags = [(each["sequence_start"], each["sequence_end"]) for each in parameters]
    assert flags == [(True, False), (False, True), (True, False), (True, False), (False, True)]
    assert [each.session_s is None for each in found] == [True, False, True, True, False]
    assert len({each["sequence_id"] for each in parameters}) == 3


def test_caller_who_leaves_does_not_wait() -> None:
    assert {each.outcome for each in outcomes("leaving", lambda request: [b"HTTP/1.1 200 OK\r\n"])} == {"left"}


def test_faulty_requests_expect_an_error() -> None:
    found = outcomes("faulty", lambda request: [http(Reply(400, {}, b"shape"))], count=20)
    assert {each.expected.status for each in found if each.expected is not None} == {400, 404}
    assert len({each.expected for each in found}) > 3


def test_connection_counts_an_answer_in_pieces_once() -> None:
    async def ask() -> tuple[Reply, int]:
        whole = http(answer("r1"))
        async with gateway(lambda request: [whole[:7], whole[7:90], whole[90:]]) as url:
            connection = await Connection.open("127.0.0.1", int(url.rpartition(":")[2]))
            reply = await connection.ask(request_of("a-digits", QUESTION.inputs, id="r1"))
            connection.close()
        return reply, connection.surplus

    reply, surplus = asyncio.run(ask())
    assert difference(REPERTOIRE, "r1", QUESTION, reply) == ""
    assert surplus == 0


# Memory


def process(age_s: float, rss_bytes: int = 100 << 20, files: int = 20, pid: int = 5, role: str = "worker") -> Seen:
    return Seen(pid, "1", role, age_s, rss_bytes, files)


def test_memory_may_grow_until_a_process_is_warm_and_then_no_more() -> None:
    memory = Memory()
    memory.rest(0, [process(1, 50 << 20)])
    memory.rest(60, [process(WARM_S + 1, 100 << 20)])
    memory.rest(120, [process(WARM_S + 60, (100 << 20) + GROWTH_BYTES)])
    assert memory.grown_bytes() == {"worker": GROWTH_BYTES}
    with pytest.raises(Violation, match=r"holds 24\.0 MiB and 0 files more at rest"):
        memory.rest(180, [process(WARM_S + 120, (100 << 20) + GROWTH_BYTES + 1)])


def test_open_files_may_not_grow_either() -> None:
    memory = Memory()
    memory.rest(60, [process(WARM_S)])
    with pytest.raises(Violation, match="17 files more"):
        memory.rest(120, [process(WARM_S + 60, files=20 + GROWTH_FILES + 1)])


def test_another_process_of_the_same_number_is_another_one() -> None:
    memory = Memory()
    memory.rest(60, [process(WARM_S)])
    memory.rest(120, [replace(process(WARM_S, 300 << 20), born="2")])
    assert memory.grown_bytes() == {"worker": 0}


def test_no_process_may_ever_hold_a_gibibyte() -> None:
    memory = Memory()
    memory.look([process(1, MOST_BYTES)])
    assert memory.most_bytes == {"worker": MOST_BYTES}
    with pytest.raises(Violation, match="more than 1024 MiB"):
        memory.look([process(1, MOST_BYTES + 1)])


# Rest

IDLE = Worker("w0", {}, True, None, 0, 0, 0)
CALM = Rest(True, [IDLE, msgspec.structs.replace(IDLE, name="w1")], [process(9), process(9, pid=6)], {"worker": (2, 3)})


def test_rest_is_when_nothing_is_held_and_nobody_is_missing() -> None:
    assert CALM.unrest() == ""
    kept = msgspec.structs.replace(IDLE, sessions=1)
    assert replace(CALM, workers=[kept, IDLE], sessions_lost=True).unrest() == ""


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"ready": False}, "not ready"),
        ({"workers": [msgspec.structs.replace(IDLE, requests=1), IDLE]}, "w0 holds 1 requests"),
        ({"workers": [msgspec.structs.replace(IDLE, sessions=2), IDLE]}, "w0 holds 2 sessions"),
        ({"workers": [msgspec.structs.replace(IDLE, buffered_bytes=9), IDLE]}, "w0 holds 9 buffered bytes"),
        ({"workers": [Worker("w0"), IDLE]}, "w0 does not answer"),
        ({"workers": [IDLE]}, "2 worker processes live, and 1 of them"),
        ({"processes": [process(9)]}, "1 worker processes live; it should be 2 to 3"),
        ({"processes": [process(9, pid=pid) for pid in range(4)]}, "4 worker processes live"),
        ({"crew": {"worker": (2, 3), "gateway": (1, 1)}}, "0 gateway processes live; it should be 1 to 1"),
        ({"processes": [*CALM.processes, process(9, role="ghost")]}, "1 ghost processes live; it should be 0 to 0"),
        ({"unburied": [7]}, "the processes 7 have ended"),
        ({"stale": [Path("/x/w0.sock")]}, "nobody listens at the sockets /x/w0.sock"),
    ],
)
def test_unrest_is_told(changed: dict[str, Any], said: str) -> None:
    assert said in replace(CALM, **changed).unrest()


# Traces


@pytest.fixture
def traces() -> Iterator[Traces]:
    """Two folders with short paths, as sockets need them."""
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    for name in ("home", "temporary"):
        (folder / name).mkdir()
    try:
        yield Traces(folder / "home", folder / "temporary")
    finally:
        shutil.rmtree(folder)


def test_store_and_catalog_may_stay(traces: Traces) -> None:
    (traces.home / "blobs" / "00").mkdir(parents=True)
    (traces.home / "blobs" / "00" / "ff").write_bytes(b"x")
    (traces.home / "catalog.sqlite").touch()
    (traces.home / "run").mkdir()
    assert list(traces.left()) == []


def test_files_that_are_left_are_told(traces: Traces) -> None:
    (traces.home / "run").mkdir()
    (traces.home / "run" / "8000.json").touch()
    (traces.temporary / "x").touch()
    assert list(traces.left()) == [f"file: {traces.home}/run/8000.json", f"temporary file: {traces.temporary}/x"]


def test_sockets_that_are_left_are_told(traces: Traces) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(traces.home / "w0.sock"))
        listening.listen()
        assert traces.stale() == []
        assert f"bound socket: {traces.home}/w0.sock" in list(traces.left())
    assert traces.stale() == [traces.home / "w0.sock"]
    assert list(traces.left()) == [f"file: {traces.home}/w0.sock"]


def test_ports_that_are_left_are_told(traces: Traces) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        traces.listening(address, f"http://{address}", "")
        assert list(traces.left()) == [f"listening at {address}", f"listening at http://{address}"]
    assert list(traces.left()) == []


def test_what_bears_the_deployments_id_is_told(traces: Traces) -> None:
    claim = traces.home / "run" / "0a1b2c3d.claim"
    claim.parent.mkdir()
    claim.touch()
    traces.look()
    claim.unlink()
    with tempfile.NamedTemporaryFile(dir="/dev/shm", prefix="synfire-0a1b2c3d-") as ours:
        assert list(traces.left()) == [f"in use: {ours.name}"]
    with tempfile.NamedTemporaryFile(dir="/dev/shm", prefix="synfire-another-"):
        assert list(traces.left()) == []


def test_processes_that_are_left_are_told_and_what_they_had_mapped(traces: Traces) -> None:
    program = """
import mmap, sys, time
with open(sys.argv[1], "r+b") as file:
    segment = mmap.mmap(file.fileno(), 0)
print(flush=True)
time.sleep(60)
"""
    environment = {**os.environ, "SYNFIRE_HOME": str(traces.home)}
    with tempfile.NamedTemporaryFile(dir="/dev/shm", prefix="another-") as segment:
        segment.write(b"x")
        segment.flush()
        command = [sys.executable, "-c", program, segment.name]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as orphan:
            assert orphan.stdout is not None
            orphan.stdout.readline()
            (seen,) = traces.look()
            assert seen.pid == orphan.pid
            assert seen.rss_bytes > 1 << 20
            assert any(each.startswith("process: python") for each in traces.left())
            orphan.kill()
        assert list(traces.left()) == [f"in use: {segment.name}"]
    assert list(traces.left()) == []


@pytest.mark.parametrize(
    ("words", "role"),
    [
        (["python", "-m", "synfire", "serve", "x"], "serve"),
        (["python", "-m", "synfire.worker", "--name", "w0"], "worker"),
        (["python", "-m", "synfire.deploy.roles.controller"], "controller"),
        (["/usr/bin/python3", "-c", "pass"], "python3"),
        ([], "unknown"),
    ],
)
def test_role_is_told_by_the_command_line(words: list[str], role: str) -> None:
    assert role_of(words) == role


# The log, the records, the commands


def test_what_nobody_foresaw_is_found_in_the_log(tmp_path: Path) -> None:
    file = tmp_path / "serve.log"
    file.write_text("INFO all is well\nERROR worker w0 was killed by SIGKILL\n")
    log = Log(file)
    log.read()
    with file.open("a") as more:
        more.write("ERROR at\nTraceback (most recent call last):\n  File x\nKeyError: 3\n")
    with pytest.raises(Violation, match="KeyError: 3"):
        log.read()
    log.read()


def record(worker: str, outcome: Ended = "recovered", began_s: float = 1000.0) -> RecoveryRecord:
    return RecoveryRecord(
        id=f"x-{worker}",
        cause=Cause("exit", worker),
        models=(Touched("a", 0, 1),),
        worker=worker,
        steps=(Step("detect", began_s, 0.0), Step("replay", began_s, 0.25)),
        outcome=outcome,
        reason="" if outcome == "recovered" else "no worker is left",
    )


def test_every_kill_has_its_record() -> None:
    check_records([record("w0"), record("w1")], [Kill("w0", 999.9)])
    with pytest.raises(Violation, match="w2 was hit"):
        check_records([record("w0")], [Kill("w2", 1000.0)])
    with pytest.raises(Violation, match="w0 was hit"):
        check_records([record("w0")], [Kill("w0", 1100.0)])


def test_recovery_that_leaves_something_unserved_is_a_violation() -> None:
    with pytest.raises(Violation, match="no worker is left"):
        check_records([record("w0", "degraded")], [])


def test_recoveries_are_counted_by_cause() -> None:
    assert durations([record("w0"), record("w1")]) == {
        "exit": {"count": 2, "p50_s": 0.25, "p99_s": 0.25, "max_s": 0.25}
    }


class Told:
    """A deployment that answers every command with this exit code and these words."""

    def __init__(self, code: int, said: dict[str, Any]) -> None:
        self.starts = 1
        self._done = Done(("fault",), code, said, "")

    async def sight(self, aim: Aim) -> Sight:
        return Sight(("w0",))

    async def workers(self) -> list[Worker]:
        return [Worker("w0", {"a": ["s"]}, True)]

    async def command(self, *words: str, lasts_s: float = 0.0) -> Done:
        return self._done


def struck(told: Told, kind: str = "worker-kill") -> Striking:
    found: Any = told
    striking = Striking(found, Ledger())
    asyncio.run(striking.strike(Stroke(1.0, kind)))
    return striking


def test_kill_of_a_worker_with_stages_is_kept_in_mind() -> None:
    acts = [{"did": "SIGKILL", "target": "w0", "at_s": 5.0, "pid": 7}]
    assert struck(Told(0, {"acts": acts})).kills == [Kill("w0", 5.0)]
    assert struck(Told(3, {"error": "w0 (process 7) has ended already"})).kills == []


def test_fault_command_that_fails_is_a_violation() -> None:
    with pytest.raises(Violation, match="exit code 2 there is no fault"):
        struck(Told(2, {"error": "there is no fault named 'worker-kill'"}))


def test_a_stroke_may_be_put_off_and_nothing_else() -> None:
    struck(Told(0, {"order": "drain", "moved": [], "ended": ["w0"]}), "drain")
    struck(Told(3, {"error": "another order is under way"}), "drain")
    with pytest.raises(Violation, match="exit code 1 there is no room"):
        struck(Told(1, {"error": "there is no room"}), "drain")
    assert struck(Told(3, {"error": "the link is broken; try again"}), "worker-kill").kills == []
    with pytest.raises(Violation, match="exit code 1"):
        struck(Told(1, {"error": "a bug"}), "worker-kill")


def test_kinds_are_dealt_by_their_weight() -> None:
    dealt = Counter(each.kind for each in strokes(3, ("worker-kill", "worker-slow"), 3000.0))
    assert dealt["worker-kill"] > 2 * dealt["worker-slow"] > 0


# The command line, in processes of its own: where it may, it changes the mounts that its process sees


def ran(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "synfire", "soak", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_plan_is_printed_and_nothing_is_started() -> None:
    done = ran("--seed", "7", "--minutes", "1", "--plan", "--only", "worker-kill")
    assert done.returncode == 0
    names = [f"{family}-digits" for family in ("scnn", "sgnn", "sresnet", "srnn", "stransformer", "svgg")]
    assert done.stdout == f"{random_schedule(7, 60.0, names, ['worker-kill'])}\n"


def test_an_unknown_fault_is_refused_with_those_there_are() -> None:
    done = ran("--only", "worker-melt")
    assert done.returncode == 2
    assert "worker-kill" in done.stderr
