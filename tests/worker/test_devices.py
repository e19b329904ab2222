"""A worker whose emulated chip breaks: what it computes again, what it reports, and what it refuses."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pytest

from synfire.base.errors import PermanentError, UnknownName, UserError
from synfire.devices.darwin3.allotted import CORES
from synfire.devices.mending import FaultOrder
from synfire.engines.darwin3 import Darwin3Engine
from synfire.engines.engine import ENGINES
from synfire.graph import Graph, Synapse
from synfire.ops import Kind, Signal
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.wire.messages import Arrival, Departure, Failure, Frame, Host, Inject, Restore, StageLost, StageMended
from synfire.wire.stream import Packet
from synfire.worker.builder import Builder, build
from synfire.worker.core import Core
from synfire.worker.devices import Devices
from synfire.worker.worker import Worker

STEPS, WIDTH, NAME = 4, 16, "m.chip"


def graph(seed=0):
    rng = np.random.default_rng(seed)
    operators = {}
    for layer in range(3):
        operators[f"fc{layer}"] = Linear(rng.normal(0, 0.5, (WIDTH, WIDTH)), rng.normal(0, 0.1, WIDTH))
        operators[f"lif{layer}"] = LIF()
    names = ["x", *operators]
    synapses = tuple(Synapse(a, b) for a, b in itertools.pairwise(names))
    return Graph(operators, synapses, {"x": Signal((WIDTH,), Kind.SPIKE)}, {"lif2": "lif2"})


class Place:
    """A worker's core and devices, with one stage on a chip."""

    def __init__(self):
        host = Host("m", "chip", "darwin3", STEPS, (Arrival("gateway", ("x",)),), (Departure("gateway", ("lif2",)),))
        self.core = Core("w0")
        self.program = Darwin3Engine().build(graph())
        self.program.warm()
        self.stage = self.core.host(host, self.program.graph, self.program)
        self.told = []
        self.devices = Devices("w0", self.core.stages, self.told.append)

    def ask(self, request, seed=0):
        spikes = (np.random.default_rng(seed).random((STEPS, 1, WIDTH)) < 0.5).astype(np.uint8)
        self.core.receive(Packet(Frame("m", "gateway", "chip", request, "gw", 0, 0, STEPS), {"x": spikes}), 0.0)

    def answers(self):
        """Everything that leaves, after all jobs."""
        while (job := self.core.next_job(0.0)) is not None:
            self.core.finish(job, *self.devices.run(job), 0.0)
        packets = [each.packet for each in self.core.outbox]
        self.core.outbox.clear()
        return packets

    def undisturbed(self, count):
        found = []
        for seed in range(count):
            self.ask(f"u{seed}", seed)
            found += [packet.arrays["lif2"].tobytes() for packet in self.answers()]
        return found

    def break_(self, fault, place="", **more):
        return self.devices.inject(Inject(fault, "", place, **more), self.core.visited)


def test_requests_in_flight_when_a_core_dies_are_computed_again_and_answered_right():
    place = Place()
    wanted = place.undisturbed(3)
    for seed in range(3):
        place.ask(f"r{seed}", seed)
    injected = place.break_("core-dead", seed=1)
    assert injected.stage == NAME
    assert "steps into what runs next" in injected.did
    assert [packet.arrays["lif2"].tobytes() for packet in place.answers()] == wanted
    (report,) = place.told
    assert isinstance(report, StageMended)
    assert (report.model, report.stage, report.cause, report.replayed) == ("m", "chip", "core dead", 3)
    assert [lap.name for lap in report.laps] == ["detect", "adopt", "relink", "verify", "replay"]
    assert all(lap.after_s >= 0 and lap.took_s >= 0 for lap in report.laps)
    assert report.laps[-1].after_s + report.laps[-1].took_s == pytest.approx(report.ago_s, abs=0.01)
    assert report.bytes_written > 0
    assert place.undisturbed(3) == wanted


def test_a_fault_while_nothing_is_asked_is_mended_at_once():
    place = Place()
    wanted = place.undisturbed(2)
    place.break_("core-dead")
    assert place.program.ailing
    place.devices.look()
    assert not place.program.ailing
    (report,) = place.told
    assert (report.cause, report.replayed) == ("core dead", 0)
    place.devices.look()
    assert len(place.told) == 1
    assert place.undisturbed(2) == wanted


