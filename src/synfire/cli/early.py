"""The template of the processes that a command begins. `synfire serve` begins it before it loads anything else, since that takes as long to load;
`synfire worker` when it has loaded all, since it often begins on a machine that answers calls: one processor less is taken from these."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from synfire.base.children import TEMPLATE, Template

_begun: list[Template] = []


def begin(arguments: Sequence[str]) -> None:
    """Begin it, where the command line asks for a deployment."""
    if arguments and arguments[0] == "serve" and "--help" not in arguments:
        _begun.append(Template.begin())


def end() -> None:
    """End what was begun."""
    while _begun:
        _begun.pop().close()


@contextmanager
def template(module: str = TEMPLATE) -> Iterator[Template]:
    """The template for the block: the one that was begun; else one that runs that module."""
    if not _begun:
        _begun.append(Template.begin(module))
    try:
        yield _begun[0]
    finally:
        end()
