"""States at rest, and what is computed twice: a bit that flips is found before anything wrong leaves the worker."""

from __future__ import annotations

import asyncio
import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synfire.base.errors import TemporaryError, UserError
from synfire.engines import ENGINES, DeviceProgram
from synfire.gateway.call import Call
from synfire.graph import Graph, Synapse
from synfire.ops import Clock, Kind, Signal
from synfire.ops.add import Add
from synfire.ops.lif import LIF
from synfire.testing.cluster import Cluster
from synfire.testing.graphs import random_graph, random_inputs, random_plan
from synfire.wire.checksums import checksum
from synfire.wire.messages import Arrival, Checkpoint, Departure, Failure, Frame, Host, Inject, Restore, StageMended
from synfire.wire.stream import Packet
from synfire.worker.core import Core
from synfire.worker.devices import Devices
from synfire.worker.membranes import FLIPPED, MEMBRANE_BIT, remembers
from synfire.worker.settings import Settings
from synfire.worker.twice import MOST_UNLIKE, needed

STEPS = 4


def graph():
    return Graph({"n": LIF()}, (Synapse("x", "n"),), {"x": Signal((8,), Kind.VALUE, Clock.STEP)}, {"n": "n"})


class Place:
    """A worker's core and devices with one stage of neurons, and what was told of them."""

    def __init__(self, engine="cpu", **settings):
        host = Host("m", "s", engine, STEPS, (Arrival("gateway", ("x",)),), (Departure("gateway", ("n",)),))
        self.core = Core("w0", Settings(**settings))
        self.stage = self.core.host(host, graph(), ENGINES[engine]().build(graph()))
        self.told = []
        self.devices = Devices("w0", self.core.stages, self.told.append, twice=self.core.settings.twice)
        self.core.membranes.found = self.devices.flipped
        self.runs = 0

    def send(self, request, number=0, last=True, seed=0, **more):
        """A frame of a request."""
        given = np.random.default_rng((seed, number)).uniform(0, 0.8, (STEPS, 1, 8)).astype(np.float32)
        frame = Frame("m", "gateway", "s", request, "gw", number, STEPS * number, STEPS, last, **more)
        self.core.receive(Packet(frame, {"x": given}), 0.0)
        return self.outcome()

    def outcome(self):
        """The packets that leave."""
        while (job := self.core.next_job(0.0)) is not None:
            self.core.finish(job, *self.devices.run(job), 0.0)
        packets = [each.packet for each in self.core.outbox]
        self.core.outbox.clear()
        return packets

    def session(self, count, **more):
        """The first calls of a session, which does not end."""
        return [self.send(f"c{n}", seed=n, session="a", start=n == 0, **more) for n in range(count)]


def bits(packets):
    return [packet.arrays["n"].tobytes() for packet in packets]


def refusal(packets):
    (packet,) = packets
    assert isinstance(packet.message, Failure)
    return packet.message


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), engine=st.sampled_from(["cpu", "reference"]))
def test_any_bit_that_flips_between_two_calls_of_a_session_is_found(seed, engine):
    place = Place(engine)
    place.session(2)
    assert "is flipped" in place.core.flip(place.stage, seed)
    failure = refusal(place.send("c2", seed=2, session="a"))
    assert failure.kind == "Interrupted"
    assert "the state of session 'a' at stage m.s is not what was left there" in failure.text
    (report,) = place.told
    assert isinstance(report, StageMended)
    assert (report.cause, report.target, report.replayed, report.restored) == (FLIPPED, "session 'a'", 1, 1)
    assert place.core.sessions == 0


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_any_bit_that_flips_between_two_frames_of_a_request_is_found(seed):
    place = Place()
    place.send("r", last=False)
    place.core.flip(place.stage, seed)
    assert "the state of request r at stage m.s" in refusal(place.send("r", 1)).text
    (report,) = place.told
    assert (report.target, report.replayed, report.restored) == ("request r", 1, 0)
    assert place.core.idle