def test_a_core_that_dies_in_the_replay_is_mended_too(monkeypatch):
    place = Place()
    wanted = place.undisturbed(1)
    mend, left = place.program.mend, ["core-dead", "mesh-link-dead"]

    def mended():
        mending = mend()
        if left:
            place.program.inject(FaultOrder(left.pop(), busy=True))
        return mending

    monkeypatch.setattr(place.program, "mend", mended)
    place.ask("r", 0)
    place.break_("core-dead", seed=1)
    assert [packet.arrays["lif2"].tobytes() for packet in place.answers()] == wanted
    assert [(report.cause, report.replayed) for report in place.told] == [
        ("core dead", 0),
        ("mesh link dead", 0),
        ("core dead", 1),
    ]


def test_a_wrong_weight_is_found_when_the_stage_is_proved():
    place = Place()
    wanted = place.undisturbed(2)
    assert place.devices.examine(place.stage)
    assert place.told == []
    place.break_("weight-bit", seed=2)
    place.devices.look()
    assert place.told == []  # no hardware tells
    assert place.devices.examine(place.stage)
    (report,) = place.told
    assert (report.cause, report.replayed) == ("corruption", 0)
    assert "written again" in report.detail
    assert place.undisturbed(2) == wanted


def test_a_dead_chip_is_reported_once_and_its_requests_are_interrupted():
    place = Place()
    place.ask("r")
    place.break_("chip-dead")
    (packet,) = place.answers()
    assert isinstance(packet.message, Failure)
    assert packet.message.kind == "Interrupted"
    (report,) = place.told
    assert isinstance(report, StageLost)
    assert (report.model, report.stage, report.cause) == ("m", "chip", "chip dead")
    place.devices.look()
    place.ask("again")
    assert place.answers()[0].message.kind == "Interrupted"
    assert not place.devices.examine(place.stage)
    assert place.told == [report]
    assert place.devices.losses == (report,)
    place.core.unhost("m")
    assert place.devices.losses == ()


def test_a_worker_that_lost_its_device_takes_no_stage_for_it_again():
    place = Place()
    place.devices.require("darwin3")
    place.break_("chip-dead")
    place.devices.look()
    with pytest.raises(
        PermanentError, match="worker w0 has lost its darwin3: the chip answers nothing any more; place"
    ):
        place.devices.require("darwin3")
    place.devices.require("cpu")


def test_a_worker_of_another_class_refuses_the_stage_with_the_reason():
    devices = Devices("w1", {}, lambda report: None, ["cpu"])
    devices.require("cpu")
    devices.require("reference")
    with pytest.raises(PermanentError, match="worker w1 has no darwin3, which engine 'darwin3' needs; it has cpu"):
        devices.require("darwin3")
    Devices("w1", {}, lambda report: None, ["darwin3"]).require("darwin3")


def test_a_builder_asks_before_it_builds():
    devices = Devices("w1", {}, lambda report: None, ["cpu"])
    builder = Builder(require=devices.require)
    host = Host("m", "chip", "darwin3", STEPS, (), ())
    with pytest.raises(PermanentError, match="w1 has no darwin3"):
        builder._build(host, graph())
    builder.close()


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (Inject("core-dead", "m.other"), "named 'm.other'; known: m.chip"),
        (Inject("core-ill"), "no fault of a chip named 'core-ill'"),
        (Inject("core-dead", "m.chip", "99,1"), "hosts no neurons"),
    ],
)
def test_a_fault_on_what_is_not_there_changes_nothing(order, message):
    place = Place()
    with pytest.raises(UserError, match=message):
        place.devices.inject(order, place.core.visited)
    place.devices.look()
    assert place.told == []
    assert place.program.chip.health().well


def test_a_worker_without_a_device_has_nothing_to_break():
    with pytest.raises(UnknownName, match="worker w0 runs no stage on an emulated device"):
        Devices("w0", {}, lambda report: None).inject(Inject("core-dead"), lambda stage: False)


