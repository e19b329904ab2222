"""What every verb prints: tables and sentences for people, or one line of JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table


class _Output(Console):
    """A console that leaves it to the application what becomes of a reader who has gone, such as `head`."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


CONSOLE = _Output(highlight=False, emoji=False, width=None if sys.stdout.isatty() else 200)
"""Standard output for people; where it is no terminal, lines are not wrapped at a terminal's width."""

ERRORS = Console(stderr=True, highlight=False, emoji=False)
"""Standard error: progress and complaints."""

AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON instead.")]


def print_json(value: Any) -> None:
    """One line, flushed: a reader that waits for it sees it at once."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table whose numbers stand on the right: a column named `-x` is right-aligned and titled `x`.

    The first column's names are never folded.
    """
    found = Table(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        right = column.startswith("-")
        justify: Literal["left", "right"] = "right" if right else "left"
        found.add_column(column.removeprefix("-"), justify=justify, overflow="fold", no_wrap=number == 0)
    for row in rows:
        found.add_row(*(str(each) for each in row))
    return found


def counted(count: int, noun: str) -> str:
    """`1 stage`, `2 stages`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def say(text: object) -> None:
    """A line or a table on standard output, as it is: no markup is read from it."""
    CONSOLE.print(text, markup=False, soft_wrap=isinstance(text, str))