def test_a_flip_that_is_asked_for_while_nothing_rests_hits_the_next_state_that_does():
    place = Place()
    assert "the next state that is left" in place.core.flip(place.stage, 1)
    place.send("plain")  # a request of one frame leaves nothing
    place.send("r", last=False)
    assert refusal(place.send("r", 1)).kind == "Interrupted"
    assert len(place.told) == 1


def test_what_no_bit_flips_of_is_answered_as_ever():
    place, other = Place(), Place(check_states=False)
    for each in (place, other):
        each.answers = [bits(packets) for packets in each.session(3)]
        each.answers.append(bits(each.send("r", last=False)) + bits(each.send("r", 1)))
    assert place.answers == other.answers
    assert place.told == []


def test_a_flip_in_one_session_harms_no_other():
    place = Place()
    place.send("a0", session="a", start=True)
    place.core.flip(place.stage, 1)
    place.send("b0", session="b", start=True)
    assert refusal(place.send("a1", session="a")).kind == "Interrupted"
    assert isinstance(place.send("b1", session="b")[0].message, Frame)


@pytest.mark.slow
@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_wherever_bits_flip_between_workers_sessions_go_on_as_if_nothing_had_been(seed, workers):
    graph, rng = random_graph(seed), np.random.default_rng(seed)
    plan, found, told = random_plan(graph, seed + 1, workers), [], []
    given = [random_inputs(graph, seed + n, 1, int(rng.integers(1, 7))) for n in range(5)]

    async def main():
        async with Cluster({"m": (graph, plan)}, seed) as cluster:
            (route,) = cluster.routes.values()
            route.protected = True
            for core in cluster.cores.values():
                core.membranes.found = told.append
            stages = [(core, each) for core in cluster.cores.values() for each in core.stages.values()]
            able = [(core, each) for core, each in stages if remembers(each)]
            for n, inputs in enumerate(given):
                for core, stage in able if n else ():
                    if rng.random() < 0.5:
                        core.flip(stage, int(rng.integers(99)))
                call = Call(f"c{n}", "m", inputs, "s", start=n == 0, end=n == len(given) - 1)
                found.append([part async for part in route.answer(call)])
            assert bool(route.replays) == bool(told)

    asyncio.run(main())
    program = ENGINES["reference"]().build(graph)
    state = program.initial_state(1)
    for inputs, parts in zip(given, found, strict=True):
        steps = graph.steps or next(inputs[n].shape[0] for n, signal in graph.inputs.items() if signal.timed)
        state, wanted = program.run(state, inputs, steps)
        for name, array in wanted.items():
            timed = graph.output_signals()[name].timed
            got = np.concatenate([part.outputs[name] for part in parts]) if timed else parts[0].outputs[name]
            assert got.tobytes() == np.ascontiguousarray(array).tobytes()


def test_without_checks_a_flip_is_found_by_nobody():
    place = Place(check_states=False)
    place.session(1)
    place.core.flip(place.stage, 3)
    assert isinstance(place.send("c1", session="a")[0].message, Frame)
    assert place.told == []


def test_a_checkpoint_carries_a_checksum_and_none_is_sent_of_what_memory_has_spoilt():
    place = Place()
    place.core.flip(place.stage, 7)  # hits before the checkpoint leaves
    (answer,) = place.send("c0", session="a", start=True, token=5)
    assert isinstance(answer.message, Frame)
    assert refusal(place.send("c1", session="a")).kind == "Interrupted"
    place = Place()
    _, checkpoint = place.send("c0", session="a", start=True, token=5)
    assert isinstance(checkpoint.message, Checkpoint)
    assert checkpoint.message.checksum == checksum(checkpoint.arrays)


def test_a_restored_state_is_looked_after_too():
    place = Place()
    _, checkpoint = place.send("c0", session="a", start=True, token=5)
    message = checkpoint.message
    restore = Restore("m", "s", "a", 1, maker=message.maker, checksum=message.checksum)
    with pytest.raises(TemporaryError, match=r"its checkpoint is damaged.*begin it again with sequence_start=true"):
        place.core.restore(restore, {name: array + 1 for name, array in checkpoint.arrays.items()}, 0.0)
    other = Place()
    other.core.restore(restore, checkpoint.arrays, 0.0)
    other.core.flip(other.stage, 2)
    assert refusal(other.send("c1", session="a")).kind == "Interrupted"


