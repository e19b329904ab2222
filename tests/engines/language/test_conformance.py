"""Every engine for language models keeps the promises of its contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from synfire.engines import ENGINES
from synfire.engines.streaming import StreamingProgram
from synfire.formats import load
from synfire.plan.plan import stage_graph
from synfire.testing.language_engines import CHECKS, gives_vectors
from synfire.testing.language_models import write_tiny_language_model


@pytest.mark.parametrize("check", CHECKS)
def test_llama_cpp_conforms(check: str, program: StreamingProgram) -> None:
    CHECKS[check](program)


@pytest.mark.parametrize("pooling", [1, 3])
def test_llama_cpp_gives_vectors(pooling: int, tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp", reason="needs the extra `llama`")
    path = write_tiny_language_model(tmp_path / "tiny.gguf", more={"llama.pooling_type": pooling})
    graph = load(path, streams=3)
    program = ENGINES["llama.cpp"].installed().build(stage_graph(graph, graph.order()))
    assert isinstance(program, StreamingProgram)
    try:
        gives_vectors(program)
    finally:
        program.rest()
