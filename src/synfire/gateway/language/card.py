"""What is told of a language model: its card, from the graph's metadata."""

from __future__ import annotations

import msgspec

from synfire.base.errors import Bug, UserError
from synfire.gateway.dataplane import Model
from synfire.graph import flatten
from synfire.ops.language_model import LanguageModel


class Card(msgspec.Struct, frozen=True):
    """How the model was trained to read chats, and what it is. An empty `chat_template` says that it was trained for none."""

    architecture: str = ""
    name: str = ""
    precision: str = ""
    parameters: int = 0
    trained_context: int | None = None
    chat_template: str | None = None
    bos_token: str = ""
    eos_token: str = ""
    adds_bos: bool = True


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


def operator_of(model: Model) -> LanguageModel:
    """The operator that is the model."""
    found = [each for each in flatten(model.route.graph).operators.values() if isinstance(each, LanguageModel)]
    if not found:
        raise Bug(f"model {model.name!r} has the card of a language model, but no such operator")
    return found[0]
