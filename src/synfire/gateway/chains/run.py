"""One request on its way through a chain: steps run as soon as what they read is there, at the same time where they can."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from hashlib import blake2b
from typing import Any

import msgspec
import numpy as np

from synfire.chains import Joined, Step
from synfire.chains.chain import REQUEST, Ensemble, Leaf, Place, Share, Source, Split, Switch
from synfire.chains.conditions import holds
from synfire.chains.fitting import constant
from synfire.chains.ordering import needs
from synfire.gateway.chains.layout import Arrays
from synfire.gateway.chains.trying import Trying, together
from synfire.gateway.request import Answer
from synfire.ops import Array


class _Skipped(Exception):
    """A condition looks at a step that was skipped."""


class Run:
    """One request, or one sample of it, `tried` step by step. `inputs` are as callers see them."""

    def __init__(self, joined: Joined, trying: Trying, inputs: Arrays) -> None:
        self._joined = joined
        self._chain = joined.chain
        self._trying = trying
        self._batch = len(next(iter(inputs.values()), ((),)))
        self._values: dict[Place, Array] = {Place(REQUEST, name): array for name, array in inputs.items()}

    async def all(self, but: str = "") -> None:
        """Run every step `but` one. Raises the first error, named after its step, and cancels the others."""
        steps = [self._chain.step(name) for name in self._joined.order if name != but]
        if _follow_each_other(steps):
            for step in steps:
                await self._step(step)
            return
        done = {step.name: asyncio.Event() for step in steps}

        async def one(step: Step) -> None:
            for name in needs(step):
                await done[name].wait()
            await self._step(step)
            done[step.name].set()

        await together([one(step) for step in steps])

    def outputs(self) -> dict[str, Array]:
        """The chain's outputs so far; none of steps that were skipped."""
        found = {name: self._value(source) for name, source in self._chain.outputs.items()}
        return {name: array for name, array in found.items() if array is not None}

    async def parts(self) -> AsyncGenerator[Answer, None]:
        """The outputs while the step that streams gives its own. The others', which have run, are in the first part."""
        step = self._chain.step(self._joined.streams)
        early, way = self.outputs(), self._way(step)
        if way is None:
            yield Answer("", "", "", early)
            return
        (leaf, inputs), first = way, early
        async with aclosing(self._trying.parts(step, leaf, inputs)) as answers:
            async for answer in answers:
                self._keep(step, answer.outputs)
                later = {name: array for name, array in self.outputs().items() if name not in early}
                yield msgspec.structs.replace(answer, outputs={**first, **later})
                first = {}

    async def _step(self, step: Step) -> None:
        if isinstance(step.does, Ensemble):
            inputs = self._inputs(step)
            if inputs is None or not self._holds(step.when):
                self._trying.skip(step)
            else:
                self._keep(step, await self._trying.vote(step, step.does, inputs))
            return
        way = self._way(step)
        if way is not None:
            self._keep(step, await self._trying.whole(step, *way))

    def _way(self, step: Step) -> tuple[Leaf, Arrays] | None:
        """What the step does this time, and with what; None, and counted so, where it is skipped."""
        inputs = self._inputs(step)
        leaf = self._leaf(step) if inputs is not None and self._holds(step.when) else None
        if inputs is None or leaf is None:
            self._trying.skip(step)
            return None
        return leaf, inputs

    def _leaf(self, step: Step) -> Leaf | None:
        match step.does:
            case Switch(cases=cases):
                return next((case.does for case in cases if self._holds(case.when)), None)
            case Split(shares=shares):
                return self._shared(step, shares)
            case Ensemble():
                return None
            case leaf:
                return leaf

    def _shared(self, step: Step, shares: Sequence[Share]) -> Leaf:
        """The way of a split: the same for all requests of a session, or of an id."""
        key = f"{step.name} {self._trying.key}".encode()
        point = int.from_bytes(blake2b(key, digest_size=8).digest()) / 2**64 * sum(each.weight for each in shares)
        ends = itertools.accumulate(each.weight for each in shares)
        return next((each.does for each, end in zip(shares, ends, strict=True) if point < end), shares[-1].does)

    def _holds(self, condition: str) -> bool:
        """Whether a condition holds; one on a step that was skipped does not."""
        try:
            return holds(condition, self._look)
        except _Skipped:
            return False

    def _look(self, place: Place) -> Any:
        array = self._value(Source((place,)))
        if array is None:
            raise _Skipped
        plain = array[0].tolist() if isinstance(array[0], np.ndarray | np.generic) else array[0]
        return plain.decode(errors="replace") if isinstance(plain, bytes) else plain

    def _inputs(self, step: Step) -> Arrays | None:
        """The step's inputs; None where one would come from a step that was skipped."""
        found = {name: self._value(source) for name, source in step.inputs.items()}
        present = {name: array for name, array in found.items() if array is not None}
        return present if len(present) == len(found) else None

    def _value(self, source: Source) -> Array | None:
        if not source.places:
            return constant(source.value, self._batch)
        return next((self._values[each] for each in map(self._exact, source.places) if each in self._values), None)

    def _exact(self, place: Place) -> Place:
        """The place with its output named."""
        return place if place.output else Place(place.step, next(iter(self._joined.gives[place.step])))

    def _keep(self, step: Step, outputs: Arrays) -> None:
        for name, array in outputs.items():
            self._values[Place(step.name, name)] = array


def _follow_each_other(steps: Sequence[Step]) -> bool:
    """Whether each step reads the one before: there is nothing to do at the same time then."""
    return all(before.name in needs(step) for before, step in itertools.pairwise(steps))
