"""`synfire bench`: measure, compare, and say whether the floors hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from typer.core import TyperCommand

from synfire.base.errors import UnknownName, UserError
from synfire.bench import BENCHMARKS, Benchmark, Report, Settings
from synfire.bench.page import cell, columns_of
from synfire.cli.output import ERRORS, print_json, say, table


class Command(TyperCommand):
    """`synfire bench`, whose help names every benchmark; to load all of them takes seconds, so that they are for that alone."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self.tell()
        super().format_help(ctx, formatter)

    def tell(self) -> None:
        """Complete the help of NAME."""
        argument: Any = next(each for each in self.params if each.name == "name")
        argument.help = f"One of {', '.join(BENCHMARKS)}; without it they are listed."


def bench(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Without it they are listed.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A smoke run: seconds instead of minutes, no floors.")] = False,
    file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write the report there; - for stdout.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--report", metavar="DIR", help="Write a Markdown page and its plots there.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="PART", help="Run this part alone, such as an arm of recovery."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Decides whatever is random in it.")] = 0,
    beside: Annotated[
        list[Path] | None,
        typer.Option(
            "--with", metavar="FILE", help="A report of frameworks from another environment, which counts too."
        ),
    ] = None,
) -> None:
    """Run a benchmark, print its table, and exit with 1 when a floor does not hold.

    \b
    Examples:
      synfire bench split --quick
      synfire bench frameworks --json frameworks.json
      synfire bench frameworks --only sgnn-digits --with other.json
      synfire bench recovery --json recovery.json --report recovery
      synfire bench recovery --only hot --seed 7
    """
    if name is None:
        return _list(file is not None)
    benchmark = BENCHMARKS[name]
    settings = Settings(
        quick=quick, only=_parts(benchmark, only or ()), seed=seed, beside=_beside(benchmark, beside or ())
    )
    with ERRORS.status(f"{name} …") as status:
        found = benchmark.measure(settings, lambda text: status.update(f"{name}: {text}"))
    if folder is not None:
        _write_documents(folder, benchmark.documents(found))
    if file is not None and file != "-":
        _write(Path(file), found)
    if file == "-":
        print_json(msgspec.to_builtins(found))
    else:
        _print(benchmark, found)
    if not found.holds:
        raise typer.Exit(1)
    return None


def _list(as_json: bool) -> None:
    known = [BENCHMARKS[name] for name in BENCHMARKS]
    if as_json:
        return print_json({"benchmarks": {each.name: each.about for each in known}})
    titles = ("benchmark", "what it measures", "environment")
    return say(table("", titles, ((each.name, each.about, each.environment) for each in known)))


def _parts(benchmark: Benchmark, only: Sequence[str]) -> tuple[str, ...]:
    for part in only:
        if part not in benchmark.parts:
            raise UnknownName.among(f"part of {benchmark.name}", part, benchmark.parts)
    return tuple(dict.fromkeys(only))


def _beside(benchmark: Benchmark, files: Sequence[Path]) -> tuple[Report, ...]:
    if files and not benchmark.joins:
        raise UserError(f"{benchmark.name} is judged by one run; leave out --with")
    return tuple(_read(benchmark, file) for file in files)


def _read(benchmark: Benchmark, file: Path) -> Report:
    try:
        found = msgspec.json.decode(file.read_bytes(), type=Report)
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}; choose another --with FILE") from error
    except msgspec.DecodeError as error:
        raise UserError(f"{file} is no report of a benchmark ({error}); make one by --json FILE") from error
    if found.benchmark != benchmark.name:
        raise UserError(
            f"{file} is a report of {found.benchmark}, and this is {benchmark.name}; choose another --with FILE"
        )
    return found


def _write(file: Path, found: Report) -> None:
    try:
        file.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    except OSError as error:
        raise UserError(f"cannot write {file}: {error.strerror}; choose another --json FILE") from error


def _write_documents(folder: Path, documents: Mapping[str, str]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in documents.items():
            (folder / name).write_text(content)
    except OSError as error:
        raise UserError(f"cannot write into {folder}: {error.strerror}; choose another --report DIR") from error


def _print(benchmark: Benchmark, found: Report) -> None:
    machine = found.machine
    say(f"{found.benchmark} on {machine['cpu']}, {machine['cores']} cores, Python {machine['python']}")
    columns = list(benchmark.shown) or columns_of(found)
    titles = [
        f"-{name}" if any(isinstance(row.get(name), (int, float)) for row in found.rows) else name for name in columns
    ]
    say(table("", titles, ([cell(name, row.get(name)) for name in columns] for row in found.rows)))
    for floor in found.floors:
        say(f"{'holds' if floor.holds else 'DOES NOT HOLD'}: {floor.name} {floor.value:.3g} {floor.op} {floor.limit:g}")
