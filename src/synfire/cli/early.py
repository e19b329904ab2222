"""What `synfire serve` and `synfire worker` begin before they load anything else: the template of their processes, which takes as long to load."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from synfire.base.children import OF_WORKERS, TEMPLATE, Template

_begun: list[Template] = []


def begin(arguments: Sequence[str]) -> None:
    """Begin it, where the command line asks for processes."""
    module = {"serve": TEMPLATE, "worker": OF_WORKERS}.get(arguments[0]) if arguments else None
    if module is not None and "--help" not in arguments:
        _begun.append(Template.begin(module))


def end() -> None:
    """End what was begun."""
    while _begun:
        _begun.pop().close()


@contextmanager
def template() -> Iterator[Template]:
    """The template for the block: the one that was begun, or another where somebody else than the command line serves."""
    if not _begun:
        _begun.append(Template.begin())
    try:
        yield _begun[0]
    finally:
        end()
