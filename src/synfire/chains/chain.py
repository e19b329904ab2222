"""A chain as frozen data: its steps, what each does, and where each takes its inputs from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from synfire.chains.functions import Function, Text

REQUEST = "request"
"""What sources call the request, as if it were a step."""

OUTPUTS = "outputs"
"""What pictures call the place where an output is chosen; no step is called so."""


class Place(msgspec.Struct, frozen=True, array_like=True):
    """An output of a step, or an input of the request. An `output` left empty is the only one that the step has."""

    step: str
    output: str = ""

    def __str__(self) -> str:
        return f"{self.step}.{self.output}" if self.output else self.step


class Source(msgspec.Struct, frozen=True):
    """Where a value comes from: the first of these `places` whose step was not skipped, or a constant `value`."""

    places: tuple[Place, ...] = ()
    value: Any = None

    def __str__(self) -> str:
        return " | ".join(map(str, self.places)) if self.places else repr(self.value)


class Turn(msgspec.Struct, frozen=True):
    """One message of a chat; its `content` is a template over the step's inputs."""

    role: Literal["system", "user", "assistant"]
    content: str


class Ask(msgspec.Struct, frozen=True, tag="model", omit_defaults=True):
    """A call of a served model, by its name.

    Of a language model: with a `prompt` to go on from, or a `chat`, both templates over the step's inputs, and `options` as OpenAI's API
    calls them; or a text to `embed`. Of any other model: with the step's inputs, by the names that the model has for them.
    """

    model: str
    prompt: str = ""
    chat: tuple[Turn, ...] = ()
    embed: str = ""
    options: dict[str, Any] = {}

    @property
    def templates(self) -> tuple[str, ...]:
        """The templates over the step's inputs; none for a model that takes these as they are."""
        return tuple(each for each in (self.prompt, self.embed, *(turn.content for turn in self.chat)) if each)

    def __str__(self) -> str:
        return self.model


class Compute(msgspec.Struct, frozen=True, tag="function"):
    """A function of the step's inputs, computed by the gateway: small things that stand between models."""

    function: Function

    def __str__(self) -> str:
        return f'"{self.function.text}"' if isinstance(self.function, Text) else self.function.name


Leaf = Ask | Compute


class Case(msgspec.Struct, frozen=True):
    """One way of a switch, taken where the condition holds; an empty one always does."""

    does: Leaf
    when: str = ""


class Switch(msgspec.Struct, frozen=True, tag="switch"):
    """The first of some ways whose condition holds; where none does the step is skipped."""

    cases: tuple[Case, ...]

    def __str__(self) -> str:
        return "switch: " + ", ".join(
            f"{each.does} if {each.when}" if each.when else str(each.does) for each in self.cases
        )


class Share(msgspec.Struct, frozen=True):
    """One way of a split, and its weight among them."""

    does: Leaf
    weight: float


class Split(msgspec.Struct, frozen=True, tag="split"):
    """One of some ways, each taken by a share of the requests. Requests of one session, or of one id, take the same."""

    shares: tuple[Share, ...]

    def __str__(self) -> str:
        whole = sum(each.weight for each in self.shares)
        return "split: " + ", ".join(f"{each.does} {each.weight / whole:.0%}" for each in self.shares)


class Ensemble(msgspec.Struct, frozen=True, tag="ensemble"):
    """Several models asked the same at the same time, and one answer made of theirs: their `mean`, or what the `majority` says.

    With a `quorum`, so many answers suffice; else each is needed.
    """

    members: tuple[Leaf, ...]
    vote: Literal["mean", "majority"]
    quorum: int | None = None

    def __str__(self) -> str:
        return f"{self.vote} of " + ", ".join(map(str, self.members))


Does = Ask | Compute | Switch | Split | Ensemble


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step: what it does, with which inputs, and `when`; then for how long at most, and how often again where that may help."""

    name: str
    does: Does
    inputs: dict[str, Source] = {}
    when: str = ""
    timeout_s: float | None = None
    retries: int = 0

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """All that it may do."""
        does = self.does
        if isinstance(does, Switch):
            return tuple(each.does for each in does.cases)
        if isinstance(does, Split):
            return tuple(each.does for each in does.shares)
        return does.members if isinstance(does, Ensemble) else (does,)

    @property
    def conditions(self) -> tuple[str, ...]:
        """The conditions that it asks for."""
        cases = self.does.cases if isinstance(self.does, Switch) else ()
        return tuple(each for each in (self.when, *(case.when for case in cases)) if each)

    @property
    def models(self) -> tuple[str, ...]:
        """The models that it may call."""
        return tuple(each.model for each in self.leaves if isinstance(each, Ask))


class Chain(msgspec.Struct, frozen=True, kw_only=True):
    """A chain: its `steps`, in the order of the file; `outputs`, by name, from these; and `models` that it brings, by the names that
    steps call them, as references.

    `inputs` say the type of what nobody but templates and conditions reads, as the datatype of the Open Inference Protocol and a shape.
    """

    name: str
    steps: tuple[Step, ...]
    outputs: dict[str, Source]
    models: dict[str, str] = {}
    inputs: dict[str, tuple[str, tuple[int, ...]]] = {}
    description: str = ""

    def step(self, name: str) -> Step:
        """The step of that name."""
        return next(each for each in self.steps if each.name == name)

    @property
    def called(self) -> tuple[str, ...]:
        """The models that its steps may call, each once."""
        return tuple(dict.fromkeys(name for step in self.steps for name in step.models))

    def sources(self) -> Iterator[tuple[str, Source]]:
        """Every source, with where it stands, in words."""
        for step in self.steps:
            yield from ((f"step {step.name!r}, input {name!r}", source) for name, source in step.inputs.items())
        yield from ((f"output {name!r}", source) for name, source in self.outputs.items())
