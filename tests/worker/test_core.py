"""The scheduling core, frame by frame: order, repetitions, gaps, epochs, and what does not fit."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from synfire.base.errors import Bug, PermanentError, UserError
from synfire.deploy.hosting import hostings
from synfire.engines import ENGINES
from synfire.graph import Graph, Synapse, reference
from synfire.ops import Clock, Kind, Signal
from synfire.ops.add import Add
from synfire.ops.lif import LIF
from synfire.testing.graphs import plan_of
from synfire.wire.messages import Departure, Failure, Frame
from synfire.wire.stream import Packet
from synfire.worker.core import Core
from synfire.worker.settings import Settings


def two_inputs():
    """Two neurons whose spikes are added: the sum waits for both."""
    operators = {"a": LIF(), "b": LIF(), "sum": Add()}
    synapses = (Synapse("x", "a"), Synapse("y", "b"), Synapse("a", "sum", 0), Synapse("b", "sum", 1))
    signal = Signal((3,), Kind.VALUE, Clock.STEP)
    return Graph(operators, synapses, {"x": signal, "y": signal}, {"z": "sum"})


def core_with(groups, workers, settings=None, epoch=0):
    graph = two_inputs()
    core = Core("w0", settings)
    for each in hostings(graph, plan_of(graph, groups, workers, 2, "m"), {"w0": "w0", "w1": "w1"}):
        if each.worker == "w0":
            program = ENGINES["reference"]().build(each.graph)
            core.host(msgspec.structs.replace(each.host, epoch=epoch), each.graph, program)
    return core


def frame(number=0, sender="gateway", receiver="s0", request="r", last=True, **more):
    return Frame("m", sender, receiver, request, "gw", number, 2 * number, 2, last, **more)


def currents(seed=0, steps=2):
    return np.random.default_rng(seed).uniform(0, 3, (steps, 1, 3)).astype(np.float32)


def run(core):
    """Run all jobs and return the packets that leave."""
    while (job := core.next_job(0.0)) is not None:
        core.finish(job, *job.run(), 0.0)
    packets = [each.packet for each in core.outbox]
    core.outbox.clear()
    return packets


def the_failure(core):
    (packet,) = run(core)
    assert isinstance(packet.message, Failure)
    assert core.idle
    return packet.message


WHOLE = ([("a", "b", "sum")], ["w0"])
APART = ([("a",), ("b",), ("sum",)], ["w1", "w1", "w0"])


def spikes():
    return np.ones((2, 1, 3), np.uint8)


def test_join_waits_for_all_links():
    core = core_with(*APART)
    core.receive(Packet(frame(sender="s0", receiver="s2"), {"a": spikes()}), 0.0)
    assert run(core) == []
    core.receive(Packet(frame(sender="s1", receiver="s2"), {"b": spikes()}), 0.0)
    (packet,) = run(core)
    assert packet.message.receiver == "gateway"
    assert (packet.arrays["sum"] == 2).all()
    assert core.idle


def test_repeated_frame_is_dropped():
    core = core_with(*APART)
    one = Packet(frame(sender="s0", receiver="s2", last=False), {"a": spikes()})
    core.receive(one, 0.0)
    core.receive(one, 0.0)
    core.receive(Packet(frame(sender="s1", receiver="s2", last=False), {"b": spikes()}), 0.0)
    assert len(run(core)) == 1
    core.receive(one, 0.0)
    assert run(core) == []
    assert not core.idle
    assert core.buffered_bytes == 0


@pytest.mark.parametrize("known", [True, False])
def test_lost_frame_is_told_and_not_waited_for(known):
    core = core_with(*WHOLE)
    inputs = {"x": currents(), "y": currents()}
    if known:
        core.receive(Packet(frame(0, last=False), inputs), 0.0)
        run(core)
    core.receive(Packet(frame(2), inputs), 0.0)
    failure = the_failure(core)
    assert failure.kind == "Interrupted"
    assert "try again" in failure.text


def test_frame_of_another_epoch_is_refused():
    core = core_with(*WHOLE, epoch=2)
    core.receive(Packet(frame(epoch=1), {"x": currents(), "y": currents()}), 0.0)
    assert "epoch 2" in the_failure(core).text
    core.receive(Packet(frame(epoch=2, request="r2"), {"x": currents(), "y": currents()}), 0.0)
    (packet,) = run(core)
    assert packet.message.epoch == 2


def test_frames_that_disagree_on_their_steps_are_a_bug():
    core = core_with(*APART)
    core.receive(Packet(frame(sender="s0", receiver="s2"), {"a": spikes()}), 0.0)
    other = msgspec.structs.replace(frame(sender="s1", receiver="s2"), steps=1)
    core.receive(Packet(other, {"b": spikes()[:1]}), 0.0)
    assert the_failure(core).kind == Bug.__name__


@pytest.mark.parametrize(
    ("changes", "arrays", "words"),
    [
        ({}, {"x": currents()}, "the link carries"),
        ({}, {"x": currents(), "y": currents(), "z": currents()}, "the link carries"),
        ({}, {"x": currents(), "y": currents().astype(np.float64)}, "float32"),
        ({}, {"x": currents(), "y": currents()[:, :, :2]}, "(steps, batch, …)"),
        ({}, {"x": currents(), "y": currents()[:, :0]}, "(steps, batch, …)"),
        ({}, {"x": currents(), "y": currents()[0]}, "(steps, batch, …)"),
        ({}, {"x": currents(), "y": np.repeat(currents(), 2, 1)}, "same batch"),
        ({}, {"x": currents(steps=3), "y": currents(steps=3)}, "the frame says 2"),
        ({"sender": "nobody"}, {"x": currents(), "y": currents()}, "no link from 'nobody'"),
        ({"receiver": "s9"}, {"x": currents(), "y": currents()}, "the route has changed"),
    ],
)
def test_frame_that_does_not_fit_fails_its_request_in_words(changes, arrays, words):
    core = core_with(*WHOLE)
    core.receive(Packet(frame(request="good", last=False), {"x": currents(1), "y": currents(2)}), 0.0)
    core.receive(Packet(frame(**changes), arrays), 0.0)
    packets = run(core)
    failures = [each.message for each in packets if isinstance(each.message, Failure)]
    assert [each.request for each in failures] == ["r"]
    assert words in failures[0].text
    assert [each.message.request for each in packets if isinstance(each.message, Frame)] == ["good"]


def test_damaged_frame_fails_its_request():
    core = core_with(*WHOLE)
    core.receive(Packet(frame(), fault=UserError("the frame is damaged")), 0.0)
    assert the_failure(core).text == "the frame is damaged"


def test_cancelled_request_is_not_revived_by_a_late_frame():
    core = core_with(*WHOLE)
    core.cancel("r")
    core.receive(Packet(frame(), {"x": currents(), "y": currents()}), 0.0)
    assert run(core) == []
    assert core.idle


def test_lost_gateway_takes_its_requests_along():
    core = core_with(*WHOLE)
    core.receive(Packet(frame(last=False), {"x": currents(), "y": currents()}), 0.0)
    core.lost_origin("gw")
    assert core.idle
    assert core.buffered_bytes == 0


def test_request_that_does_not_move_is_failed():
    core = core_with(*WHOLE, Settings(request_idle_s=5))
    core.receive(Packet(frame(last=False), {"x": currents(), "y": currents()}), 0.0)
    run(core)
    core.expire(4.0)
    assert not core.idle
    core.expire(6.0)
    assert "waited 5 s" in the_failure(core).text


def test_oldest_request_goes_first_and_downstream_before_upstream():
    core = core_with([("a",), ("b",), ("sum",)], ["w0"] * 3, Settings(max_batch=1))
    for request in ("r1", "r2"):
        for receiver, name in (("s0", "x"), ("s1", "y")):
            core.receive(Packet(frame(receiver=receiver, request=request), {name: currents()}), 0.0)
    order = []
    while (job := core.next_job(0.0)) is not None:
        order.append((job.visits[0].request.id, job.stage.host.stage))
        core.finish(job, *job.run(), 0.0)
    assert [request for request, _ in order] == ["r1"] * 3 + ["r2"] * 3
    assert order[2] == ("r1", "s2")


def test_alone_frame_is_answered_by_the_stage_itself():
    core = core_with([("a",), ("b",), ("sum",)], ["w0", "w1", "w1"])
    core.receive(Packet(frame(alone=True), {"x": currents()}), 0.0)
    (packet,) = run(core)
    assert packet.message.receiver == "gateway"
    wanted = reference.trace(two_inputs(), {"x": currents(), "y": currents()}).emitted["a"]
    assert packet.arrays["a"].tobytes() == wanted.tobytes()


def test_batch_is_bounded_and_exact():
    core = core_with(*WHOLE, Settings(max_batch=2))
    inputs = [{"x": currents(i), "y": currents(i + 9)} for i in range(5)]
    for i, arrays in enumerate(inputs):
        core.receive(Packet(frame(request=f"r{i}"), arrays), 0.0)
    answers = {each.message.request: each.arrays["sum"] for each in run(core)}
    assert core.stages["m", "s0"].tally.jobs == 3
    for i, arrays in enumerate(inputs):
        assert answers[f"r{i}"].tobytes() == reference.run(two_inputs(), arrays)["z"].tobytes()


def test_a_stage_counts_what_is_active_before_and_behind_it_in_one_of_16_jobs():
    core = core_with([("a",), ("b",), ("sum",)], ["w0", "w1", "w1"])
    given = currents()
    given[0] = 0
    for turn in range(17):
        core.receive(Packet(frame(alone=True, request=f"r{turn}"), {"x": given}), 0.0)
        (packet,) = run(core)
    tally = core.stages["m", "s0"].tally
    assert (tally.jobs, tally.places) == (17, 2 * packet.arrays["a"].size)
    assert tally.spikes == 2 * int(packet.arrays["a"].sum()) > 0
    assert tally.arrived == 2 * given.size > tally.active == 2 * np.count_nonzero(given) > 0


def test_hosting_again_answers_what_is_in_flight():
    core = core_with(*WHOLE)
    core.receive(Packet(frame(last=False), {"x": currents(), "y": currents()}), 0.0)
    stage = core.stages["m", "s0"]
    core.host(stage.host, stage.graph, stage.program)
    assert "was replaced" in the_failure(core).text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arrivals": ()}, "its graph takes"),
        ({"departures": (Departure("gateway", ("nobody",)),)}, "should leave"),
        ({"frame_steps": 0}, "must be 1 or more"),
        ({"window": 0}, "must be 1 or more"),
    ],
)
def test_stage_whose_links_do_not_fit_is_refused(changes, words):
    core = core_with(*WHOLE)
    stage = core.stages["m", "s0"]
    with pytest.raises(UserError, match=words):
        core.host(msgspec.structs.replace(stage.host, **changes), stage.graph, stage.program)


def test_parameters_are_bounded():
    with pytest.raises(PermanentError, match="place it elsewhere"):
        core_with(*WHOLE, Settings(parameter_bytes=3))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"max_request": 1}, "no worker setting 'max_request'; known: .*max_requests"),
        ({"max_batch": 0}, "set it above 0"),
        ({"drain_s": -1}, "0 or more"),
        ({"drain_s": "1"}, "takes a number"),
        ({"drain_s": True}, "takes a number"),
    ],
)
def test_bad_setting_is_refused_with_its_cure(values, words):
    with pytest.raises(UserError, match=words):
        Settings.of(values)


def test_what_checkpoints_are_sent_is_counted_apart_from_links():
    core = core_with(*WHOLE)
    inputs = {"x": currents(), "y": currents()}
    for number, more in enumerate(({}, {"token": 7})):
        core.receive(Packet(frame(request=str(number), session="s", start=not number, **more), inputs), 0.0)
        run(core)
    (count,) = core.describe()
    assert (count.checkpoints.frames, count.checkpoints.receiver) == (1, "gateway")
    assert count.checkpoints.array_bytes == 2 * currents(steps=1).nbytes  # the membranes of both neuron layers
    assert [link.frames for link in count.links] == [2]
