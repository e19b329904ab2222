"""A chat as the prompt that a model was trained for: by the template that came with it, never by another one.

Templates come with models, from wherever these come. So they run in jinja2's sandbox, which knows no attribute that leads out of it,
changes nothing, and counts no further than 100000.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from synfire.base.errors import UserError
from synfire.gateway.language.card import Card
from synfire.gateway.language.persona import by_template, introduced
from synfire.gateway.status import NotSupported

EXTRA = "llama"


def prompt_of(model: str, card: Card, messages: Sequence[Mapping[str, Any]], more: Mapping[str, Any]) -> str:
    """The text that the model goes on from. `more` are further variables of the template.

    Raises `UserError` for a model without a chat template, and for messages that its template refuses; `NotSupported` where jinja2
    is missing.
    """
    messages = introduced(card, messages)
    if card.template is not None:
        return _without_bos(by_template(card.template, messages, more.get("tools") or ()), card)
    if not card.chat_template:
        raise UserError(
            f"model {model!r} is a base model: its tokenizer defines no chat_template, so nobody knows how it would read a chat. "
            "Send the text to go on from to /v1/completions, or serve a model that was trained for chats"
        )
    variables = {"bos_token": card.bos_token, "eos_token": card.eos_token, "add_generation_prompt": True, **more}
    try:
        text: str = _compiled(card.chat_template).render(messages=list(messages), **variables)
    except _errors() as error:
        raise UserError(f"the chat_template of model {model!r} refuses these messages: {error}") from error
    return _without_bos(text, card)


def _without_bos(text: str, card: Card) -> str:
    """The engine adds it."""
    return text.removeprefix(card.bos_token) if card.bos_token and card.adds_bos else text


@lru_cache(maxsize=64)
def _compiled(template: str) -> Any:
    try:
        from jinja2.ext import loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        raise NotSupported(f"chats need jinja2: pip install 'synfire[{EXTRA}]', and start the gateway again") from error
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.globals |= {"raise_exception": _refuse, "strftime_now": _now}
    environment.filters["tojson"] = _to_json
    return environment.from_string(template)


def _errors() -> tuple[type[Exception], ...]:
    """What goes wrong in templates: they meet whatever messages a caller sends."""
    import jinja2

    return jinja2.TemplateError, TypeError, ValueError, KeyError, IndexError, OverflowError, ZeroDivisionError


def _refuse(reason: str) -> None:
    raise UserError(reason)


def _now(pattern: str) -> str:
    return datetime.datetime.now().strftime(pattern)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """As templates expect it, which are written for transformers: without HTML's escapes."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
