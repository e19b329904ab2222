"""A graph whose parameters a worker finds in a store is the same graph, and they are one copy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synfire.base.errors import PermanentError, SynfireError, UnknownName
from synfire.graph import Graph, Synapse
from synfire.ops import Clock, Kind, Signal
from synfire.ops.linear import Linear
from synfire.store import BlobStore, MirroredStore
from synfire.store.mapping import MAPPED_BYTES
from synfire.testing.graphs import random_graph
from synfire.wire.graphs import keep_graph, name_graph, pack_graph, refer_graph, unpack_graph


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> BlobStore:
    return MirroredStore(tmp_path_factory.mktemp("blobs"), lasting=False)


def large(seed: int = 0) -> Graph:
    rng = np.random.default_rng(seed)
    size = int(MAPPED_BYTES**0.5)
    return Graph(
        {"a": Linear(rng.normal(size=(size, size)), np.zeros(size))},
        (Synapse("x", "a"),),
        {"x": Signal((size,), Kind.VALUE, Clock.STEP)},
        {"a": "a"},
    )


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_a_graph_by_reference_is_the_graph(store: BlobStore, seed: int) -> None:
    graph = random_graph(seed)
    again = unpack_graph(refer_graph(graph, store))
    assert again.content_digest() == graph.content_digest()
    assert again.order() == graph.order()


def test_a_reference_holds_no_parameters(store: BlobStore) -> None:
    graph = large()
    assert len(refer_graph(graph, store)) < 4096 < graph.operator("a").parameter_bytes < len(pack_graph(graph))


def test_parameters_are_mapped_and_two_graphs_have_one_copy(tmp_path: Path) -> None:
    told = refer_graph(large(7), BlobStore(tmp_path))
    first, second = unpack_graph(told), unpack_graph(told)
    assert isinstance(first.operator("a"), Linear)
    assert first.operator("a").parameters()["weight"] is second.operator("a").parameters()["weight"]
    assert str(tmp_path) in Path("/proc/self/maps").read_text()


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_a_graph_that_was_sent_whole_once_is_known_by_name(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    graph = random_graph(seed)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SYNFIRE_CACHE", str(tmp_path_factory.mktemp("cache")))
        for packed in (keep_graph(graph), name_graph(graph)):
            again = unpack_graph(packed)
            assert again.content_digest() == graph.content_digest()
            assert again.order() == graph.order()


def test_what_was_not_kept_or_has_decayed_is_refused_until_it_is_sent_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path))
    graph = large(3)
    assert len(name_graph(graph)) < 4096
    with pytest.raises(UnknownName):
        unpack_graph(name_graph(graph))
    unpack_graph(keep_graph(graph))
    for file in tmp_path.glob("blobs/*/*"):
        file.chmod(0o644)
        file.write_bytes(b"decayed")
    with pytest.raises(PermanentError):
        unpack_graph(name_graph(graph))
    assert unpack_graph(keep_graph(graph)).content_digest() == graph.content_digest()
    assert unpack_graph(name_graph(graph)).content_digest() == graph.content_digest()


def test_a_reference_to_what_is_not_there_is_refused(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    told = refer_graph(large(8), store)
    for digest in list(store):
        store.delete(digest)
    with pytest.raises(UnknownName, match="import its model again"):
        unpack_graph(told)


def test_a_damaged_reference_is_refused_at_every_length(store: BlobStore) -> None:
    told = refer_graph(random_graph(1), store)
    for length in range(0, len(told), 5):
        with pytest.raises(SynfireError):
            unpack_graph(told[:length])
