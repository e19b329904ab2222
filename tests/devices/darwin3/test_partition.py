"""Populations are cut into pieces that fit cores, and nothing is lost or doubled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synfire.base.errors import UserError
from synfire.devices.darwin3.assemble import assemble
from synfire.devices.darwin3.ir import GATE, Convolution, Full, Layout, Network, Population, Projection
from synfire.devices.darwin3.limits import ChipLimits, chip
from synfire.devices.darwin3.lower import lower
from synfire.devices.darwin3.partition import dendrite_words, partition
from synfire.devices.darwin3.whole import whole
from synfire.testing.darwin3 import wide_network
from synfire.testing.darwin3_reference import random_stage

SMALL = replace(chip(), neurons_per_core=8, dendrite_words={"big": 1024, "little": 128})


def single(shape: tuple[int, ...], projection: Projection | None = None) -> Network:
    population = Population("p", shape, GATE, np.ones(1))
    return Network({}, {"p": population}, () if projection is None else (projection,), {})


@given(
    shape=st.one_of(
        st.tuples(st.integers(1, 9000)), st.tuples(st.integers(1, 200), st.integers(1, 30), st.integers(1, 30))
    )
)
def test_every_neuron_is_in_exactly_one_piece_within_the_limit(shape: tuple[int, ...]) -> None:
    pieces = partition(single(shape), chip(), 8)["p"]
    elements = np.concatenate([each.elements() for each in pieces])
    assert np.array_equal(np.sort(elements), np.arange(Layout.of(shape).size))
    assert max(each.neurons for each in pieces) <= 4096
    assert [each.number for each in pieces] == list(range(len(pieces)))


def test_channels_are_cut_before_rows_and_evenly() -> None:
    pieces = partition(single((10, 32, 32)), chip(), 8)["p"]
    assert [(each.channels, each.rows) for each in pieces] == [(4, 32), (3, 32), (3, 32)]
    tall = partition(single((2, 100, 100)), chip(), 8)["p"]
    assert {(each.channels, each.rows) for each in tall} == {(1, 34), (1, 33)}


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), small=st.booleans())
def test_words_are_foretold_exactly(seed: int, small: bool) -> None:
    limits: ChipLimits = SMALL if small else chip()
    network = whole(lower(random_stage(seed)), 8).network
    for name, pieces in partition(network, limits, 8).items():
        for piece in pieces:
            words, _ = assemble(piece, network.arriving(name), 8)
            assert (
                len(words) == dendrite_words(piece, network.arriving(name), 8) <= (limits.dendrite_words or {})["big"]
            )


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_wider_weights_need_more_words(bits: int) -> None:
    projection = Projection("x", "p", np.arange(64), Full(np.zeros((48, 64), np.int64), 64))
    (piece,) = partition(single((48,), projection), chip(), bits)["p"]
    assert dendrite_words(piece, (projection,), bits) == 1 + 64 * 48 * bits // 48


def test_pieces_stay_small_where_they_can_so_that_moving_one_is_cheap() -> None:
    projection = Projection("x", "p", np.arange(800), Full(np.zeros((256, 800), np.int64), 800))
    network = single((256,), projection)
    assert len(partition(network, chip(), 8)["p"]) == 1
    small = partition(network, chip(), 8, most_words=16_384)["p"]
    assert len(small) == 3
    assert max(dendrite_words(each, (projection,), 8) for each in small) <= 16_384


def test_a_layer_whose_synapses_fit_no_core_is_refused_with_the_numbers() -> None:
    channels = 4096 * 20
    projection = Projection("x", "p", np.arange(channels), Full(np.zeros((1, channels), np.int64), 1))
    with pytest.raises(UserError, match=r"163840 dendrite words .* largest core has 65536; place it on cpu"):
        partition(single((1,), projection), chip(), 8)


def test_maps_beyond_the_index_of_a_spike_are_refused() -> None:
    form = Convolution(np.ones((1, 1, 3, 3), np.int64), (80, 80), padding=(1, 1))
    with pytest.raises(UserError, match=r"maps of 6400 pixels, and a spike's index counts to 4096"):
        partition(single((1, 80, 80), Projection("x", "p", np.arange(6400), form)), chip(), 8)


def test_the_wide_network_fills_more_than_a_hundred_cores() -> None:
    network = lower(wide_network())
    pieces = [each for found in partition(network, chip(), 8).values() for each in found]
    assert len(pieces) >= 100
    assert {each.neurons for each in pieces} == {4096}
