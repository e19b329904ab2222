"""Operator images hold no place, survive storage, are made once, and know when a bit of them is wrong."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synfire.base.errors import PermanentError, UserError
from synfire.devices.darwin3.cache import ImageCache
from synfire.devices.darwin3.chip import Chip
from synfire.devices.darwin3.compile import Compiled, Options, compile_stage
from synfire.devices.darwin3.faults import Damage, Health, MemoryBit
from synfire.devices.darwin3.image import decode
from synfire.devices.darwin3.known import proven, wrong_pieces
from synfire.devices.darwin3.limits import chip
from synfire.devices.darwin3.link import link
from synfire.devices.darwin3.words import Memory
from synfire.graph import Graph, Synapse
from synfire.ops import Kind, Signal
from synfire.ops.conv2d import Conv2d
from synfire.ops.flatten import Flatten
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.store import BlobStore
from synfire.testing.darwin3_reference import random_stage

LIMITS = chip()


def small_stage(seed: int = 0, bias: float = 0.2) -> Graph:
    rng = np.random.default_rng(seed)
    operators = {
        "conv": Conv2d(rng.normal(0, 0.4, (5, 2, 3, 3)), np.full(5, bias), padding=(1, 1, 1, 1)),
        "lif": LIF(),
        "flat": Flatten(),
        "fc": Linear(rng.normal(0, 0.3, (7, 80)), rng.normal(0, 0.1, 7)),
        "out": LIF(),
    }
    names = ["x", *operators]
    synapses = tuple(Synapse(a, b) for a, b in itertools.pairwise(names))
    return Graph(operators, synapses, {"x": Signal((2, 4, 4), Kind.SPIKE)}, {"y": "out"})


def loaded(compiled: Compiled) -> Chip:
    found = Chip(LIMITS)
    for write in compiled.linked.writes():
        found.configure(write.core, write.memory, write.address, write.words)
    return found


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_an_image_comes_back_from_its_bytes(seed: int) -> None:
    for image in compile_stage(random_stage(seed), LIMITS).images.values():
        image = proven(image, LIMITS)
        again = decode(image.encode(), LIMITS)
        assert again == image
        assert again.digest() == image.digest()


def test_images_are_the_same_wherever_they_are_linked() -> None:
    compiled = compile_stage(small_stage(), LIMITS)
    corner = {core for core in LIMITS.hosts() if core[0] < 12 and core[1] < 12}
    elsewhere = compile_stage(small_stage(), LIMITS, occupied=corner)
    assert not set(elsewhere.linked.places.values()) & set(compiled.linked.places.values())
    for name, image in compiled.images.items():
        assert elsewhere.images[name].digest() == image.digest()
    for piece, core in compiled.linked.places.items():
        here, there = compiled.linked.cores[core], elsewhere.linked.cores[elsewhere.linked.places[piece]]
        for memory in ("dendrite", "program", "register"):
            assert np.array_equal(getattr(here, memory), getattr(there, memory))


def test_an_image_knows_neither_its_name_nor_its_neighbours() -> None:
    graph = small_stage()
    renamed = Graph(
        {f"other.{name}": each for name, each in graph.operators.items()},
        tuple(
            Synapse(s.source if s.source == "x" else f"other.{s.source}", f"other.{s.target}") for s in graph.synapses
        ),
        graph.inputs,
        {"y": "other.out"},
    )
    digests = [[image.digest() for image in compile_stage(each, LIMITS).images.values()] for each in (graph, renamed)]
    assert digests[0] == digests[1]


@pytest.mark.parametrize("content", [b"", b"no image", b"\x80"])
def test_bytes_that_are_no_image_are_refused(content: bytes) -> None:
    with pytest.raises(PermanentError, match="compile the operator again"):
        decode(content)


def test_an_image_of_another_format_or_chip_is_refused() -> None:
    image = compile_stage(small_stage(), LIMITS).images["lif"]
    old = image.encode().replace(b"darwin3-image/2", b"darwin3-image/1")
    with pytest.raises(PermanentError, match=r"image/1', not .*compile it again"):
        decode(old)
    with pytest.raises(UserError, match="is for darwin3, not for other; compile it for this chip"):
        decode(image.encode(), replace(LIMITS, name="other"))
    compiled = compile_stage(small_stage(), LIMITS)
    with pytest.raises(UserError, match="is for darwin3, not for other"):
        link(compiled.linked.linkables, replace(LIMITS, name="other"))


def test_images_are_made_once_and_kept_by_what_they_are_made_from(tmp_path: Path) -> None:
    first = compile_stage(small_stage(), LIMITS, cache=ImageCache(BlobStore(tmp_path / "blobs")))
    later = ImageCache(BlobStore(tmp_path / "blobs"))
    again = compile_stage(small_stage(), LIMITS, cache=later)
    assert again.images == first.images
    stored = sorted((tmp_path / "darwin3-images").iterdir())
    assert len(stored) == 2
    compile_stage(small_stage(bias=0.3), LIMITS, cache=later)
    assert (
        len(sorted((tmp_path / "darwin3-images").iterdir())) == 3
    )  # another bias: one operator is new, the other is not
    compile_stage(small_stage(), LIMITS, Options(bits=4), cache=later)
    assert len(sorted((tmp_path / "darwin3-images").iterdir())) == 5


def test_a_damaged_image_in_the_store_is_made_again(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "blobs")
    first = compile_stage(small_stage(), LIMITS, cache=ImageCache(store))
    for blob in (path for path in store.root.rglob("*") if path.is_file()):
        blob.write_bytes(b"damaged")
    assert compile_stage(small_stage(), LIMITS, cache=ImageCache(store)).images == first.images
    for damage in (b"../../etc", b"\xff\xfe"):
        for line in (tmp_path / "darwin3-images").iterdir():
            line.write_bytes(damage)
        assert compile_stage(small_stage(), LIMITS, cache=ImageCache(store)).images == first.images


def test_a_damaged_image_gives_its_place_in_the_store_to_a_good_one(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "blobs")
    compile_stage(small_stage(), LIMITS, cache=ImageCache(store))
    blobs = sorted(path for path in store.root.rglob("*") if path.is_file())
    sound = [blob.read_bytes() for blob in blobs]
    for blob in blobs:
        blob.write_bytes(b"damaged")
    compile_stage(small_stage(), LIMITS, cache=ImageCache(store))
    assert [blob.read_bytes() for blob in blobs] == sound


def test_an_image_that_cannot_be_kept_is_made_all_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "blobs").write_text("no folder")
    first = compile_stage(small_stage(), LIMITS, cache=ImageCache(BlobStore(tmp_path / "blobs")))
    assert first.images == compile_stage(small_stage(), LIMITS, cache=ImageCache()).images
    assert "cannot be kept" in caplog.text


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_healthy_chip_gives_every_known_answer(seed: int) -> None:
    compiled = compile_stage(random_stage(seed), LIMITS, cache=ImageCache())
    running = loaded(compiled)
    assert [wrong_pieces(running, compiled.linked, name) for name in compiled.images] == [[] for _ in compiled.images]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_flipped_or_stuck_bit_of_a_weight_is_found(data: st.DataObject) -> None:
    compiled = compile_stage(small_stage(), LIMITS, cache=ImageCache())
    name, core = data.draw(
        st.sampled_from([("lif", compiled.linked.places["lif", 0]), ("out", compiled.linked.places["out", 0])])
    )
    image, running = compiled.images[name], loaded(compiled)
    first = {"lif": 2 + 1 + 3, "out": 1 + 1}[name]  # behind the heads and the kernel's geometry
    address = data.draw(st.integers(first, image.pieces[0].dendrite_words - 1))
    bit = data.draw(st.integers(40, 47))  # of a word's first weight; the last places may be padding
    before = int(running.read(core, Memory.DENDRITE, address, 1)[0]) >> bit & 1
    damage = data.draw(st.sampled_from([Damage.FLIPPED, Damage.STUCK_AT_0 if before else Damage.STUCK_AT_1]))
    running.inject(MemoryBit(core, address, bit, damage))
    other = {"lif": "out", "out": "lif"}[name]
    assert wrong_pieces(running, compiled.linked, name) == [(name, 0)]
    assert wrong_pieces(running, compiled.linked, other) == []


def test_an_unproven_image_cannot_be_tested() -> None:
    compiled = compile_stage(small_stage(), LIMITS)
    with pytest.raises(UserError, match="no known answer; compile it with an ImageCache"):
        wrong_pieces(loaded(compiled), compiled.linked, "lif")


def test_known_answers_hold_where_an_operator_moved_to() -> None:
    compiled = compile_stage(small_stage(), LIMITS, cache=ImageCache())
    core = compiled.linked.places["lif", 0]
    again = link(compiled.linked.linkables, LIMITS, Health(dead_cores=(core,)), compiled.linked)
    assert again.places["out", 0] == compiled.linked.places["out", 0]
    assert again.places["lif", 0] != core
    running = Chip(LIMITS)
    for write in again.writes():
        running.configure(write.core, write.memory, write.address, write.words)
    assert [wrong_pieces(running, again, name) for name in ("lif", "out")] == [[], []]
