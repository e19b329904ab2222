"""Several answers of one language model, side by side: each a call of its own, so each outlives workers by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from synfire.gateway.dataplane import DataPlane
from synfire.gateway.model import Model
from synfire.gateway.request import Request
from synfire.ops.language_model import Generation, Piece, as_array, read_pieces

Numbered = tuple[int, Piece]
"""A piece, and to which of the wanted answers it belongs."""


async def pieces(
    plane: DataPlane, model: Model, wanted: Sequence[Generation], timeout_s: float | None = None
) -> AsyncGenerator[Numbered, None]:
    """The pieces of all answers as they come, each with the number of its answer. Raises what any of them raises.

    Closing the iterator early cancels what is left.
    """
    if len(wanted) == 1:
        async with aclosing(_pieces(plane, model, wanted[0], timeout_s)) as only:
            async for piece in only:
                yield 0, piece
        return
    queue: asyncio.Queue[Numbered | Exception | None] = asyncio.Queue()
    tasks = [
        asyncio.create_task(_put(queue, number, _pieces(plane, model, each, timeout_s)))
        for number, each in enumerate(wanted)
    ]
    try:
        left = len(tasks)
        while left:
            found = await queue.get()
            if isinstance(found, Exception):
                raise found
            if found is None:
                left -= 1
            else:
                yield found
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def single(plane: DataPlane, model: Model, wanted: Generation, timeout_s: float | None = None) -> Piece:
    """The answer to a task that is answered by one piece. Raises what `pieces` does."""
    async with aclosing(pieces(plane, model, [wanted], timeout_s)) as given:
        (piece,) = [piece async for _, piece in given]
    return piece


async def _put(
    queue: asyncio.Queue[Numbered | Exception | None], number: int, given: AsyncGenerator[Piece, None]
) -> None:
    try:
        async with aclosing(given):
            async for piece in given:
                queue.put_nowait((number, piece))
        queue.put_nowait(None)
    except Exception as error:
        queue.put_nowait(error)


async def _pieces(
    plane: DataPlane, model: Model, wanted: Generation, timeout_s: float | None
) -> AsyncGenerator[Piece, None]:
    (name,) = model.route.graph.inputs
    request = Request(model.name, {name: as_array(wanted, 1)}, model.version, timeout_s=timeout_s, side=model.side)
    async with aclosing(plane.stream(request)) as answers:
        async for answer in answers:
            for array in answer.outputs.values():
                for piece in read_pieces(array):
                    yield piece
