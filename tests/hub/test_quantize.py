"""A model of the store is made of fewer bits, with all that its Modelfile says; llama.cpp runs it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from synfire.base.errors import UserError
from synfire.engines import ENGINES
from synfire.formats.modelfile import parse_modelfile
from synfire.graph import Graph
from synfire.hub.create import create
from synfire.hub.files import stored
from synfire.hub.pull import pull
from synfire.hub.quantize import quantize
from synfire.hub.source import Into
from synfire.ops.language_model import Generation, as_array, read_pieces
from synfire.plan.plan import stage_graph
from synfire.store import ModelName
from synfire.testing.language_models import write_tiny_language_model
from synfire.testing.weights import write_folder
from synfire.zoo import find


def test_what_a_modelfile_says_goes_with_the_weights(tmp_path: Path, into: Into) -> None:
    write_tiny_language_model(tmp_path / "tiny.gguf")
    create(ModelName("bard"), parse_modelfile("FROM tiny.gguf\nSYSTEM Be brief."), tmp_path, into)
    made = quantize("bard", ModelName("bard", "q4"), "Q4_0", into)
    before, after = stored(ModelName("bard"), into.store), stored(made.name, into.store)
    assert (after.system, after.described.file_type) == ("Be brief.", "Q4_0")
    assert after.manifest.size < 0.5 * before.manifest.size
    after.verify()
    assert quantize("bard", ModelName("again"), "Q4_0", into).manifest == made.manifest


def test_a_directory_is_refused_with_the_way(tmp_path: Path, into: Into) -> None:
    pull(str(write_folder(tmp_path / "base")), into)
    with pytest.raises(UserError, match=r"no model in a GGUF file; convert it"):
        quantize("base", ModelName("q8"), "Q8_0", into)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["F16", "Q8_0", "Q5_0", "Q4_0"])
def test_llama_cpp_runs_what_was_made(tmp_path: Path, into: Into, precision: str) -> None:
    pytest.importorskip("xllamacpp", reason="needs the extra `llama`")
    pull(str(write_tiny_language_model(tmp_path / "tiny.gguf")), into)
    quantize("tiny", ModelName("fewer"), precision, into)
    exact, fewer = (scores(find(name).graph) for name in ("tiny", "fewer"))
    assert np.abs(exact - fewer).max() < {"F16": 0.01, "Q8_0": 0.1}.get(precision, 2.0)


def scores(graph: Graph) -> np.ndarray:
    """The log-probabilities of the first tokens of a greedy answer."""
    program = ENGINES["llama.cpp"].installed().build(stage_graph(graph, graph.order()))
    wanted = Generation("the king", max_tokens=1, temperature=0, logprobs=1, ignore_eos=True)
    (name,), (output,) = graph.inputs, program.outputs
    try:
        _, found = program.run({}, {name: as_array(wanted, 1)}, 1)
    finally:
        program.rest()
    return np.array([each.logprob for piece in read_pieces(found[output]) for each in piece.scores])