def test_a_stage_without_a_state_has_nothing_to_flip():
    graph = Graph({"s": Add()}, (Synapse("x", "s", 0), Synapse("x", "s", 1)), {"x": Signal((3,))}, {"s": "s"})
    core = Core("w0")
    host = Host("m", "s", "cpu", 1, (Arrival("gateway", ("x",)),), (Departure("gateway", ("s",)),))
    stage = core.host(host, graph, ENGINES["cpu"]().build(graph))
    assert not remembers(stage)
    with pytest.raises(UserError, match="has no membrane, nor any other state"):
        core.flip(stage, 0)
    assert Devices("w0", core.stages, lambda report: None).bearer(Inject(MEMBRANE_BIT)) is None


def test_the_fault_finds_a_stage_with_a_state():
    place = Place()
    assert place.devices.bearer(Inject(MEMBRANE_BIT)) is place.stage
    assert place.devices.bearer(Inject(MEMBRANE_BIT, "m.s")) is place.stage
    assert place.devices.bearer(Inject(MEMBRANE_BIT, "m.other")) is None
    assert place.devices.bearer(Inject("core-dead")) is None


def erring(place, *runs):
    """Let these runs of the stage's program, counted from 0, give another bit."""
    right = place.stage.program.run

    def run(state, inputs, steps):
        state, outputs = right(state, inputs, steps)
        if next(count) in runs:
            name = next(iter(state))
            changed = state[name].copy()
            changed.reshape(-1).view(np.uint8)[0] ^= 1
            state = {**state, name: changed}
        return state, outputs

    count = itertools.count()
    place.stage.program.run = run


@pytest.mark.parametrize("wrong", [(0,), (1,), (0, 2), (0, 3)])
def test_what_is_computed_twice_is_computed_until_two_runs_agree(wrong):
    wanted = bits(Place().send("r", last=False))
    place = Place(twice="always")
    erring(place, *wrong)
    assert bits(place.send("r", last=False)) == wanted
    assert {report.cause for report in place.told} == {FLIPPED}
    assert len(place.told) == len(wrong)
    assert [lap.name for lap in place.told[0].laps] == ["detect", "replay"]
    assert bits(place.send("r", 1))


def test_a_worker_that_never_computes_the_same_gives_nothing():
    place = Place(twice="always")
    erring(place, *range(0, 100, 2))
    assert refusal(place.send("r", last=False)).kind == "Interrupted"
    assert len(place.told) == MOST_UNLIKE


def test_the_processor_computes_once_by_default():
    place = Place()
    erring(place, 0)
    assert isinstance(place.send("r", last=False)[0].message, Frame)
    assert place.told == []


def test_what_fails_twice_alike_fails_once():
    place = Place(twice="always")

    def run(state, inputs, steps):
        raise UserError("no")

    place.stage.program.run = run
    assert refusal(place.send("r")).text == "no"
    assert place.told == []


@pytest.mark.parametrize("setting", [{"twice": "thrice"}, {"check_states": 1}])
def test_settings_that_mean_nothing_are_refused(setting):
    with pytest.raises(UserError, match="it takes"):
        Settings(**setting)


@pytest.mark.parametrize(
    ("device", "corrects", "twice"), [(False, False, False), (True, False, True), (True, True, False)]
)
def test_devices_compute_twice_by_default_unless_their_memory_mends_itself(device, corrects, twice):
    program = type("Program", (DeviceProgram,) if device else (), {"corrects": corrects, "__init__": lambda self: None})
    program.__abstractmethods__ = frozenset()
    job = SimpleNamespace(stage=SimpleNamespace(program=program()))
    assert needed("devices", job) == twice
    assert needed("always", job)
    assert not needed("never", job)
