"""A request of several ragged inputs, by every protocol, through the route of this process and through workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from synfire import zoo
from synfire.gateway.call import Call
from synfire.gateway.local import LocalRoute
from synfire.graph import flatten, reference
from synfire.graph.passes import simplify
from synfire.ops import Array
from synfire.testing.cluster import Cluster
from synfire.testing.graphs import random_plan

MODEL = "sgnn-cora"
GRAPH = simplify(flatten(zoo.load(MODEL)))
SAMPLE = zoo.sample(GRAPH)
LONE = {
    "features": SAMPLE["features"][:, :1],
    "edges": np.empty((1, 0, 2), np.int64),
    "degrees": np.zeros((1, 1), np.int64),
}
"""A paper that neither cites nor is cited."""


@pytest.fixture
def here(serving: Callable[..., Any]) -> Iterator[Any]:
    with closing(LocalRoute(GRAPH)) as route, serving({MODEL: route}) as running:
        yield running


def wanted(inputs: dict[str, Array]) -> Array:
    return reference.run(GRAPH, inputs)["output"]


def tensors(kind: type[Any], inputs: dict[str, Array], **options: Any) -> list[Any]:
    """The inputs as tritonclient sends them."""
    found = []
    for name, array in inputs.items():
        datatype = "INT64" if array.dtype == np.int64 else "FP32"
        found.append(kind(name, array.shape, datatype).set_data_from_numpy(array, **options))
    return found


@pytest.mark.parametrize("inputs", [SAMPLE, LONE], ids=["tree", "lone node"])
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_a_neighbourhood_arrives_whole_over_http(here: Any, inputs: dict[str, Array], binary: bool) -> None:
    with triton.InferenceServerClient(here.host_port) as client:
        answer = client.infer(MODEL, tensors(triton.InferInput, inputs, binary_data=binary))
    np.testing.assert_array_equal(answer.as_numpy("output"), wanted(inputs))


@pytest.mark.parametrize("inputs", [SAMPLE, LONE], ids=["tree", "lone node"])
def test_a_neighbourhood_arrives_whole_over_grpc(here: Any, inputs: dict[str, Array]) -> None:
    with triton_grpc.InferenceServerClient(here.addresses.grpc) as client:
        answer = client.infer(MODEL, tensors(triton_grpc.InferInput, inputs))
    np.testing.assert_array_equal(answer.as_numpy("output"), wanted(inputs))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"features": SAMPLE["features"][..., :9]}, "it takes [1, any, 1433]"),
        ({"edges": SAMPLE["edges"] + 1}, "the rows go from 0 to 9"),
        ({"degrees": SAMPLE["degrees"] + 1}, "send every node within 2 hops of row 0"),
        ({"features": SAMPLE["features"][:, :0], "degrees": SAMPLE["degrees"][:, :0]}, "the node asked for as row 0"),
        ({"features": np.repeat(SAMPLE["features"], 2, axis=0)}, "send each in a request of its own"),
    ],
)
def test_a_neighbourhood_that_does_not_fit_is_refused(here: Any, changes: dict[str, Array], said: str) -> None:
    with (
        triton.InferenceServerClient(here.host_port) as client,
        pytest.raises(InferenceServerException) as refused,
    ):
        client.infer(MODEL, tensors(triton.InferInput, {**SAMPLE, **changes}))
    assert refused.value.status() == "400"
    assert said in refused.value.message()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("inputs", [SAMPLE, LONE], ids=["tree", "lone node"])
def test_a_neighbourhood_arrives_whole_at_workers(inputs: dict[str, Array], seed: int) -> None:
    plan = random_plan(GRAPH, seed, model=MODEL, engine="cpu")

    async def answered() -> Array:
        async with Cluster({MODEL: (GRAPH, plan)}, seed, encode=True) as cluster:
            parts = [part async for part in cluster.routes[MODEL].answer(Call("a", MODEL, inputs))]
            return parts[-1].outputs["output"][-1]

    np.testing.assert_array_equal(asyncio.run(answered()), wanted(inputs))
