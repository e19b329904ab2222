"""A stage in a container has the dead cores that its node's chip has: it is linked around them, also around those that die later."""

from __future__ import annotations

import json

import numpy as np
import pytest

from synfire.base.errors import UserError
from synfire.devices import DEVICES, Cores
from synfire.devices.darwin3 import allotted as module
from synfire.devices.darwin3.allotted import Allotted, allotted, share
from synfire.devices.darwin3.compile import compile_stage
from synfire.devices.darwin3.faults import ChipDead, CoreDead
from synfire.devices.darwin3.limits import chip
from synfire.devices.mending import DeviceFault
from synfire.engines.darwin3 import Darwin3Program
from synfire.testing.darwin3 import wide_network


@pytest.fixture
def node(tmp_path, monkeypatch):
    """A node's folder with one chip, given to this process; `tell` writes its report."""
    monkeypatch.setenv(module.VARIABLE, "darwin3-0")
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    monkeypatch.setattr(module, "LOOK_S", 0.0)
    (tmp_path / "darwin3-0").mkdir()
    count = iter(range(1, 99))

    def tell(**report):
        file = tmp_path / "darwin3-0" / "chip.json"
        file.write_text(json.dumps({"chip": "darwin3-0", "place": [0, 0], **report}))
        module.os.utime(file, (0, next(count)))

    return tell


def outputs(program):
    (name,) = program.graph.inputs
    shape = program.graph.inputs[name].shape
    spikes = np.ones((3, 1, *shape), np.float32)
    return program.run(program.initial_state(1), {name: spikes}, 3)[1]


def used(program):
    return set(program.compiled.linked.cores)


def test_a_stage_is_linked_around_what_is_dead_from_the_start(node, monkeypatch):
    graph = wide_network(2, 8, 8)
    compiled = compile_stage(graph, chip())
    first = min(compiled.linked.cores)
    node(alive=True, dead=[list(first)])
    program = Darwin3Program(graph, compiled)
    assert first not in used(program)
    found = outputs(program)
    monkeypatch.delenv(module.VARIABLE)
    expected = outputs(Darwin3Program(graph, compiled))
    assert {name: array.tobytes() for name, array in found.items()} == {
        name: array.tobytes() for name, array in expected.items()
    }


def test_a_core_that_dies_later_makes_what_is_computed_void_until_it_is_mended(node):
    graph = wide_network(2, 8, 8)
    node(alive=True)
    program = Darwin3Program(graph, compile_stage(graph, chip()))
    before = outputs(program)
    (core, *_) = sorted(used(program))
    node(alive=True, wrong=[list(core)])
    with pytest.raises(DeviceFault, match="core dead"):
        outputs(program)
    assert program.mend().cause == "core dead"
    assert core not in used(program)
    assert {name: array.tobytes() for name, array in outputs(program).items()} == {
        name: array.tobytes() for name, array in before.items()
    }


def test_reports_are_news_once_and_unreadable_ones_none(tmp_path, caplog):
    file, now_s = tmp_path / "chip.json", [0.0]
    found = Allotted(file, lambda: now_s[0])
    assert found.news() == frozenset()
    file.write_text('{"alive": false, "dead": [[1, 2]]}')
    assert found.news() == frozenset()  # it has just looked
    now_s[0] = 1.0
    assert found.news() == {CoreDead((1, 2)), ChipDead()}
    now_s[0] = 2.0
    assert found.news() == frozenset()
    file.write_text("{")
    module.os.utime(file, (7, 7))
    now_s[0] = 3.0
    assert found.news() == frozenset()
    assert "cannot be read" in caplog.text


def test_chips_are_given_in_turns_and_names_that_are_none_are_refused(tmp_path):
    given = [allotted({module.VARIABLE: "a,b"}, tmp_path) for _ in range(2)]
    assert {each._file.parent.name for each in given} == {"a", "b"}
    assert allotted({}, tmp_path) is None
    with pytest.raises(UserError, match="is no chip"):
        allotted({module.VARIABLE: "../x"}, tmp_path)


def test_a_worker_may_use_all_cores_of_a_whole_chip_where_nobody_says_otherwise(monkeypatch):
    monkeypatch.delenv(module.CORES, raising=False)
    monkeypatch.delenv(module.VARIABLE, raising=False)
    assert DEVICES["darwin3"].room() == share(chip(), {}) == Cores(575, 287)


def test_a_worker_may_use_as_many_cores_as_it_is_told_in_even_shares_of_each_class():
    assert share(chip(), {module.CORES: " 115 "}) == Cores(115, 57)
    assert share(chip(), {module.CORES: "9999"}) == Cores(575, 287)


def test_cores_that_fail_their_test_are_none_to_be_used(tmp_path, caplog):
    for name, report in {
        "a": {"alive": True, "cores": {"big": 280, "little": 280}},
        "b": {"alive": False, "cores": {"big": 0, "little": 0}},
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "chip.json").write_text(json.dumps(report))
    assert share(chip(), {module.VARIABLE: "a,b"}, tmp_path) == Cores(560, 280)
    assert share(chip(), {module.VARIABLE: "a,b", module.CORES: "517"}, tmp_path) == Cores(517, 258)
    assert share(chip(), {module.VARIABLE: "b", module.CORES: "517"}, tmp_path) == Cores(0, 0)
    assert share(chip(), {module.VARIABLE: "gone"}, tmp_path) == Cores(575, 287)
    assert "it is taken to be whole" in caplog.text


def test_a_worker_takes_as_many_events_as_its_chips_took_in_their_tests_or_fewer_where_it_is_told(tmp_path):
    for name, events_per_s in {"a": 5_872_345.0, "b": 4_000_999.0, "unknown": 0.0}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "chip.json").write_text(json.dumps({"alive": True, "events_per_s": events_per_s}))
    found = {
        (chips, told): share(chip(), {module.VARIABLE: chips, module.KEPS: told}, tmp_path).keps
        for chips in ("a", "a,b", "unknown", "")
        for told in ("", " 3000 ", "99999")
    }
    assert found == {
        ("a", ""): 5872, ("a", " 3000 "): 3000, ("a", "99999"): 5872,
        ("a,b", ""): 9872, ("a,b", " 3000 "): 3000, ("a,b", "99999"): 9872,
        ("unknown", ""): None, ("unknown", " 3000 "): 3000, ("unknown", "99999"): 99999,
        ("", ""): None, ("", " 3000 "): 3000, ("", "99999"): 99999,
    }  # fmt: skip


@pytest.mark.parametrize("told", ["none", "0", "-3", "1.5"])
def test_a_number_of_events_that_is_none_is_refused(told):
    with pytest.raises(
        UserError, match=r"SYNFIRE_DARWIN3_KEPS is .*, which is no number of thousands of events a second; write 1"
    ):
        share(chip(), {module.KEPS: told})


@pytest.mark.parametrize("told", ["none", "0", "-3", "1.5"])
def test_a_number_of_cores_that_is_none_is_refused(told):
    with pytest.raises(UserError, match="write 1 or more, or leave it out"):
        share(chip(), {module.CORES: told})
