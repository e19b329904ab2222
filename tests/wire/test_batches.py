"""Frames that travel together come apart as they were."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synfire.base.errors import UserError
from synfire.wire.batches import GATHERED_BYTES, gather, join, part, weight
from synfire.wire.messages import Batch, Cancel, Frame
from synfire.wire.stream import Packet, Reader, pack

STEPS = 3


def frames(number: int) -> list[Frame]:
    return [Frame("m", "a", "b", f"r{k}", f"gateway-{k % 2}", k, k, STEPS) for k in range(number)]


def travelled(packet: Packet) -> Packet:
    (arrived,) = Reader(1 << 20).feed(b"".join(pack(packet, near=True)[0]))
    return arrived


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.integers(0, 2**32 - 1))
def test_each_frame_gets_its_own_samples_back(sizes, seed):
    rng = np.random.default_rng(seed)
    spikes = (rng.random((STEPS, sum(sizes), 5)) < 0.3).astype(np.uint8)
    labels = rng.normal(size=(sum(sizes), 2)).astype(np.float32)
    sent = frames(len(sizes))
    packets = part(travelled(join(sent, sizes, {"spikes": spikes, "label": labels}, ["spikes"])))
    assert [each.message for each in packets] == sent
    end = 0
    for packet, size in zip(packets, sizes, strict=True):
        start, end = end, end + size
        assert np.array_equal(packet.arrays["spikes"], spikes[:, start:end])
        assert np.array_equal(packet.arrays["label"], labels[start:end])


def test_other_packets_stay_as_they_are():
    for packet in (Packet(Cancel("r")), Packet(frames(1)[0], {"x": np.zeros(1)})):
        assert part(packet) == (packet,)


@pytest.mark.parametrize(
    ("sizes", "timed", "array"),
    [
        ((1, 1), ("x",), np.zeros((STEPS, 3))),
        ((1, 1), ("x",), np.zeros(2)),
        ((1, 1), (), np.zeros(3)),
        ((3,), ("x",), np.zeros((STEPS, 3))),
        ((4, -1), ("x",), np.zeros((STEPS, 3))),
        ((3, 0), (), np.zeros(3)),
        ((), (), np.zeros(0)),
    ],
)
def test_a_batch_that_contradicts_itself_is_the_fault_of_each_of_its_frames(sizes, timed, array):
    packets = part(Packet(Batch(tuple(frames(2)), sizes, timed), {"x": array}))
    assert [each.message for each in packets] == frames(2)
    for each in packets:
        assert isinstance(each.fault, UserError)
        assert "the packet is damaged" in str(each.fault)


def test_a_batch_that_cannot_be_read_is_the_fault_of_each_of_its_frames():
    fault = UserError("it is damaged")
    packets = part(Packet(Batch(tuple(frames(2)), (1, 1)), fault=fault))
    assert [(each.message, each.fault) for each in packets] == [(each, fault) for each in frames(2)]


def asked(name: str, *shapes: tuple[int, ...], dtype: str = "float32", **said) -> Packet:
    """A frame as gateways send them, with an array of each shape."""
    rng = np.random.default_rng(len(name))
    arrays = {f"x{place}": rng.normal(size=shape).astype(dtype) for place, shape in enumerate(shapes)}
    return Packet(Frame("m", "gateway", "a", name, "gw", 0, **said), arrays)


SHAPES = st.sampled_from([((1, 3),), ((2, 3),), ((1, 4),), ((1, 3), (1,)), ((2, 2, 2),)])


@given(st.lists(st.tuples(SHAPES, st.sampled_from(["float32", "uint8"])), max_size=12))
def test_what_was_gathered_comes_apart_as_it_was_and_in_its_order(kinds):
    sent = [asked(f"r{place}", *shapes, dtype=dtype) for place, (shapes, dtype) in enumerate(kinds)]
    assert all(map(weight, sent))
    got = [each for packet in gather(sent) for each in part(travelled(packet))]
    assert [msgspec.structs.replace(each.message, tensors=()) for each in got] == [each.message for each in sent]
    for one, other in zip(got, sent, strict=True):
        assert one.arrays.keys() == other.arrays.keys()
        assert all(one.arrays[name].dtype == array.dtype for name, array in other.arrays.items())
        assert all(np.array_equal(one.arrays[name], array) for name, array in other.arrays.items())


def test_frames_alike_are_one_packet_and_others_begin_another():
    sent = [asked("a", (1, 3)), asked("b", (2, 3)), asked("c", (1, 4)), asked("d", (1, 3))]
    packets = list(gather(sent))
    assert [each.message.sizes for each in packets if isinstance(each.message, Batch)] == [(1, 2)]
    assert packets[1:] == sent[2:]


@pytest.mark.parametrize(
    "packet",
    [
        Packet(Cancel("r")),
        Packet(frames(1)[0], {"x": np.zeros((STEPS, 1, 2))}),
        asked("none"),
        asked("empty", (0, 3)),
        asked("unlike", (1, 3), (2, 3)),
        asked("large", (1, GATHERED_BYTES // 4 + 1)),
        Packet(asked("bytes").message, {"x": np.array([b"file"], object)}),
    ],
    ids=["no frame", "steps", "no array", "no sample", "unlike batches", "large", "bytes"],
)
def test_what_cannot_be_joined_by_its_samples_or_is_large_waits_for_nobody(packet):
    assert weight(packet) == 0
