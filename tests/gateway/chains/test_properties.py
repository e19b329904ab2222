"""Random chains of functions give what the functions give one after the other, whatever runs at once."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

SIZES = st.integers(1, 7)


@st.composite
def chains(draw: st.DrawFn) -> list[tuple[int, ...]]:
    """For each step the steps that it reads, by their numbers, which are below its own; -1 is the request."""
    count = draw(SIZES)
    return [tuple(draw(st.lists(st.integers(-1, n - 1), min_size=1, max_size=3))) for n in range(count)]


def written(chain: list[tuple[int, ...]], order: list[int]) -> str:
    """The chain's file, its steps in some order: one that reads several takes their mean first."""
    places = {-1: "request.x"} | {n: f"s{n}" for n in range(len(chain))}
    text = '[inputs]\nx = { datatype = "FP32", shape = [2] }\n'
    for n in order:
        read = chain[n]
        source = places[read[0]]
        if len(read) > 1:
            inputs = ", ".join(f'i{k} = "{places[each]}"' for k, each in enumerate(read))
            text += f'[steps.m{n}]\nfunction = "mean"\ninputs = {{ {inputs} }}\n'
            source = f"m{n}"
        text += f'[steps.s{n}]\nmodel = "f{n}"\ninputs = {{ x = "{source}" }}\n'
    return text + "[outputs]\n" + "".join(f'y{n} = "s{n}"\n' for n in range(len(chain)))


def expected(chain: list[tuple[int, ...]], x: Any) -> dict[str, Any]:
    values = {-1: x}
    for n, read in enumerate(chain):
        total = np.zeros_like(x)
        for each in read:
            total = total + values[each]
        mean = total / np.float32(len(read)) if len(read) > 1 else values[read[0]]
        values[n] = mean * np.float32(n + 2) - np.float32(1)
    return {f"y{n}": values[n].tolist() for n in range(len(chain))}


@given(chain=chains(), seed=st.integers(0, 2**16), batch=st.integers(1, 3), data=st.data())
def test_a_chain_is_its_steps(desk: Any, doing: Any, chain: Any, seed: int, batch: int, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(chain))))
    x = np.random.default_rng(seed).normal(size=(batch, 2)).astype(np.float32)

    async def tell() -> None:
        models = {f"f{n}": doing(lambda x, n=n: x * np.float32(n + 2) - np.float32(1)) for n in range(len(chain))}
        there = desk(models, written(chain, list(order)))
        requests = [there.infer(x=x.tolist()) for _ in range(3)]
        assert await asyncio.gather(*requests) == [expected(chain, x)] * 3
        assert all(len(model.calls) == 3 for model in models.values())

    asyncio.run(tell())