def test_who_asks_is_told_how_far_a_chip_agrees_with_the_processor(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNFIRE_HOME", str(tmp_path))
    stage, builder = graph(), Builder()
    for engine, asked, wanted in (("darwin3", True, True), ("darwin3", False, False), ("cpu", True, False)):
        host = Host("m", "s", engine, STEPS, (), (), digest=stage.content_digest(), compare=asked)
        built = builder._build(host, stage)
        assert (built.agreement is not None and 0.5 < built.agreement <= 1) is wanted
    assert any((tmp_path / "darwin3-images").iterdir())
    builder.close()


def test_a_stage_of_another_digest_is_refused_on_a_chip_too():
    with pytest.raises(UserError, match=r"should have the content digest 000.*plan the model again"):
        build(Host("m", "s", "darwin3", STEPS, (), (), digest="0" * 64), graph())


def test_a_session_of_a_chip_cannot_go_on_where_another_engine_runs_the_stage():
    place = Place()
    checkpoint = place.program.initial_state(1)
    program = ENGINES["cpu"]().build(place.program.graph)
    place.core.host(place.stage.host, program.graph, program)
    with pytest.raises(UserError, match=r"session 's' cannot go on at stage m.chip: .*begin the session anew"):
        place.core.restore(Restore("m", "chip", "s", 1), checkpoint, 0.0)
    assert place.core.sessions == 0
    fresh = program.portable(program.initial_state(1))
    place.core.restore(Restore("m", "chip", "s", 1, maker=place.core.stages["m", "chip"].maker), fresh, 0.0)
    assert place.core.sessions == 1


@pytest.mark.parametrize("damage", ["missing", "shape", "kind"])
def test_a_checkpoint_of_another_version_is_refused(damage):
    place = Place()
    state = dict(place.program.initial_state(2))
    name = next(iter(state))
    if damage == "missing":
        del state[name]
    else:
        state[name] = state[name][:1] if damage == "shape" else state[name].astype(np.float64)
    with pytest.raises(UserError, match="which another engine or version has made"):
        place.core.restore(Restore("m", "chip", "s", 2), state, 0.0)
    assert place.core.sessions == 0


def test_a_checkpoint_of_other_weights_is_refused():
    place = Place()
    other = f"darwin3 {'0' * 64}"
    with pytest.raises(UserError, match=r"its checkpoint was made by darwin3 000.*begin the session anew"):
        place.core.restore(Restore("m", "chip", "s", 1, maker=other), place.program.initial_state(1), 0.0)
    assert place.core.sessions == 0


def test_a_checkpoint_of_another_version_of_the_engine_is_refused(monkeypatch):
    place = Place()
    maker = place.core.stages["m", "chip"].maker
    monkeypatch.setattr(ENGINES["darwin3"], "version", 99)
    with pytest.raises(
        UserError, match=r"was made by darwin3 v\d+ .*, and this is darwin3 v99 .*begin the session anew"
    ):
        place.core.restore(Restore("m", "chip", "s", 1, maker=maker), place.program.initial_state(1), 0.0)
    assert place.core.sessions == 0


def test_a_chip_that_breaks_while_it_is_proved_is_proved_again(tmp_path):
    worker = Worker("w0", "here", [f"unix:{tmp_path}/w0.sock"])
    try:
        place = Place()
        worker.core.stages[place.stage.key] = place.stage
        wanted = worker.prove("m", "chip")
        assert wanted
        examine = place.program.examine

        def examined():
            found = examine()
            if not place.program.chip.health().dead_cores:
                place.program.inject(FaultOrder("core-dead", seed=1, busy=True))  # strikes in the answer of the whole
            return found

        place.program.examine = examined
        assert worker.prove("m", "chip") == wanted
        assert len(place.program.chip.health().dead_cores) == 1
        place.program.inject(FaultOrder("chip-dead"))
        assert worker.prove("m", "chip") == ""
    finally:
        worker._close()


def test_a_stage_that_takes_more_cores_than_are_left_is_refused_with_the_numbers(monkeypatch):
    need = Darwin3Engine().build(graph()).cores.total
    monkeypatch.setenv(CORES, str(2 * need))
    place = Place()

    def take_up(model):
        program = Darwin3Engine().build(graph())
        host = msgspec.structs.replace(place.stage.host, model=model)
        return place.core.host(host, program.graph, program)

    take_up("n")
    with pytest.raises(
        PermanentError,
        match=rf"it takes {need} cores, and {2 * need} cores of the {2 * need} cores .* are taken; place",
    ):
        take_up("o")
    take_up("n")  # in the place of the one before
    place.core.stages.remove("m")
    assert take_up("o").name == "o.chip"
