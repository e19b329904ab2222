"""What is asked of plain texts beside going on from them: to fill in between two, and to say the prompt again."""

from __future__ import annotations

from collections.abc import Sequence

from synfire.base.errors import UserError
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.language.bodies import CompletionBody
from synfire.gateway.language.calls import single
from synfire.gateway.language.card import Card
from synfire.gateway.model import Model
from synfire.ops.language_model import Generation, Prompt


def between(model: str, card: Card, prompt: Prompt, suffix: str | None) -> Prompt:
    """What the model goes on from, to fill in between `prompt` and `suffix`; the prompt itself where there is nothing behind it.

    Raises `UserError` for a model that was not trained to fill in.
    """
    if not suffix:
        return prompt
    if card.fill_in is None:
        raise UserError(
            f"suffix asks model {model!r} to fill in, and its tokenizer has no tokens for that; leave suffix out, or serve a model "
            "that was trained to fill in"
        )
    start, end, middle = card.fill_in
    begun = (card.bos_id,) if card.adds_bos and card.bos_id is not None else ()
    texts = (prompt,) if isinstance(prompt, str) else prompt
    return (*begun, start, *texts, end, suffix, middle)


async def echoes(plane: DataPlane, model: Model, body: CompletionBody, prompts: Sequence[Prompt]) -> list[str]:
    """The prompt of each choice, as text. Raises `UserError` where its log-probabilities are wanted, too."""
    if body.logprobs is not None:
        raise UserError(
            "echo with logprobs asks for those of the prompt, which engines here do not tell; leave one out"
        )
    found = [
        prompt if isinstance(prompt, str) else (await single(plane, model, Generation(prompt, task="detokenize"))).text
        for prompt in prompts
    ]
    return [text for text in found for _ in range(body.choices)]
