"""From what a user calls models on the command line to models, and the options that say how to read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Any

import typer

from synfire.base.errors import UnknownName, UserError
from synfire.cli import nim
from synfire.graph.images import accepting_images
from synfire.zoo import Model, find, told_apart


class Accept(StrEnum):
    """What a picture model takes: numbers, or files."""

    TENSOR = "tensor"
    IMAGE = "image"
    NEGATIVE = "negative"


DiscretisationOption = Annotated[
    str | None, typer.Option("--discretisation", help="NIR: how continuous time becomes steps; a preset's name.")
]
DtOption = Annotated[float | None, typer.Option("--dt-s", help="NIR: the time step in seconds.")]
AllowOption = Annotated[
    list[str] | None, typer.Option("--allow", metavar="LOSS", help="A loss to accept; the error names it.")
]
AcceptOption = Annotated[
    Accept,
    typer.Option(
        "--accept",
        help="What picture models take: numbers, PNG and JPEG files, or those in the negative (dark strokes on white). "
        "Other models stay as they are.",
    ),
]

BaseOption = Annotated[
    str | None,
    typer.Option(
        "--base", metavar="DIRECTORY", help="The model that LoRA adapters belong to. Default: the one that they name."
    ),
]
ContextOption = Annotated[
    int | None,
    typer.Option(
        "--context",
        min=1,
        envvar=nim.CONTEXT,
        help="Language models: tokens that a prompt and its answer may have together. Default: what it was trained for, up to 4096.",
    ),
]


@dataclass(frozen=True)
class Reading:
    """How files are read where their format leaves it open, and what the models then accept."""

    discretisation: str | None = None
    dt_s: float | None = None
    allow: Sequence[str] | None = None
    accept: Accept = Accept.TENSOR
    base: str | None = None
    context: int | None = None

    @property
    def options(self) -> dict[str, Any]:
        """Those that were given, as the formats call them."""
        given = {
            "discretisation": self.discretisation,
            "dt_s": self.dt_s,
            "allow": tuple(self.allow or ()),
            "base": self.base,
            "context": self.context,
        }
        return {name: value for name, value in given.items() if value is not None and value != ()}


def find_all(references: Sequence[str], reading: Reading, wanted_by: Mapping[str, str] | None = None) -> list[Model]:
    """The models of these names. Raises `UserError` for an option that none of them takes, and what `find` raises, behind the words for who
    wants the model where they are known."""
    found = told_apart([_find(each, reading, (wanted_by or {}).get(each, "")) for each in references])
    unused = sorted(set(reading.options) - {name for model in found for name in model.read_with})
    if unused:
        names = ", ".join("--" + name.replace("_", "-") for name in unused)
        raise UserError(
            f"{', '.join(references)}: nothing here is read with {names}; leave it out, or name a file that is"
        )
    return found if reading.accept is Accept.TENSOR else _accepting(found, reading.accept is Accept.NEGATIVE)


def _find(reference: str, reading: Reading, wanted_by: str) -> Model:
    try:
        return find(reference, reading.options)
    except UserError as error:
        if not wanted_by:
            raise
        kind = UnknownName if isinstance(error, UnknownName) else UserError
        raise kind(f"{wanted_by}: {error}") from error


def _accepting(models: Sequence[Model], negative: bool) -> list[Model]:
    """Those that take a picture now take files; the others stay as they are. Raises `UserError` when none takes one."""
    found, refusals = [], []
    for model in models:
        try:
            found.append(replace(model, graph=accepting_images(model.graph, negative)))
        except UserError as error:
            found.append(model)
            refusals.append(f"{model.name}: {error}")
    if len(refusals) == len(found):
        raise UserError("; ".join(refusals))
    return found
