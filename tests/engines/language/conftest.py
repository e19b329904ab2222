"""A tiny model on llama.cpp."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from synfire.engines import ENGINES
from synfire.engines.streaming import StreamingProgram
from synfire.formats import load
from synfire.graph import Graph
from synfire.plan.plan import stage_graph
from synfire.testing.language_models import write_tiny_language_model


@pytest.fixture(scope="session", autouse=True)
def notes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where files of weights lie is noted for these tests alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYNFIRE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model's file."""
    return write_tiny_language_model(tmp_path_factory.mktemp("models") / "tiny.gguf")


@pytest.fixture(scope="session")
def graph(tiny: Path) -> Graph:
    return load(tiny, streams=3)


@pytest.fixture(scope="module")
def program(graph: Graph) -> Iterator[StreamingProgram]:
    """The tiny model, as llama.cpp runs it."""
    pytest.importorskip("xllamacpp", reason="needs the extra `llama`")
    made = ENGINES["llama.cpp"].installed().build(stage_graph(graph, graph.order()))
    assert isinstance(made, StreamingProgram)
    yield made
    made.rest()
