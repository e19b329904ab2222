"""A report as a page of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from synfire.plan.costs import format_bytes, format_seconds

if TYPE_CHECKING:
    from synfire.bench.benchmark import Report


def page(found: Report, title: str, sections: Iterable[str]) -> str:
    """What was measured on what, whether the floors hold, then the sections, and the settings at the end."""
    machine = found.machine
    packages = ", ".join(f"{name} {number}" for name, number in machine["packages"].items())
    head = (
        f"# {title}\n\nMade by `synfire bench {found.benchmark}` on {machine['cpu']}, {machine['cores']} cores, "
        f"{format_bytes(machine['memory_bytes'])} of memory, {machine['system']}, Python {machine['python']}, {packages}; "
        f"load {machine['load']} before it began.\n"
    )
    settings = "".join(f"- {name}: {value}\n" for name, value in found.settings.items())
    return "\n".join([head, *_floors(found), *sections, "## Settings\n", settings])


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """The rows' columns that any of them has, in Markdown."""
    known = [name for name in columns if any(name in row for row in rows)]
    lines = [known, ["---"] * len(known), *([cell(name, row.get(name)) for name in known] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def columns_of(found: Report) -> list[str]:
    """The names of all columns that hold single values."""
    return list(dict.fromkeys(name for row in found.rows for name, value in row.items() if not isinstance(value, list)))


def cell(name: str, value: object) -> str:
    """A value as people read it, by the unit in its name."""
    if value is None:
        return ""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if name.endswith("_s") and not name.endswith(("requests_s", "operations_s")):
            return format_seconds(value)
        return format_bytes(value) if name.endswith("_bytes") else f"{value:,.4g}"
    return str(value)


def _floors(found: Report) -> list[str]:
    if not found.floors:
        return ["A smoke run: it promises nothing.\n"] if found.settings.get("quick") else []
    rows = [
        {
            "floor": f"`{each.name}`",
            "limit": f"{each.op} {each.limit:g}",
            "measured": f"{each.value:.4g}",
            "": "holds" if each.holds else "**does not hold**",
        }
        for each in found.floors
    ]
    return ["## Floors\n", table(rows, ("floor", "limit", "measured", ""))]
