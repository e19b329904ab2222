"""Options that several verbs share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from synfire.cli import nim


class Granularity(StrEnum):
    """How finely a model is cut."""

    AUTO = "auto"
    MODEL = "model"
    BLOCK = "block"
    OPERATOR = "operator"


ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A zoo model, an imported or stored one, or the path of a bundle, a .nir or .onnx file, or weights.",
    ),
]
GranularityOption = Annotated[
    Granularity,
    typer.Option(
        "--granularity",
        "-g",
        help="How finely to cut: the whole model, behind blocks, every operator, or where it pays.",
    ),
]
WorkersOption = Annotated[int, typer.Option("--workers", "-w", min=1, max=256, help="Worker processes to place on.")]
OwnWorkersOption = Annotated[
    int,
    typer.Option(
        "--workers",
        "-w",
        min=0,
        max=256,
        help="Worker processes to place on; 0 with --join: none here, models begin on workers that join.",
    ),
]
ApartOption = Annotated[
    bool,
    typer.Option("--apart/--fused", help="Keep every stage of the cut apart, or fuse neighbours that share a worker."),
]
MemoryOption = Annotated[
    str | None, typer.Option("--memory", metavar="SIZE", help="What each worker may hold, such as 512MB or 2GiB.")
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        help="Where what it takes of a model goes: cpu, cuda (an NVIDIA GPU; exact), or darwin3 (an emulated chip, with numbers of its own).",
    ),
]
ProfileOption = Annotated[
    list[str] | None,
    typer.Option(
        "--profile",
        metavar="[MODEL=]PROFILE",
        envvar=nim.PROFILE,
        help="How to serve, as `profiles` lists it: auto, latency, throughput (exact, but for whole models), a name, or the first digits of an id.",
    ),
]
