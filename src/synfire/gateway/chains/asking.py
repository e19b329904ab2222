"""How a step asks for what it says: a model with arrays, a language model with words, or a function."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import msgspec
import numpy as np

from synfire.base.clock import Clock
from synfire.base.errors import DeadlineExceeded
from synfire.chains import Joined, Step
from synfire.chains.chain import Ask, Leaf
from synfire.chains.functions import texts
from synfire.chains.joints import TEXT, VECTOR, named
from synfire.chains.templates import filled
from synfire.gateway.call import Call
from synfire.gateway.chains.begun import Begun
from synfire.gateway.chains.layout import Arrays
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.language.asking import of_chat, of_text
from synfire.gateway.language.bodies import ChatBody, CompletionBody, read_body
from synfire.gateway.model import Model
from synfire.gateway.request import Answer, Request
from synfire.ops.language_model import Generation, Piece, as_array, read_pieces


@dataclass(frozen=True)
class Asking:
    """Asks on behalf of one `call` of a chain. `sample` says for which of its samples, where these go one by one."""

    plane: DataPlane
    joined: Joined
    call: Call
    clock: Clock
    begun: Begun
    sample: int = 0

    @property
    def left_s(self) -> float:
        """How long the call may still take."""
        return (self.call.deadline_s or 0.0) - self.clock.now_s()

    async def whole(self, step: Step, leaf: Leaf, inputs: Arrays, attempt: int = 0) -> Arrays:
        """What the leaf gives for these inputs. Raises what its call raises."""
        if not isinstance(leaf, Ask):
            return self._named(step, {"": leaf.function(inputs)})
        model = await self._model(step, leaf)
        answer = await self.plane.infer(self._request(step, leaf, model, inputs, attempt))
        return self._named(step, _told(leaf, model, answer, read_answer(answer) if leaf.templates else ()))

    async def parts(self, step: Step, leaf: Leaf, inputs: Arrays, attempt: int = 0) -> AsyncGenerator[Answer, None]:
        """The same as it forms. A text so far is all of it so far."""
        if not isinstance(leaf, Ask):
            yield Answer("", "", "", await self.whole(step, leaf, inputs))
            return
        model = await self._model(step, leaf)
        pieces: list[Piece] = []
        async with aclosing(self.plane.stream(self._request(step, leaf, model, inputs, attempt))) as answers:
            async for answer in answers:
                pieces += read_answer(answer) if leaf.templates else ()
                yield msgspec.structs.replace(answer, outputs=self._named(step, _told(leaf, model, answer, pieces)))

    def _request(self, step: Step, leaf: Ask, model: Model, inputs: Arrays, attempt: int) -> Request:
        given = self._worded(leaf, model, inputs) if leaf.templates else _seen_by(model, inputs)
        keeps = bool(self.call.session) and not model.route.graph.whole
        where = f"{step.name}.{leaf.model}"
        return Request(
            model.name,
            given,
            model.version,
            id=f"{self.call.id}.{step.name}" + f"-{self.sample}" * bool(self.sample) + f"~{attempt}" * bool(attempt),
            session=self._session(step, leaf) if keeps else "",
            start=keeps and self.begun.begins(self.call, where),
            end=keeps and self.call.end,
            timeout_s=self._timeout_s(step),
            part_steps=self.call.part_steps,
            within=True,
            side=model.side,
        )

    async def _model(self, step: Step, leaf: Ask) -> Model:
        """The model that is asked: of a name that answers by a rule, the same one for all steps and tries of a call, or of a session."""
        return await self.plane.called(leaf.model, "", self.call.id, self._session(step, leaf))

    def _session(self, step: Step, leaf: Ask) -> str:
        """What the step's part of the call's session is called."""
        return f"{self.call.session}/{self.call.model}.{step.name}.{leaf.model}" if self.call.session else ""

    def _timeout_s(self, step: Step) -> float:
        left_s = self.left_s
        if left_s <= 0:
            raise DeadlineExceeded("the request's deadline has passed before it; allow the chain more time")
        return left_s if step.timeout_s is None else min(step.timeout_s, left_s)

    def _worded(self, leaf: Ask, model: Model, inputs: Arrays) -> Arrays:
        (name,) = model.route.graph.inputs
        return {name: as_array(generation(leaf, model, inputs), 1)}

    def _named(self, step: Step, outputs: Arrays) -> Arrays:
        """Outputs by the step's names for them: an only one is the only one, whatever its model calls it."""
        names = self.joined.gives[step.name]
        return dict(zip(names, outputs.values(), strict=True)) if len(names) == len(outputs) == 1 else outputs


def generation(leaf: Ask, model: Model, inputs: Arrays) -> Generation:
    """What a language model is asked. Raises `UserError` for options that it has not, and for a chat with a model that has none."""
    if leaf.embed:
        return Generation(filled(leaf.embed, inputs), task="embed")
    if leaf.prompt:
        fields = {"model": model.name, "prompt": filled(leaf.prompt, inputs), **leaf.options}
        return of_text(model, read_body(msgspec.json.encode(fields), CompletionBody)).wanted[0]
    messages = [{"role": turn.role, "content": filled(turn.content, inputs)} for turn in leaf.chat]
    fields = {"model": model.name, "messages": messages, **leaf.options}
    return of_chat(model, read_body(msgspec.json.encode(fields), ChatBody)).wanted[0]


def read_answer(answer: Answer) -> Sequence[Piece]:
    """The pieces of a language model's answer."""
    return [piece for array in answer.outputs.values() for piece in read_pieces(array)]


def _told(leaf: Ask, model: Model, answer: Answer, pieces: Sequence[Piece]) -> Arrays:
    """The outputs for one more step: of a language model, what its pieces say."""
    if leaf.embed:
        return {VECTOR: np.concatenate([np.frombuffer(piece.vector, "<f4") for piece in pieces])[None]}
    if leaf.templates:
        return {TEXT: texts("".join(piece.text for piece in pieces))}
    if model.route.graph.batches:
        return answer.outputs
    return {name: array[None] for name, array in answer.outputs.items()}


def _seen_by(model: Model, inputs: Arrays) -> Arrays:
    """Inputs by the model's names, and without the axis of samples where it has none."""
    graph = model.route.graph
    given = named(inputs, graph)
    return given if graph.batches else {name: array.reshape(array.shape[1:]) for name, array in given.items()}
