"""`synfire bench`: measure, compare, and say whether the floors hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from synfire.base.errors import UserError
from synfire.bench import BENCHMARKS, Report, Settings
from synfire.cli.output import ERRORS, print_json, say, table
from synfire.plan.costs import format_bytes, format_seconds


def bench(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="frameworks, split or gateway; without it they are listed.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A smoke run: seconds instead of minutes, no floors.")] = False,
    file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write the report there; - for stdout.")
    ] = None,
) -> None:
    """Run a benchmark, print its table, and exit with 1 when a floor does not hold.

    \b
    Examples:
      synfire bench split --quick
      synfire bench frameworks --json frameworks.json
    """
    if name is None:
        return _list(file is not None)
    benchmark = BENCHMARKS[name]
    with ERRORS.status(f"{name} …") as status:
        found = benchmark.measure(Settings(quick=quick), lambda text: status.update(f"{name}: {text}"))
    if file == "-":
        print_json(msgspec.to_builtins(found))
    else:
        if file is not None:
            _write(Path(file), found)
        _print(found)
    if not found.holds:
        raise typer.Exit(1)
    return None


def _list(as_json: bool) -> None:
    known = {name: BENCHMARKS[name].about for name in BENCHMARKS}
    if as_json:
        return print_json({"benchmarks": known})
    return say(table("", ("benchmark", "what it measures"), known.items()))


def _write(file: Path, found: Report) -> None:
    try:
        file.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    except OSError as error:
        raise UserError(f"cannot write {file}: {error.strerror}; choose another --json FILE") from error


def _print(found: Report) -> None:
    machine = found.machine
    say(f"{found.benchmark} on {machine['cpu']}, {machine['cores']} cores, Python {machine['python']}")
    columns = list(dict.fromkeys(key for row in found.rows for key in row))
    titles = [
        f"-{name}" if any(isinstance(row.get(name), (int, float)) for row in found.rows) else name for name in columns
    ]
    say(table("", titles, ([_cell(name, row.get(name)) for name in columns] for row in found.rows)))
    for floor in found.floors:
        say(f"{'holds' if floor.holds else 'DOES NOT HOLD'}: {floor.name} {floor.value:.3g} {floor.op} {floor.limit:g}")


def _cell(name: str, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if name.endswith("_s") and not name.endswith("requests_s"):
            return format_seconds(value)
        return format_bytes(value) if name.endswith("_bytes") else f"{value:,.4g}"
    return str(value)
