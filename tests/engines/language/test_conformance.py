"""Every engine for language models keeps the promises of its contract."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from synfire.engines import ENGINES
from synfire.engines.streaming import StreamingProgram
from synfire.formats import load
from synfire.ops.language_model import Generation
from synfire.plan.plan import stage_graph
from synfire.testing.language_engines import CHECKS, answer, gives_vectors, text_of
from synfire.testing.language_models import write_tiny_language_model


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
def test_llama_cpp_conforms(check: str, program: StreamingProgram) -> None:
    CHECKS[check](program)


@pytest.mark.slow
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


def test_llama_cpp_shows_the_special_tokens_that_are_asked_for(program: StreamingProgram) -> None:
    begins = Generation("the king", 3, 0.0, logit_bias={1: 100.0}, ignore_eos=True)
    assert "<s>" not in text_of(answer(program, begins))
    assert text_of(answer(program, msgspec.structs.replace(begins, shown=("<s>",)))) == "<s><s><s>"
