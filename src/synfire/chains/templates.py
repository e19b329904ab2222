"""Texts with names in braces, which stand for a step's inputs."""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter

from synfire.base.errors import UserError
from synfire.ops import Array

_FORMATTER = Formatter()


def names_in(template: str) -> tuple[str, ...]:
    """The names that a template reads. Raises `UserError` for one that is none: only names stand in braces, `{{` is a brace."""
    try:
        found = [
            (name, wide, conversion) for _, name, wide, conversion in _FORMATTER.parse(template) if name is not None
        ]
    except ValueError as error:
        raise UserError(f"the template {template!r} cannot be read: {error}; write {{{{ and }}}} for braces") from error
    for name, wide, conversion in found:
        if not name.isidentifier() or wide or conversion:
            raise UserError(f"the template {template!r} holds {{{name}}}; only an input's name stands in braces")
    return tuple(dict.fromkeys(name for name, *_ in found))


def filled(template: str, inputs: Mapping[str, Array]) -> str:
    """The template with the inputs of one sample, each `(1, *shape)`, in place of their names."""
    return template.format_map({name: text_of(inputs[name][0]) for name in names_in(template)})


def text_of(value: object) -> str:
    """A value of one sample in words: texts as they are, numbers as Python writes them, several in brackets."""
    plain = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(plain, list):
        return f"[{', '.join(map(text_of, plain))}]"
    if isinstance(plain, float):
        return f"{plain:.6g}"
    return plain.decode(errors="replace") if isinstance(plain, bytes) else str(plain)
