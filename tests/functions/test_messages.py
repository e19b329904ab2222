"""What is said at one end of a socket comes at the other, whatever the arrays, and however it is cut on the way."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from synfire.functions.messages import Conversation, Ended, Message
from synfire.functions.slot import NUMBERS, Array


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    one.setblocking(False)
    other.setblocking(False)
    with one, other:
        yield one, other


def exchanged(one: Conversation, other: Conversation) -> list[Message]:
    """What comes of all that is said."""
    found: list[Message] = []
    while one.unsent:
        one.flush()
        found += other.come()
    return found + list(other.come())


arrays = st.one_of(
    st.sampled_from(NUMBERS).flatmap(
        lambda name: arrays_of.arrays(name, arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    ),
    st.lists(st.binary(max_size=5), max_size=4).map(lambda texts: np.array([*texts, None], object)[:-1]),
)


@given(st.dictionaries(st.text(max_size=3), arrays, max_size=3))
def test_arrays_arrive_as_they_were_sent(sent: dict[str, Array]) -> None:
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        other.setblocking(False)
        ours = Conversation(one)
        ours.send({"call": "ß"}, sent)
        (message,) = exchanged(ours, Conversation(other))
    assert message.said == {"call": "ß"}
    assert list(message.arrays) == list(sent)
    for name, array in sent.items():
        found = message.arrays[name]
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        assert found.flags.aligned
        assert found.flags.writeable
        assert found.tolist() == array.tolist() or np.array_equal(found, array, equal_nan=True)


def test_what_is_larger_than_the_sockets_room_is_sent_bit_by_bit(ends: tuple[socket.socket, socket.socket]) -> None:
    ours = Conversation(ends[0])
    large = np.arange(1 << 20)
    for number in range(3):
        ours.send({"call": number}, {"x": large})
    assert ours.unsent
    found = exchanged(ours, Conversation(ends[1]))
    assert [each.said["call"] for each in found] == [0, 1, 2]
    assert all((each.arrays["x"] == large).all() for each in found)


def test_an_array_that_came_can_be_written_to(ends: tuple[socket.socket, socket.socket]) -> None:
    Conversation(ends[0]).send({}, {"x": np.zeros(3)})
    (message,) = Conversation(ends[1]).come()
    message.arrays["x"][:] = 1
    assert message.arrays["x"].tolist() == [1, 1, 1]


def test_the_end_is_told_behind_the_last_message(ends: tuple[socket.socket, socket.socket]) -> None:
    Conversation(ends[0]).send({"call": "last"})
    ends[0].close()
    come = Conversation(ends[1]).come()
    assert next(come).said == {"call": "last"}
    with pytest.raises(Ended):
        next(come)


def test_nobody_waits_where_nothing_has_come(ends: tuple[socket.socket, socket.socket]) -> None:
    assert list(Conversation(ends[1]).come()) == []
