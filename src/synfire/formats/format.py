"""The registry of file formats: each recognises a path and reads a graph from it."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from synfire.base.errors import UserError
from synfire.base.registry import Registry
from synfire.graph import Graph


class Format(ABC):
    """One model format; a subclass is one file in `synfire.formats` that adds an instance to `FORMATS`."""

    name: ClassVar[str]
    looks_like: ClassVar[str]
    """What a path of this format is, for messages: `a folder with graph.json`."""

    needs: ClassVar[str] = "the format's documentation lists the choices"
    """What the options without a default are about, for the message when one is missing."""

    read: Any
    """`read(path, **options) → Graph`: the options that a format understands are its named arguments."""

    @abstractmethod
    def recognises(self, path: Path) -> bool:
        """Whether `path` looks like this format; cheap, and no promise that it is valid."""


FORMATS: Registry[Format] = Registry("format", "synfire.formats", "synfire.formats")


def load(source: str | Path, **options: Any) -> Graph:
    """The graph in the file or folder `source`, in whatever registered format it is.

    Raises `UserError` when nothing is there, when no format recognises it, or for an option that its format lacks; and
    whatever the format raises.
    """
    path = Path(source)
    return _read(_format_of(path), path, options)


def options_of(source: str | Path) -> tuple[str, ...]:
    """The options that `load` takes for this file or folder. Raises `UserError` as `load` does."""
    return tuple(_parameters(_format_of(Path(source))))


def _format_of(path: Path) -> Format:
    for name in FORMATS:
        if FORMATS[name].recognises(path):
            return FORMATS[name]
    if not path.exists():
        raise UserError(f"there is no file or folder {path}; check the path")
    tried = "; ".join(f"{name} ({FORMATS[name].looks_like})" for name in FORMATS)
    raise UserError(f"{path} is in no format that synfire knows; tried: {tried}")


def _read(chosen: Format, path: Path, options: dict[str, Any]) -> Graph:
    known = _parameters(chosen)
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise UserError(
            f"{path} is read as {chosen.name}, which has no option {', '.join(unknown)}; its options: {', '.join(known) or 'none'}"
        )
    missing = [name for name, each in known.items() if each.default is each.empty and name not in options]
    if missing:
        raise UserError(
            f"{path} is read as {chosen.name}, which cannot do without {', '.join(missing)}: say it "
            f"({', '.join('--' + name.replace('_', '-') for name in missing)} on the command line); {chosen.needs}"
        )
    graph: Graph = chosen.read(path, **options)
    return graph


def _parameters(chosen: Format) -> Mapping[str, inspect.Parameter]:
    """The options of a format, by name: what its `read` takes after the path."""
    _, *options = inspect.signature(chosen.read).parameters.items()
    return dict(options)
