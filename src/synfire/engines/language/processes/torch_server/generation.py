"""One answer, token by token, as the events of llama.cpp's stream.

Answers are not computed as one batch. So the bits of each depend on its own request alone, whatever is asked beside it: this engine is there
to be right, and to run what no other one does; several answers at a time share its speed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers import DynamicCache

from ..answering.server import Answer, Event, Refused
from ..answering.text import Text, check_known, event, prompt_of, room_for
from .sampling import Choice, choose

if TYPE_CHECKING:
    from .model import TorchModel

_KNOWN = {
    *("prompt", "stream", "return_tokens", "n_predict", "temperature", "top_p", "top_k", "min_p", "seed", "logit_bias"),
    *("frequency_penalty", "presence_penalty", "repeat_penalty", "repeat_last_n", "ignore_eos", "n_probs", "adapter"),
}


def begun(model: TorchModel, asked: Event) -> Answer:
    """The answer to one request. Raises `Refused` for a prompt that is too long, and for what is not done here."""
    check_known("transformers", asked, _KNOWN)
    adapter = asked.get("adapter", "")
    if adapter and adapter not in model.adapters:
        raise Refused(f"there is no adapter {adapter}")
    prompt = prompt_of(asked["prompt"], model.tokens, model.context, model.vocabulary)
    return _answer(model, asked, prompt, room_for(asked, prompt, model.context))


def _answer(model: TorchModel, asked: Event, prompt: list[int], most: int) -> Answer:
    cache, text, choice = DynamicCache(), Text(model.text, prompt), Choice.of(asked, model.ends)
    tokens, new = list(prompt), prompt
    for made in range(1, most + 1):
        chosen = choose(model.scores(new, cache, asked.get("adapter", "")), tokens, choice)
        tokens.append(chosen.token)
        new = [chosen.token]
        if chosen.token in model.ends and not choice.ignore_eos:
            yield event(text.rest(), new, made, len(prompt), "eos")
            return
        said = event(text.of(chosen.token), new, made, len(prompt))
        if choice.scored:
            said["completion_probabilities"] = [_scored(model, chosen.token, chosen.logprobs, choice.scored)]
        yield said
    yield event(text.rest(), [], most, len(prompt), "limit")


def _scored(model: TorchModel, token: int, logprobs: torch.Tensor, count: int) -> Event:
    values, places = logprobs.topk(min(count, len(logprobs)))
    likeliest = [_one(model, int(n), float(v)) for n, v in zip(places, values, strict=True)]
    return {**_one(model, token, float(logprobs[token])), "top_logprobs": likeliest}


def _one(model: TorchModel, token: int, logprob: float) -> Event:
    text, content = model.token(token)
    return {"token": text, "bytes": content, "logprob": min(logprob, 0.0)}
