"""The citation model serves a graph that is the caller's: as trained on the whole graph, and as docs/data.md shows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from synfire import zoo
from synfire.base import paths
from synfire.base.errors import UserError
from synfire.cli import main
from synfire.ops.graph_aggregation import GraphAggregation
from synfire.ops.neighbourhood_aggregation import NeighbourhoodAggregation

PAGE = Path(__file__).resolve().parents[2] / "docs" / "data.md"


@pytest.fixture
def citations() -> Path:
    try:
        folder = paths.data() / "citation-graphs"
    except UserError as error:
        pytest.skip(str(error))
    if not (folder / "cora.npz").exists():
        pytest.skip(f"there is no cora.npz in {folder}; docs/data.md says where to get it")
    return folder


@pytest.mark.slow
def test_every_paper_has_the_bits_of_the_whole_citation_graph(citations: Path) -> None:
    stored = np.load(citations / "cora.npz")
    x, edges = stored["x"], stored["edge_index"]
    (whole,) = GraphAggregation.from_edges(edges, len(x), hops=2, clip=True).apply(x[None])
    aggregation = NeighbourhoodAggregation(hops=2, clip=True)
    for node in range(len(x)):
        alone = zoo.neighbourhood(x, edges, node)
        y = aggregation.aggregate(alone["features"], alone["edges"], alone["degrees"])
        assert y.tobytes() == whole[node].tobytes(), node


def test_the_documented_request_is_answered_as_documented(
    citations: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = PAGE.read_text()
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    ((command, said),) = re.findall(r"`synfire (.*?)` then says `(.*?)`", text)
    (tmp_path / "citation-graphs").symlink_to(citations)
    monkeypatch.chdir(tmp_path)
    exec(compile(block, str(PAGE), "exec"), {})
    with pytest.raises(SystemExit):
        main([*command.split(), "--json"])
    assert json.loads(capsys.readouterr().out)["label"] == said
