"""`synfire share`: what models have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from synfire.base.errors import UserError
from synfire.cli.models import AllowOption, DiscretisationOption, DtOption, Reading, find_all
from synfire.cli.output import AsJson, print_json, say, table
from synfire.graph import flatten
from synfire.graph.passes import Level
from synfire.graph.passes import share as shared
from synfire.plan.costs import format_bytes
from synfire.zoo import Model

MEANINGS = {
    "structural": "one kernel and spare serves all",
    "content": "one stored weight serves all",
    "computation": "one execution serves all",
}


LEAST_BYTES = 64
"""Smaller operators are neurons' few constants and reshapes."""

LINES = 12


def share(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Models as for `show`; one or more.")],
    discretisation: DiscretisationOption = None,
    dt_s: DtOption = None,
    allow: AllowOption = None,
    as_json: AsJson = False,
) -> None:
    """Count what models share: structure, content, and computation on the same request.

    \b
    Examples:
      synfire share svgg-mnist-parity svgg-mnist-size
      synfire share svgg-digits sresnet-digits scnn-digits --json
    """
    found = find_all(models, Reading(discretisation, dt_s, allow))
    if len({model.name for model in found}) < len(found):
        raise UserError("two of the models have one name; give one of them another with NAME=PATH")
    levels = shared({model.name: model.graph for model in found})
    named = {name: getattr(levels, name) for name in MEANINGS}
    if as_json:
        print_json(
            {"models": [model.name for model in found], **{name: _plain(level) for name, level in named.items()}}
        )
        return
    rows = [
        (
            name, level.operators, level.distinct, level.shared, format_bytes(level.bytes),
            format_bytes(level.saved_bytes), MEANINGS[name],
        )
        for name, level in named.items()
    ]  # fmt: skip
    columns = ("sharing", "-operators", "-distinct", "-shared", "-parameters", "-saved", "what it means")
    say(table(", ".join(model.name for model in found), columns, rows))
    _print_groups(named["content"], found)


def _plain(level: Level) -> dict[str, Any]:
    return {
        "operators": level.operators,
        "distinct": level.distinct,
        "shared": level.shared,
        "bytes": level.bytes,
        "saved_bytes": level.saved_bytes,
        "groups": [list(members) for members in level.groups.values() if len(members) > 1],
    }


def _print_groups(level: Level, models: Sequence[Model]) -> None:
    """Which operators agree to the last weight, the heaviest first; those without weights are not worth a line."""
    sizes = {
        f"{model.name}.{name}": flat.operator(name).parameter_bytes
        for model in models
        for flat in [flatten(model.graph)]
        for name in flat.order()
    }
    groups = [members for members in level.groups.values() if len(members) > 1 and sizes[members[0]] >= LEAST_BYTES]
    for members in sorted(groups, key=lambda members: -sizes[members[0]])[:LINES]:
        say(f"  same content, {format_bytes(sizes[members[0]])}: {' = '.join(members)}")
    if len(groups) > LINES:
        say(f"  and {len(groups) - LINES} groups more; --json lists all")
