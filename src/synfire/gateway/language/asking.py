"""What a chat, or a text to go on from, asks of a language model."""

from __future__ import annotations

from typing import NamedTuple

from synfire.gateway.language.bodies import ChatBody, CompletionBody, held
from synfire.gateway.language.card import speaking
from synfire.gateway.language.chat import prompt_of
from synfire.gateway.language.listening import Calling
from synfire.gateway.language.persona import defaulted
from synfire.gateway.language.texts import between
from synfire.gateway.model import Model
from synfire.ops.language_model import Generation


class Asked(NamedTuple):
    """An answer for each choice, and how calls of functions are found in them; None where nothing may be called."""

    wanted: list[Generation]
    calling: Calling | None = None


def of_chat(model: Model, body: ChatBody) -> Asked:
    """What a chat asks. Raises `UserError` for a model that is none for chats, and for what it was not trained to do."""
    card = speaking(model)
    body, offer = defaulted(body, card), body.offer
    calling = offer.calling(model.name, card.template or card.chat_template or "")
    more = {
        "add_generation_prompt": body.add_generation_prompt,
        **offer.variables(),
        **(body.chat_template_kwargs or {}),
    }
    prompt = prompt_of(model.name, card, [each.plain() for each in body.messages], more)
    most = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
    schema = offer.schema() if calling is not None else body.schema
    shown = calling.shown if calling is not None else ()
    answers = (body.generation(prompt, most, body.likeliest(), choice) for choice in range(body.choices))
    return Asked([held(each, schema, shown) for each in answers], calling)


def of_text(model: Model, body: CompletionBody) -> Asked:
    """What a text asks, or several texts. Raises `UserError` as `of_chat` does."""
    card = speaking(model)
    body = defaulted(body, card)
    answers = (
        body.generation(between(model.name, card, prompt, body.suffix), body.max_tokens, body.logprobs, choice)
        for prompt in body.prompts()
        for choice in range(body.choices)
    )
    return Asked([held(each, body.schema) for each in answers])
