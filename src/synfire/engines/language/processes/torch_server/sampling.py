"""Which token comes next."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch


class Chosen(NamedTuple):
    """A token, and the log-probabilities of all in its place, as the model has them."""

    token: int
    logprobs: torch.Tensor


@dataclass(frozen=True)
class Choice:
    """How tokens are chosen: as `synfire.ops.language_model.Generation` says."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    frequency_penalty: float
    presence_penalty: float
    repeat_penalty: float
    last: int
    bias: Mapping[int, float]
    ignore_eos: bool
    scored: int
    chance: torch.Generator

    @classmethod
    def of(cls, asked: Mapping[str, Any], ends: Collection[int]) -> Choice:
        chance = torch.Generator()
        if "seed" in asked:
            chance.manual_seed(int(asked["seed"]))
        else:
            chance.seed()
        ignore_eos = bool(asked.get("ignore_eos"))
        bias = {int(token): float(more) for token, more in asked.get("logit_bias", ())}
        return cls(
            float(asked.get("temperature", 1.0)),
            float(asked.get("top_p", 1.0)),
            int(asked.get("top_k", 0)),
            float(asked.get("min_p", 0.0)),
            float(asked.get("frequency_penalty", 0.0)),
            float(asked.get("presence_penalty", 0.0)),
            float(asked.get("repeat_penalty", 1.0)),
            int(asked.get("repeat_last_n", 1 << 31)),
            bias | (dict.fromkeys(ends, -math.inf) if ignore_eos else {}),
            ignore_eos,
            int(asked.get("n_probs", 0)),
            chance,
        )


def choose(scores: torch.Tensor, before: Sequence[int], choice: Choice) -> Chosen:
    """The next token behind those `before`: the likeliest where the temperature is 0, else one drawn from those that are left.

    Penalties count the `last` tokens before, the prompt's among them, as llama.cpp does. Then come the temperature, `top_k`, `top_p` and `min_p`.
    """
    logprobs = scores.log_softmax(-1)
    scores = _penalised(scores, before, choice)
    for token, more in choice.bias.items():
        if 0 <= token < len(scores):
            scores[token] += more
    if choice.temperature <= 0:
        return Chosen(int(scores.argmax()), logprobs)
    chances = _kept((scores / choice.temperature).softmax(-1), choice)
    return Chosen(int(torch.multinomial(chances, 1, generator=choice.chance)), logprobs)


def _penalised(scores: torch.Tensor, before: Sequence[int], choice: Choice) -> torch.Tensor:
    scores = scores.clone()
    if (choice.repeat_penalty, choice.frequency_penalty, choice.presence_penalty) == (1.0, 0.0, 0.0):
        return scores
    counted = list(before)[max(0, len(before) - choice.last) :]
    counts = torch.bincount(torch.tensor(counted, dtype=torch.long), minlength=len(scores))[: len(scores)]
    repeated = torch.where(scores > 0, scores / choice.repeat_penalty, scores * choice.repeat_penalty)
    scores = torch.where(counts > 0, repeated, scores)
    return scores - choice.frequency_penalty * counts - choice.presence_penalty * (counts > 0)


def _kept(chances: torch.Tensor, choice: Choice) -> torch.Tensor:
    """The chances of the tokens that may be drawn, the likeliest always among them; 0 for the others."""
    ordered, places = chances.sort(descending=True, stable=True)
    if choice.top_k > 0:
        ordered[choice.top_k :] = 0
    if choice.top_p < 1:
        ordered[1:][(ordered.cumsum(-1) / ordered.sum())[:-1] >= choice.top_p] = 0
    ordered[ordered < choice.min_p * ordered[0]] = 0
    return torch.zeros_like(chances).scatter(-1, places, ordered)
