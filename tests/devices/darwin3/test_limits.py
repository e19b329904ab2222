from __future__ import annotations

import pytest

from synfire.base.errors import UnknownName, UserError
from synfire.devices import DEVICES
from synfire.devices.darwin3.chip import Chip
from synfire.devices.darwin3.limits import Demand, chip, chips
from synfire.devices.darwin3.words import Memory


def test_darwin3_has_the_published_numbers() -> None:
    darwin3 = chip("darwin3")
    hosts = list(darwin3.hosts())
    assert len(hosts) == darwin3.cores == 575
    assert len(hosts) * (darwin3.neurons_per_core or 0) == darwin3.neurons == 2_355_200
    big = sum(darwin3.kind_at(*each) == "big" for each in hosts)
    assert (big, len(hosts) - big) == (287, 288)
    weights = sum(darwin3.weights_per_core(darwin3.kind_at(*each), 8) for each in hosts)
    assert 100e6 < weights < 130e6


def test_a_core_s_class_follows_from_its_column() -> None:
    assert [chip().kind_at(x, 5) for x in range(8)] == ["big", "big", "little", "little"] * 2
    assert chip().memory_words(Memory.DENDRITE, "big") == 65536
    assert chip().memory_words(Memory.DENDRITE, "little") == 8192


@pytest.mark.parametrize("at", [(0, 0), (24, 0), (0, -1)])
def test_no_neurons_are_hosted_off_the_mesh_or_where_the_riscv_core_is(at: tuple[int, int]) -> None:
    with pytest.raises(UserError, match="hosts no neurons at"):
        chip().kind_at(*at)


def test_the_reach_is_15_hops_in_each_direction() -> None:
    assert chip().within_reach((3, 3), (18, 18))
    assert not chip().within_reach((3, 3), (19, 3))


@pytest.mark.parametrize(
    ("name", "demand", "refusal"),
    [
        ("xylo", Demand(fan_in=64, neurons=10), "xylo has at most 63 fan in, not 64"),
        ("xylo", Demand(outputs=10), "at most 8 outputs, not 10"),
        ("speck", Demand(kernel=17), "speck has at most 16 kernel, not 17"),
        ("speck", Demand(map=65), "at most 64 map, not 65"),
        ("truenorth", Demand(neurons_per_core=257), "at most 256 neurons per core"),
        ("loihi1", Demand(synapses=131_000_000), "at most 130000000 synapses"),
        ("spinnaker2", Demand(cores=153), "at most 152 cores"),
        ("darwin3", Demand(weight_bits=5), "weight bits 2, 4, 6, 8, 16, not 5"),
    ],
)
def test_a_chip_refuses_what_it_cannot_hold_with_both_numbers(name: str, demand: Demand, refusal: str) -> None:
    assert len(chip(name).refusals(demand)) == 1
    with pytest.raises(UserError, match=refusal):
        chip(name).require(demand)


@pytest.mark.parametrize("name", chips())
def test_a_chip_holds_what_is_not_asked_for(name: str) -> None:
    assert chip(name).refusals(Demand()) == ()
    assert chip(name).cores >= 1


def test_an_unknown_chip_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(UnknownName, match="darwin3, loihi1"):
        chip("abacus")


def test_a_chip_known_by_its_limits_only_is_not_emulated() -> None:
    with pytest.raises(UserError, match="not by its mesh and memories; emulate darwin3"):
        Chip(chip("loihi2"))


def test_darwin3_is_a_device() -> None:
    described = DEVICES["darwin3"].describe()
    assert (described.device, described.cores) == ("darwin3", 575)
    assert described.memory_bytes == (287 * 65536 + 288 * 8192) * 6
