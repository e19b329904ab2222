from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from synfire.base.errors import UserError
from synfire.devices.darwin3.words import (
    WEIGHT_BITS,
    AxonEntry,
    Kernel,
    Kind,
    axon_entries,
    axon_heads,
    dendrite_heads,
    pack_list,
    pack_values,
    pack_weights,
    read_axon_entries,
    read_axon_heads,
    read_dendrite_heads,
    unpack_list,
    unpack_values,
    unpack_weights,
    weights_per_word,
)

HOPS = st.integers(-15, 15)
SMALL = st.integers(1, 63)
SIZE = st.integers(0, 4095)


@given(HOPS, HOPS, st.integers(0, 2**15 - 1), st.booleans())
def test_an_axon_entry_is_what_its_word_says(dx: int, dy: int, dendrite: int, last: bool) -> None:
    entry = AxonEntry(dx, dy, dendrite, last)
    assert AxonEntry.of(entry.word()) == entry
    assert entry.word() < 2**26


def test_words_are_those_of_the_public_runtime_s_example_files() -> None:
    assert [hex(AxonEntry(*each).word()) for each in ((0, 1, 99, False), (-1, 1, 0, True))] == ["0x8063", "0x3108000"]
    assert [hex(each) for each in axon_heads([100, 102])] == ["0x64000", "0x66000"]
    heads = dendrite_heads(Kind.LIST, 100, 0x164, [0x17D, 0x127D], [0, 1])
    assert [hex(each) for each in heads] == ["0x16400c6017d", "0x16480c6127d"]
    assert hex(pack_list([0, 1, 2, 3])[0]) == "0x1002003"
    assert hex(pack_weights([0x7F, 0x3F, 0x24, 0x38, 0x0C, 0x24], 8)[0]) == "0x7f3f24380c24"


@given(st.lists(st.tuples(HOPS, HOPS, st.integers(0, 2**15 - 1), st.booleans()), min_size=1))
def test_many_entries_go_through_words_and_back(entries: list[tuple[int, int, int, bool]]) -> None:
    back = read_axon_entries(axon_entries(*np.array(entries, np.int64).T))
    assert np.array_equal(np.stack(back, axis=1), np.array(entries, np.int64))


@given(st.integers(0, 2**14 - 1), SIZE)
def test_an_axon_head_goes_through_its_word_and_back(address: int, index: int) -> None:
    assert [int(each[0]) for each in read_axon_heads(axon_heads(address, index))] == [address, index]


@given(
    st.sampled_from(Kind), st.integers(1, 4096), st.integers(0, 2**16 - 1), st.integers(0, 2**16 - 1), st.integers(0, 1)
)
def test_a_dendrite_head_goes_through_its_word_and_back(
    kind: Kind, count: int, where: int, weights: int, bank: int
) -> None:
    word = dendrite_heads(kind, count, where, weights, bank)
    assert [int(each[0]) for each in read_dendrite_heads(word)] == [kind, count, where, weights, bank]
    assert int(word[0]) < 2**48


@given(st.data(), st.sampled_from(WEIGHT_BITS), st.integers(1, 5), st.integers(1, 40))
def test_weights_go_through_words_and_back_and_rows_begin_at_whole_words(
    data: st.DataObject, bits: int, rows: int, columns: int
) -> None:
    elements = st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    weights = data.draw(arrays(np.int64, (rows, columns), elements=elements))
    words = pack_weights(weights, bits)
    assert len(words) == rows * -(-columns // weights_per_word(bits))
    assert words.max() < 2**48
    assert np.array_equal(unpack_weights(words, bits).reshape(rows, -1)[:, :columns], weights)


@given(arrays(np.int64, st.integers(1, 30), elements=SIZE))
def test_lists_go_through_words_and_back(neurons: np.ndarray) -> None:
    assert np.array_equal(unpack_list(pack_list(neurons))[: len(neurons)], neurons)


@given(arrays(np.int16, st.integers(1, 30)))
def test_state_goes_through_words_and_back(values: np.ndarray) -> None:
    assert np.array_equal(unpack_values(pack_values(values)), values)


@given(
    st.tuples(SIZE, SIZE, SIZE, SIZE),
    st.tuples(st.tuples(SMALL, SMALL), st.tuples(SMALL, SMALL), st.tuples(SMALL, SMALL)),
    SIZE,
    st.tuples(st.integers(-2047, 2047), st.integers(-2047, 2047)),
)
def test_a_kernel_goes_through_its_words_and_back(
    sizes: tuple[int, int, int, int], pairs: tuple[tuple[int, int], ...], first: int, offsets: tuple[int, int]
) -> None:
    kernel = Kernel(*sizes, *pairs, first, *offsets)
    assert Kernel.of(kernel.words()) == kernel


@pytest.mark.parametrize(("dx", "dy"), [(16, 0), (0, -16)])
def test_what_lies_beyond_the_reach_is_refused_with_the_numbers(dx: int, dy: int) -> None:
    with pytest.raises(UserError, match=r"reach 15 hops.*is -?16; relay it"):
        axon_entries(dx, dy, 0, True)


def test_what_does_not_fit_a_word_is_refused_with_the_limit() -> None:
    with pytest.raises(UserError, match="dendrites 0 to 32767, not 32768"):
        axon_entries(0, 0, 2**15, True)
    with pytest.raises(UserError, match="4-bit weights are -8 to 7, not 8"):
        pack_weights([8], 4)
    with pytest.raises(UserError, match="1 to 4096 neurons, not 4097"):
        dendrite_heads(Kind.LIST, 4097, 0, 0)
    with pytest.raises(UserError, match="32767, not -32769; scale"):
        pack_values([-32769])
    with pytest.raises(UserError, match="neurons 0 to 4095, not 4096"):
        pack_list([4096])
    with pytest.raises(UserError, match="a core knows 2, 4, 6, 8, 16: quantise"):
        weights_per_word(5)
    with pytest.raises(UserError, match="16384 words, and the address is 16384"):
        axon_heads(2**14)
    with pytest.raises(UserError, match="1 to 63, not 64"):
        Kernel(8, 8, 8, 1, (64, 1)).words()
