"""What a model's `config.pbtxt` says, as far as it is understood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

TYPES: Mapping[str, str] = MappingProxyType(
    {
        "TYPE_BOOL": "bool",
        "TYPE_UINT8": "uint8",
        "TYPE_UINT16": "uint16",
        "TYPE_UINT32": "uint32",
        "TYPE_UINT64": "uint64",
        "TYPE_INT8": "int8",
        "TYPE_INT16": "int16",
        "TYPE_INT32": "int32",
        "TYPE_INT64": "int64",
        "TYPE_FP16": "float16",
        "TYPE_FP32": "float32",
        "TYPE_FP64": "float64",
        "TYPE_STRING": "bytes",
    }
)
"""Triton's number formats, by the names that kinds of signals have."""


@dataclass(frozen=True)
class ConfigTensor:
    """An input or output: its name, kind, and sizes without the batch; −1 for any."""

    name: str
    kind: str
    dims: tuple[int, ...]


@dataclass(frozen=True)
class Policy:
    """Which versions are served: the `latest` so many, or `specific` ones, or all where neither is said."""

    latest: int | None = 1
    specific: tuple[int, ...] = ()

    def chosen(self, there: Sequence[int]) -> list[int]:
        """Of the versions that are there, in ascending order, those that are served."""
        if self.specific:
            return [each for each in there if each in self.specific]
        return list(there if self.latest is None else there[-self.latest :])


@dataclass(frozen=True)
class EnsembleStep:
    """A model of an ensemble, and which of the ensemble's tensors are its own, by its own names."""

    model: str
    version: int
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


@dataclass(frozen=True)
class Config:
    """A model as it is configured. `company` says whether requests that wait may be handed to it together, `instances` how many of it are
    served; `remarks` what is said in the file
    and has no effect, by line. Tensors may be left to the model's own file where none are named."""

    name: str = ""
    backend: str = ""
    max_batch_size: int = 0
    inputs: tuple[ConfigTensor, ...] = ()
    outputs: tuple[ConfigTensor, ...] = ()
    policy: Policy = Policy()
    file: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    company: bool = False
    instances: int = 1
    steps: tuple[EnsembleStep, ...] = ()
    remarks: tuple[str, ...] = ()
