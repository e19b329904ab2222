"""The unit that synfire addresses, places, shares and replaces."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np

from synfire.base.errors import UserError
from synfire.base.registry import Registry
from synfire.ops.sharing import shared
from synfire.ops.signal import Array, Clock, Kind, Signal

State = dict[str, Array]
"""An operator's memory: named arrays whose first axis is the batch. Each sample's row depends on that sample alone."""

OPERATORS: Registry[type[Operator]] = Registry("operator kind", "synfire.ops", "synfire.operators")

C = TypeVar("C", bound="type[Operator]")


def operator(cls: C) -> C:
    """Class decorator: register an operator under its class name."""
    OPERATORS.add(cls.__name__, cls)
    return cls


@dataclasses.dataclass(frozen=True, eq=False)
class Operator(ABC):
    """Kind + attributes + parameters + state rule; a subclass is one file in `synfire.ops`.

    Its dataclass fields are told apart by type. A `float` or an array is a **parameter**: it belongs to the content,
    two operators that differ only there share code, kernel and spares. Anything else (`int`, `bool`, `str`, tuples)
    is an **attribute** and belongs to the structure. Arrays are float32 or int64 and are made read-only.

    The reference step is the meaning of the operator. Every exact engine gives its bits: sums run in ascending order
    of the input index (channels last for convolutions: kernel row, kernel column, channel), in float32, with products
    rounded before they are added.
    """

    inputs: ClassVar[int | None] = 1
    """How many synapses end here; None: two or more."""

    whole: ClassVar[bool] = False
    """Whether it is a whole model, which an engine of its own runs. It has no reference step."""

    open_ended: ClassVar[bool] = False
    """Whether it is one that makes time steps of a request, and only its engine finds out how many."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                object.__setattr__(self, field.name, _frozen_array(self.kind, field.name, value))
            elif isinstance(value, list):
                object.__setattr__(self, field.name, tuple(value))
        self.check()

    @property
    def kind(self) -> str:
        """The class name: what the registry and the bundle call it."""
        return type(self).__name__

    @property
    def ports(self) -> int | None:
        """How many synapses end here; `inputs`, but for kinds of which each operator says so for itself."""
        return self.inputs

    @property
    def batches(self) -> bool:
        """Whether it takes several samples at a time, along an axis ahead of their own. Else a request is one sample, and for callers
        its arrays have no such axis."""
        return True

    def check(self) -> None:  # noqa: B027  (most operators have nothing to refuse)
        """Raise `UserError` when fields contradict each other. The default accepts all."""

    @abstractmethod
    def infer(self, *inputs: Signal) -> Signal:
        """The shape rule: the output's signal for these inputs. Raises `UserError` for inputs that do not fit."""

    def initial_state(self, batch: int, *inputs: Signal) -> State:
        """The state before the first step of `batch` samples; `{}` for an operator without memory."""
        return {}

    @abstractmethod
    def step(self, state: State, *inputs: Array) -> tuple[State, Array]:
        """One time step: `(state, inputs) → (state, output)`. Pure: neither argument is changed.

        Arrays are `(batch, *signal.shape)` in the dtype of their signal's kind.
        """

    def attributes(self) -> dict[str, Any]:
        """The structural fields, ready for JSON."""
        return {name: value for name, value in self._fields() if not isinstance(value, (np.ndarray, float))}

    def parameters(self) -> dict[str, Array]:
        """The content: every array and float (as a float32 scalar array)."""
        found: dict[str, Array] = {}
        for name, value in self._fields():
            if isinstance(value, np.ndarray):
                found[name] = value
            elif isinstance(value, float):
                found[name] = np.asarray(value, np.float32)
        return found

    @property
    def parameter_bytes(self) -> int:
        return sum(array.nbytes for array in self.parameters().values())

    @property
    def file_digests(self) -> tuple[str, ...]:
        """The SHA-256 of files that whoever runs it has to have, beside its parameters, and that can be given to it."""
        return ()

    def structural_digest(self, *inputs: Signal) -> str:
        """SHA-256 over kind, attributes, parameter shapes and number formats, and input signals.

        Operators that agree here share code, compiled kernel and warm spares (sharing level 1).
        """
        shapes = {name: [str(array.dtype), list(array.shape)] for name, array in self.parameters().items()}
        signals = [[signal.shape, signal.kind, signal.clock] for signal in inputs]
        return _digest([self.kind, self.attributes(), shapes, signals])

    def content_digest(self) -> str:
        """SHA-256 over kind, attributes and every parameter's bytes (sharing level 2)."""
        arrays = {
            name: [
                str(array.dtype),
                list(array.shape),
                hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest(),
            ]
            for name, array in self.parameters().items()
        }
        return _digest([self.kind, self.attributes(), arrays])

    @classmethod
    def build(cls, attributes: Mapping[str, Any], parameters: Mapping[str, Array]) -> Operator:
        """The inverse of `attributes()` and `parameters()`. Raises `UserError` for unknown or missing fields."""
        fields = {field.name: field for field in dataclasses.fields(cls)}
        unknown = (set(attributes) | set(parameters)) - set(fields)
        if unknown:
            raise UserError(f"{cls.__name__} has no field {sorted(unknown)}; its fields are {sorted(fields)}")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in attributes.items()
        }
        for name, array in parameters.items():
            values[name] = array.item() if "float" in str(fields[name].type) and array.shape == () else array
        try:
            return cls(**values)
        except TypeError as error:
            raise UserError(f"{cls.__name__} cannot be built from {sorted(values)}: {error}") from error

    def _fields(self) -> list[tuple[str, Any]]:
        return [(field.name, getattr(self, field.name)) for field in dataclasses.fields(self)]


