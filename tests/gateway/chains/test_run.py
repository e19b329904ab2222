"""Chains at work: what runs, in which order, and what comes out."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from synfire.base.errors import UserError

SEQUENCE = """
[steps.double]
model = "double"
inputs = { x = "request.x" }
[steps.more]
model = "more"
inputs = { x = "double" }
[outputs]
y = "more.y"
doubled = "double"
"""


def call(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


def test_a_step_takes_what_the_one_before_gives(desk: Any, doing: Any) -> None:
    async def tell() -> None:
        there = desk({"double": doing(lambda x: x * 2), "more": doing(lambda x: x + 1)}, SEQUENCE)
        assert await there.infer(x=[[1, 2], [3, 4]]) == {"y": [[3, 5], [7, 9]], "doubled": [[2, 4], [6, 8]]}
        assert there.counts("double") == there.counts("more") == {"ok": 1}

    call(tell())


def test_requests_overlap_step_by_step(desk: Any, doing: Any) -> None:
    """While the second step of one request runs, the first of another one does."""

    async def tell() -> None:
        gate = asyncio.Event()
        double, more = doing(lambda x: x * 2), doing(gate=gate)
        there = desk({"double": double, "more": more}, SEQUENCE)
        asking = [asyncio.create_task(there.infer(x=[[n, n]])) for n in range(3)]
        while more.running < 3:
            await asyncio.sleep(0)
        assert len(double.calls) == 3
        gate.set()
        assert [each["y"] for each in await asyncio.gather(*asking)] == [[[2 * n, 2 * n]] for n in range(3)]

    call(tell())


BRANCHES = """
[steps.left]
model = "left"
inputs = { x = "request.x" }
[steps.right]
model = "right"
inputs = { x = "request.x" }
[steps.both]
function = "mean"
inputs = { a = "left", b = "right" }
[outputs]
y = "both"
"""


def test_steps_that_do_not_wait_for_each_other_run_at_once(desk: Any, doing: Any) -> None:
    async def tell() -> None:
        gate = asyncio.Event()
        left, right = doing(gate=gate), doing(lambda x: x * 3, gate=gate)
        there = desk({"left": left, "right": right}, BRANCHES)
        asking = asyncio.create_task(there.infer(x=[[1, 2]]))
        while not (left.running and right.running):
            await asyncio.sleep(0)
        gate.set()
        assert await asking == {"y": [[2, 4]]}

    call(tell())


SWITCH = """
[steps.where]
function = "argmax"
inputs = { x = "request.x" }
[steps.way]
switch = [{ when = "where == 0", model = "first" }, { when = "where == 1 and request.x[1] < 9", model = "second" }]
inputs = { x = "request.x" }
[steps.rest]
model = "rest"
when = "request.x[1] >= 9"
inputs = { x = "request.x" }
[outputs]
y = "way | rest"
"""


@pytest.mark.parametrize(("x", "y", "left"), [([2, 1], [2, 1], "second rest"), ([1, 2], [-1, -2], "first rest"), ([1, 9], [0, 0], "first second")])  # fmt: skip
def test_a_switch_takes_the_first_way_that_holds(desk: Any, doing: Any, x: Any, y: Any, left: str) -> None:
    async def tell() -> None:
        models = {"first": doing(), "second": doing(np.negative), "rest": doing(np.zeros_like)}
        there = desk(models, SWITCH)
        assert await there.infer(x=[x]) == {"y": [y]}
        assert not any(models[name].calls for name in left.split())

    call(tell())


def test_samples_of_one_request_go_their_own_ways(desk: Any, doing: Any) -> None:
    async def tell() -> None:
        there = desk({"first": doing(), "second": doing(np.negative), "rest": doing(np.zeros_like)}, SWITCH)
        assert await there.infer(x=[[2, 1], [1, 2], [1, 9]]) == {"y": [[2, 1], [-1, -2], [0, 0]]}
        assert there.counts("way") == {"ok": 2, "skipped": 1}

    call(tell())


SKIPPED = """
[steps.maybe]
model = "m"
when = "request.x[0] > 0"
inputs = { x = "request.x" }
[steps.after]
model = "m"
inputs = { x = "maybe" }
[steps.anyway]
model = "m"
inputs = { x = "request.x" }
when = "not maybe[0] == 7"
[outputs]
y = "after"
x = "request.x"
z = "anyway"
"""


def test_what_reads_a_skipped_step_is_skipped_and_its_output_left_out(desk: Any, doing: Any) -> None:
    async def tell() -> None:
        there = desk({"m": doing()}, SKIPPED)
        assert await there.infer(x=[[1, 0]]) == {"y": [[1, 0]], "x": [[1, 0]], "z": [[1, 0]]}
        assert await there.infer(x=[[-1, 0]]) == {"x": [[-1, 0]]}
        assert there.counts("after") == {"ok": 1, "skipped": 1}

    call(tell())


SPLIT = """
[steps.way]
split = [{ weight = 3, model = "often" }, { weight = 1, model = "rarely" }]
inputs = { x = "request.x" }
[outputs]
y = "way"
"""


def test_a_split_shares_requests_out_and_is_the_same_for_one_id(desk: Any, doing: Any) -> None:
    async def tell() -> None:
        often, rarely = doing(), doing()
        there = desk({"often": often, "rarely": rarely}, SPLIT)
        for number in range(400):
            await there.infer(x=[[1, 2]], options={"id": f"request {number}"})
        assert 270 < len(often.calls) < 330
        before = len(often.calls)
        for _ in range(20):
            await there.infer(x=[[1, 2]], options={"id": "mine"})
        assert len(often.calls) - before in (0, 20)

    call(tell())


VOTE = """
[steps.vote]
ensemble = ["one", "two", "three"]
vote = "VOTE"
inputs = { x = "request.x" }
[outputs]
y = "vote"
"""


@pytest.mark.parametrize(("vote", "y"), [("mean", [[6.5 / 3, 3.5 / 3]]), ("majority", [0])])
def test_an_ensemble_votes(desk: Any, doing: Any, vote: str, y: Any) -> None:
    async def tell() -> None:
        models = {"one": doing(), "two": doing(lambda x: x * 2), "three": doing(lambda x: x[:, ::-1])}
        there = desk(models, VOTE.replace("VOTE", vote))
        answer = await there.infer(x=[[2, 0.5]])
        assert np.allclose(answer["y"], y)

    call(tell())


def test_a_chain_of_constants_takes_nothing(desk: Any, doing: Any) -> None:
    chain = """
    [steps.a]
    model = "m"
    inputs = { x = { value = [[0.5, 2.0]] } }
    [steps.b]
    model = "m"
    inputs = { x = { value = [0.5, 2.0] } }
    [outputs]
    y = "b"
    """

    async def tell() -> None:
        models = {"m": doing(lambda x: x * 2)}
        with pytest.raises(UserError, match=r"step 'a' \(model 'm'\), input 'x': value 1×2 per request arrives"):
            desk(models, chain)
        assert await desk(models, chain.replace("[[0.5, 2.0]]", "[1, 2]")).infer() == {"y": [[1.0, 4.0]]}

    call(tell())
