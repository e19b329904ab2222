"""Requests that wait at a stage are computed together, also where their samples differ in size, and by as many threads as granted."""

from __future__ import annotations

import numpy as np
import pytest

from synfire.base.errors import UserError
from synfire.deploy.hosting import hostings
from synfire.engines import ENGINES, Program
from synfire.graph import Graph, Synapse, reference
from synfire.ops import Clock, Kind, Signal
from synfire.ops.conv2d import Conv2d
from synfire.ops.event_frames import EventFrames
from synfire.ops.lif import LIF
from synfire.ops.sequence import Sequence
from synfire.testing.graphs import plan_of
from synfire.testing.operator_examples import events
from synfire.wire.messages import Failure, Frame
from synfire.wire.stream import Packet
from synfire.worker import hands
from synfire.worker.core import Core
from synfire.worker.hands import Hands
from synfire.worker.settings import Settings

STEPS = 4


def recordings_graph() -> Graph:
    """Recordings of a sensor of 3 × 4 pixels, as frames, through a convolution."""
    rng = np.random.default_rng(3)
    weight = rng.uniform(-1, 1, (5, 2, 3, 3)).astype(np.float32)
    operators = {
        "frames": EventFrames(steps=STEPS, height=3, width=4, dt_s=0.001),
        "rows": Sequence(STEPS),
        "conv": Conv2d(weight, np.zeros(5, np.float32), padding=(1, 1, 1, 1)),
        "lif": LIF(threshold=0.4),
    }
    synapses = (Synapse("x", "frames"), Synapse("frames", "rows"), Synapse("rows", "conv"), Synapse("conv", "lif"))
    return Graph(operators, synapses, {"x": Signal((-1, 4), Kind.INDEX, Clock.REQUEST)}, {"y": "lif"})


def hosting(engine: str, threads: int = 1, frame_steps: int = STEPS) -> Core:
    graph = recordings_graph()
    core = Core("w0", Settings())
    (each,) = hostings(graph, plan_of(graph, [tuple(graph.order())], ["w0"], frame_steps, "m"), {"w0": "w0"})
    program = ENGINES[engine]().build(each.graph)
    program.grant(threads)
    core.host(each.host, each.graph, program)
    return core


def ask(core: Core, recordings: list[np.ndarray]) -> None:
    for number, recording in enumerate(recordings):
        frame = Frame("m", "gateway", "s0", f"r{number}", "gw", 0, 0, 0, True)
        core.receive(Packet(frame, {"x": recording[None]}), 0.0)


def answers(core: Core) -> dict[str, np.ndarray | Failure]:
    found: dict[str, list[np.ndarray] | Failure] = {}
    for each in core.outbox:
        message = each.packet.message
        if isinstance(message, Failure):
            found[message.request] = message
        else:
            found.setdefault(message.request, []).append(each.packet.arrays["lif"])
    return {name: np.concatenate(each) if isinstance(each, list) else each for name, each in found.items()}


def alone(recording: np.ndarray) -> np.ndarray:
    graph = recordings_graph()
    return reference.trace(graph, {"x": recording[None]}, STEPS).emitted["lif"]


def drawn(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    found = [events(rng).astype(np.int64) for _ in range(count)]
    found[1] = found[0].copy()  # of one size by chance, these must not become one array
    return found


@pytest.mark.parametrize("engine", ["cpu", "reference"])
@pytest.mark.parametrize("frame_steps", [STEPS, 3])
def test_recordings_of_any_length_are_one_job_and_answered_as_if_alone(engine: str, frame_steps: int) -> None:
    core, recordings = hosting(engine, frame_steps=frame_steps), drawn(6)
    ask(core, recordings)
    sizes = []
    while (job := core.next_job(0.0)) is not None:
        sizes.append(len(job.visits))
        core.finish(job, *job.run(), 0.0)
    assert set(sizes) == {6}
    found = answers(core)
    for number, recording in enumerate(recordings):
        assert found[f"r{number}"].tobytes() == alone(recording).tobytes()


def test_a_recording_that_is_wrong_fails_its_own_request_and_no_other() -> None:
    core, recordings = hosting("cpu"), drawn(4)
    recordings[2][0, 1] = 99
    ask(core, recordings)
    job = core.next_job(0.0)
    assert job is not None
    core.finish(job, *job.run(), 0.0)
    found = answers(core)
    assert "x = 99; this model's sensor goes from 0 to 3" in found["r2"].text
    for number in (0, 1, 3):
        assert found[f"r{number}"].tobytes() == alone(recordings[number]).tobytes()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_granted_threads_share_a_batch_and_change_no_bit(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hands, "WORTH_S", 1e-9)
    core, recordings, owned = hosting("cpu", threads), drawn(24), Hands(threads)
    for _ in range(3):
        ask(core, recordings)
        job = core.next_job(0.0)
        assert job is not None
        core.finish(job, *owned.run(job), 0.0)
        found = answers(core)
        assert all(found[f"r{n}"].tobytes() == alone(each).tobytes() for n, each in enumerate(recordings))
        core.outbox.clear()
    owned.close()


def test_a_program_that_takes_one_call_at_a_time_gets_no_second_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hands, "WORTH_S", 1e-9)
    core, recordings, owned = hosting("reference", 2), drawn(8), Hands(2)
    program = next(iter(core.stages.values())).program
    assert isinstance(program, Program)
    calls = []
    run = program.run
    monkeypatch.setattr(program, "run", lambda *given: calls.append(1) or run(*given))
    for _ in range(2):
        ask(core, recordings)
        job = core.next_job(0.0)
        assert job is not None
        core.finish(job, *owned.run(job), 0.0)
    assert len(calls) == 2
    owned.close()


def test_threads_are_a_whole_number_above_0() -> None:
    for wrong in (0, 1.5, True):
        with pytest.raises(UserError, match=r"set it above 0|1 or more|takes a number"):
            Settings(threads=wrong)