@dataclasses.dataclass(frozen=True, eq=False)
class Stateless(Operator):
    """An operator without memory: its output depends on this step's inputs alone."""

    def step(self, state: State, *inputs: Array) -> tuple[State, Array]:
        return {}, self.apply(*inputs)

    @abstractmethod
    def apply(self, *inputs: Array) -> Array:
        """The output for inputs `(batch, *signal.shape)`."""


@dataclasses.dataclass(frozen=True, eq=False)
class Encoder(Operator):
    """Turns one value per request into `steps` time steps. Its `step` is given the same value at each of them."""

    steps: int

    def check(self) -> None:
        if self.steps < 1:
            raise UserError(f"{self.kind}.steps is {self.steps}; a request needs at least one time step")


def stepwise(*inputs: Signal) -> Clock:
    """The output clock of an operator that is neither encoder nor readout.

    Raises `UserError` when a per-request signal meets a per-step one: an encoder is missing.
    """
    clocks = {signal.clock for signal in inputs}
    if len(clocks) > 1:
        raise UserError(
            f"inputs run on different clocks ({', '.join(sorted(clocks))}); put an encoder (per request → per step) or "
            "a readout (per step → running) on one of them"
        )
    return clocks.pop()


def as_value(array: Array) -> Array:
    """The array as float32, without a copy where it is that already."""
    return array.astype(np.float32, copy=False)


def require_kind(where: str, signal: Signal, *kinds: Kind) -> None:
    """Raise `UserError` unless the signal's numbers are of one of `kinds`."""
    if signal.kind not in kinds:
        raise UserError(f"{where} takes {' or '.join(kinds)} inputs, got {signal}")


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _frozen_array(kind: str, name: str, array: Array) -> Array:
    if array.dtype.kind == "f":
        array = array.astype(np.float32, copy=False)
        if not np.isfinite(array).all():
            raise UserError(f"{kind}.{name} holds NaN or infinity; train or export the model again")
    elif array.dtype.kind in "iu":
        array = array.astype(np.int64, copy=False)
    else:
        raise UserError(f"{kind}.{name} has dtype {array.dtype}; parameters are float32 or int64")
    array = np.ascontiguousarray(array) if array.ndim else array
    if array.flags.writeable:
        array = array.copy()
        array.flags.writeable = False
    return shared(array)
