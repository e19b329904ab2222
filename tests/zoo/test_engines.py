"""The compiled engine gives the reference engine's bits for every shipped model, on real samples, in any blocks."""

from __future__ import annotations

import pytest

from synfire import zoo
from synfire.base.errors import UnknownName, UserError
from synfire.engines.cpu.engine import CpuEngine
from synfire.graph import Graph
from synfire.graph.passes import simplify
from synfire.ops import Array
from synfire.testing.engines import check_engine, check_states_merge
from synfire.testing.layerwise import observed
from synfire.testing.zoo import held_out, inputs_of

SAMPLES = 3


def served(name: str) -> Graph:
    """The model with every neuron layer's spikes as outputs."""
    return observed(simplify(zoo.load(name)))


def requests(name: str) -> dict[str, Array]:
    try:
        return inputs_of(zoo.load(name), held_out(zoo.card(name)["dataset"], SAMPLES)[0])
    except UnknownName:
        raise
    except UserError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", zoo.names())
def test_the_compiled_engine_gives_the_reference_engines_bits(name: str) -> None:
    graph = served(name)
    check_engine(CpuEngine(), graph, requests(name), graph.steps or 1, seed=len(name))


@pytest.mark.parametrize("name", zoo.names())
def test_requests_may_be_merged_and_split_between_any_two_steps(name: str) -> None:
    graph = served(name)
    check_states_merge(CpuEngine(), graph, requests(name), graph.steps or 1)
