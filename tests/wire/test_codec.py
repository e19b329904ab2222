"""Every array survives the wire to the bit, in the smallest encoding; damage is told, never obeyed."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from synfire.base.errors import UserError
from synfire.wire.codec import DTYPES, Tensor, address_break_even, decode, encode, encode_dense

SEEDS = st.integers(0, 2**32 - 1)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=12)


def travelled(array, encode=encode):
    tensor, payload = encode("x", array)
    assert tensor.bytes == len(payload)
    return decode(tensor, bytes(payload))


def assert_bits(array):
    for back in (travelled(array), travelled(array, encode_dense)):
        assert (back.dtype, back.shape) == (array.dtype, array.shape)
        assert back.tobytes() == np.ascontiguousarray(array).tobytes()


@given(SEEDS, SHAPES, st.floats(0, 1))
def test_spikes_of_any_density_survive(seed, shape, density):
    assert_bits(np.asarray(np.random.default_rng(seed).random(shape) < density, np.uint8))


@given(SEEDS, st.integers(1, 300_000), st.integers(0, 40))
@settings(max_examples=50)
def test_few_spikes_among_many_neurons_survive(seed, neurons, spikes):
    array = np.zeros(neurons, np.uint8)
    array[np.random.default_rng(seed).integers(0, neurons, spikes)] = 1
    assert_bits(array)


@given(SEEDS, SHAPES, st.floats(0, 1), st.sampled_from([1, 3, 300, 70_000, 2**31 - 1]))
def test_counts_survive(seed, shape, density, largest):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, largest, shape, endpoint=True) * (rng.random(shape) < density)
    assert_bits(np.asarray(counts, np.int32))


@given(st.sampled_from(sorted(set(DTYPES) - {"O"})).flatmap(lambda n: hnp.arrays(DTYPES[n], SHAPES)))
def test_any_dtype_survives_with_negative_zero_and_nan(array):
    assert_bits(array)


@given(hnp.arrays(np.float32, SHAPES, elements=st.sampled_from([0.0, -0.0, 1.5, np.nan, -np.inf]), fill=st.just(0.0)))
def test_negative_zeros_among_zeros_survive(array):
    assert_bits(array)


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_bytes_survive(elements):
    array = np.empty(len(elements), object)
    array[:] = elements
    assert travelled(array).tolist() == travelled(array, encode_dense).tolist() == elements


@given(
    SEEDS, st.integers(0, 5000), st.sampled_from([0, 0.001, 0.01, 0.2, 1]), st.sampled_from(["u1", "<i4", "<f4", "<f8"])
)
@settings(max_examples=200)
def test_what_a_near_peer_is_sent_survives(seed, size, density, dtype):
    rng = np.random.default_rng(seed)
    for top in (1, 5):
        array = np.asarray(rng.integers(0, top, size, endpoint=True) * (rng.random(size) < density), dtype)
        tensor, payload = encode("x", array, near=True)
        assert decode(tensor, bytes(payload)).tobytes() == array.tobytes()


@pytest.mark.parametrize(
    ("every", "far", "near"), [(10, "gaps8", "bitmap"), (100, "gaps8", "bitmap"), (1000, "gaps16", "gaps16")]
)
def test_a_near_peer_is_sent_a_list_only_of_what_is_almost_all_zero(every, far, near):
    spikes = (np.arange(100_000) % every == 0).astype(np.uint8)
    assert encode("x", spikes)[0].encoding == far
    assert encode("x", spikes, near=True)[0].encoding == near


def test_a_near_peer_is_sent_floats_as_they_are():
    array = np.eye(64, dtype=np.float32)
    assert encode("x", array)[0].encoding == "sparse8"
    assert encode("x", array, near=True)[0].encoding == "dense"


def test_strides_do_not_matter():
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)[:, ::2, ::-1]
    assert travelled(array).tolist() == travelled(array, encode_dense).tolist() == array.tolist()


@pytest.mark.parametrize("neurons", [1024, 4096, 65536])
def test_break_even_of_bitmap_and_address_list_is_at_one_over_log2(neurons):
    bits = math.log2(neurons)
    spikes = neurons * address_break_even(neurons)
    assert spikes * bits == pytest.approx(neurons)  # as many bits as the bitmap
    assert (spikes - 1) * bits < neurons < (spikes + 1) * bits


@pytest.mark.parametrize("neurons", [1024, 65536])
@pytest.mark.parametrize(("factor", "smaller"), [(0.9, "gaps8"), (1.15, "bitmap")])
def test_gaps_give_way_to_the_bitmap_at_one_spike_in_eight(neurons, factor, smaller):
    spikes = np.zeros(neurons, np.uint8)
    spikes[np.random.default_rng(1).permutation(neurons)[: int(neurons / 8 * factor)]] = 1
    tensor, payload = encode("x", spikes)
    assert tensor.encoding == smaller
    assert len(payload) <= neurons // 8


def test_gaps_are_no_longer_than_an_address_list_of_whole_bytes():
    spikes = np.zeros(65536, np.uint8)
    spikes[[3, 40_000, 65_535]] = 1
    tensor, payload = encode("x", spikes)
    assert (tensor.encoding, len(payload)) == ("gaps16", 3 * 2)


@pytest.mark.parametrize(
    ("array", "encoding", "size"),
    [
        (np.full(100, 7, np.int32), "narrow", 100),
        (np.full(100, 300, np.int32), "narrow", 200),
        (np.full(100, -3, np.int64), "narrow", 100),
        (np.linspace(-1, 1, 100, dtype=np.float32), "dense", 400),
        (np.eye(16, dtype=np.float32), "sparse8", 16 * 5),
        (np.eye(16, dtype=np.int32) * 9, "sparse8", 16 * 2),
        (np.full(100, 2, np.uint8), "dense", 100),
        (np.zeros((0, 3), np.float32), "dense", 0),
    ],
)
def test_smallest_encoding_is_chosen(array, encoding, size):
    tensor, payload = encode("x", array)
    assert (tensor.encoding, len(payload)) == (encoding, size)
    assert_bits(array)


def examples():
    rng = np.random.default_rng(5)
    blobs = np.empty(2, object)
    blobs[:] = [b"abc", b""]
    return {
        "dense": rng.random(9).astype(np.float32),
        "narrow": np.arange(9, dtype=np.int32),
        "bitmap": np.ones(9, np.uint8),
        "gaps8": (np.arange(900) % 90 == 3).astype(np.uint8),
        "gaps16": (np.arange(90_000) % 30_000 == 3).astype(np.uint8),
        "sparse8": (np.arange(900) % 90 == 3) * np.float32(1.5),
        "blobs": blobs,
    }


@pytest.mark.parametrize("encoding", examples())
def test_cut_off_payload_is_refused_at_every_length(encoding):
    tensor, payload = encode("x", examples()[encoding])
    assert tensor.encoding == encoding
    for length in range(len(payload)):
        with pytest.raises(UserError, match="damaged"):
            decode(tensor, bytes(payload)[:length])
        with pytest.raises(UserError, match="damaged"):
            decode(msgspec.structs.replace(tensor, bytes=length), bytes(payload)[:length])


@pytest.mark.parametrize("encoding", ["narrow", "sparse8"])
def test_objects_are_no_numbers_that_a_header_could_name(encoding):
    with pytest.raises(UserError, match="do not fit into object; the frame is damaged"):
        decode(Tensor("x", encoding, "O", (1,), 8, 1, "O"), bytes(8))


@given(
    st.sampled_from(sorted(examples())),
    st.binary(max_size=64),
    st.sampled_from(sorted(DTYPES)),
    st.lists(st.integers(-1, 40), max_size=3),
    st.integers(-2, 50),
    st.sampled_from(["", "u1", "i2", "f4", "O"]),
)
@settings(max_examples=400)
def test_arbitrary_headers_and_payloads_give_an_array_or_a_user_error(encoding, data, dtype, shape, count, values):
    tensor = Tensor("x", encoding, dtype, tuple(shape), len(data), count, values)
    try:
        array = decode(tensor, data)
    except UserError:
        return
    assert array.shape == tuple(shape)


@pytest.mark.parametrize("encoding", ["gaps8", "bitmap", "dense", "sparse8", "blobs"])
@pytest.mark.parametrize("shape", [(1 << 40, 1 << 20), (1 << 62, 0), (1 << 21,)])
def test_decoded_size_is_bounded_before_it_is_allocated(encoding, shape):
    tensor = Tensor("x", encoding, "u1", shape, 0)
    with pytest.raises(UserError, match="raise max_frame_bytes"):
        decode(tensor, b"", max_bytes=1 << 20)


def test_unknown_encoding_names_those_that_are_known():
    with pytest.raises(UserError, match=r"bitmap.*same version"):
        decode(Tensor("x", "zip", "u1", (1,), 1), b"1")


def test_unknown_dtype_is_refused_by_the_sender():
    with pytest.raises(UserError, match="does not travel"):
        encode("x", np.zeros(3, np.complex64))
