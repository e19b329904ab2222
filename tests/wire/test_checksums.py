"""The checksum of a state: what it has to tell apart, and what it must not."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from synfire.ops import Array
from synfire.wire.checksums import checksum

STATES = st.dictionaries(
    st.text(min_size=1, max_size=4),
    arrays.arrays(st.sampled_from([np.uint32, np.float32, np.int64]), arrays.array_shapes(max_dims=3, max_side=9)),
    min_size=1,
    max_size=3,
)


@given(STATES, st.data())
def test_any_flipped_bit_is_told(state: dict[str, Array], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(state)))
    changed = state[name].copy()
    octet = data.draw(st.integers(0, changed.nbytes - 1))
    changed.reshape(-1).view(np.uint8)[octet] ^= np.uint8(1 << data.draw(st.integers(0, 7)))
    assert checksum({**state, name: changed}) != checksum(state)


@given(STATES)
def test_neither_the_order_of_names_nor_the_layout_in_memory_matters(state: dict[str, Array]) -> None:
    turned = {name: np.asfortranarray(state[name]) for name in reversed(state)}
    assert checksum(turned) == checksum(state)


def test_a_state_of_nothing_has_a_checksum_too() -> None:
    assert checksum({"membrane": np.zeros((0, 3), np.float32)}) == checksum({"membrane": np.zeros((3, 0), np.float32)})
