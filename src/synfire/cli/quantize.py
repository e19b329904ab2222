"""`synfire quantize`: a model with weights of fewer bits."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from synfire.cli.output import AsJson, print_json, say
from synfire.cli.progress import watching
from synfire.formats.gguf_quantize import PRECISIONS
from synfire.hub.files import resolve
from synfire.hub.quantize import quantize as quantize_model
from synfire.hub.source import Into
from synfire.plan.costs import format_bytes
from synfire.store import ModelName

Precision = StrEnum("Precision", {each: each for each in PRECISIONS})  # type: ignore[misc]
DEFAULT = Precision("Q8_0")


def quantize(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A model of the store, or a GGUF file, in F32, F16 or BF16.")
    ],
    name: Annotated[str, typer.Argument(metavar="NAME[:TAG]", help="What to call the one with fewer bits.")],
    to: Annotated[
        Precision, typer.Option("--to", case_sensitive=False, help="The precision of its matrices.")
    ] = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Make a model whose weights have fewer bits: it takes less memory, and answers quicker and less exactly.

    \b
    Examples:
      synfire quantize shake:f16 shake:q8
      synfire quantize ./tinyshake-5m-base-f16.gguf shake:q4 --to Q4_0 --json
    """
    before = resolve(model).manifest.size
    with watching(as_json) as watcher:
        made = quantize_model(model, ModelName.parse(name), str(to), Into(watcher=watcher))
    after = resolve(str(made.name)).manifest.size
    if as_json:
        print_json({"model": str(made.name), "manifest": made.manifest, "bytes": after, "bytes_before": before})
        return
    say(f"made {made.name}, as {to}: {format_bytes(after)}, and {format_bytes(before)} before")
