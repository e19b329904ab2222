"""What is told of a language model: its card, from the graph's metadata."""

from __future__ import annotations

from typing import Any

import msgspec

from synfire.base.errors import Bug, UserError
from synfire.gateway.model import Model
from synfire.graph import flatten
from synfire.ops.language_model import LanguageModel


class Card(msgspec.Struct, frozen=True):
    """How the model was trained to read chats, and what it is. An empty `chat_template` says that it was trained for none.

    A Modelfile may say more: a prompt `template` in Go's language in place of the model's own, what the `system` and the first `messages`
    of each chat are, and `params` for requests that do not say otherwise.

    `fill_in` are the tokens before a prefix, before a suffix, and before what belongs between them, where it was trained for that.
    """

    architecture: str = ""
    name: str = ""
    precision: str = ""
    parameters: int = 0
    trained_context: int | None = None
    chat_template: str | None = None
    bos_token: str = ""
    eos_token: str = ""
    adds_bos: bool = True
    bos_id: int | None = None
    fill_in: tuple[int, int, int] | None = None
    template: str | None = None
    system: str | None = None
    params: dict[str, Any] = {}
    messages: tuple[dict[str, str], ...] = ()


def is_language(model: Model) -> bool:
    """Whether it is a language model."""
    return "language" in model.route.graph.metadata


def card_of(model: Model) -> Card:
    """The card. Raises `UserError` for a model that is none of language."""
    if not is_language(model):
        raise UserError(
            f"model {model.name!r} is no language model; ask it at /v2/models/{model.name}/infer, as /v2/models/{model.name} says"
        )
    try:
        return msgspec.convert(model.route.graph.metadata["language"], Card)
    except msgspec.ValidationError as error:
        raise Bug(f"the card of model {model.name!r} cannot be read: {error}; serve it again from its file") from error


def speaking(model: Model) -> Card:
    """The card of a model that makes text. Raises `UserError` for any other one."""
    card, pooling = card_of(model), operator_of(model).pooling
    if pooling == "rank":
        raise UserError(f"model {model.name!r} ranks passages and makes no text; ask it at /v1/ranking")
    if pooling:
        raise UserError(f"model {model.name!r} gives vectors and makes no text; ask it at /v1/embeddings")
    return card


def comparing(model: Model, ranks: bool = False) -> LanguageModel:
    """The operator of a model that gives vectors, or, where that suffices, `ranks`. Raises `UserError` for any other one."""
    card_of(model)
    operator = operator_of(model)
    if not operator.pooling:
        raise UserError(
            f"model {model.name!r} makes text, and was not trained to give vectors: its file names no pooling; ask it at "
            "/v1/completions, and serve a model for embeddings beside it"
        )
    if operator.pooling == "rank" and not ranks:
        raise UserError(f"model {model.name!r} ranks passages and gives no vectors; ask it at /v1/ranking")
    return operator


def operator_of(model: Model) -> LanguageModel:
    """The operator that is the model."""
    found = [each for each in flatten(model.route.graph).operators.values() if isinstance(each, LanguageModel)]
    if not found:
        raise Bug(f"model {model.name!r} has the card of a language model, but no such operator")
    return found[0]
