"""One answer, token by token, as the events of llama.cpp's stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from transformers import DynamicCache

from .model import Model, Refused
from .sampling import Choice, choose

_KNOWN = {
    *("prompt", "stream", "return_tokens", "n_predict", "temperature", "top_p", "top_k", "min_p", "seed", "logit_bias"),
    *("frequency_penalty", "presence_penalty", "repeat_penalty", "repeat_last_n", "ignore_eos", "n_probs", "adapter"),
}


class Generating:
    """The answer to one request. Raises `Refused` for a prompt that is too long, and for what is not done here."""

    def __init__(self, model: Model, asked: dict[str, Any]) -> None:
        unknown = sorted(name for name, value in asked.items() if name not in _KNOWN and value)
        if unknown:
            raise Refused(f"{', '.join(unknown)} cannot be asked for of the engine transformers")
        adapter = asked.get("adapter", "")
        if adapter and adapter not in model.adapters:
            raise Refused(f"there is no adapter {adapter}")
        self._model = model
        self._asked = asked
        self._prompt = model.prompt(asked["prompt"])
        most = int(asked.get("n_predict", -1))
        room = model.context - len(self._prompt)
        self._most = room if most < 0 else min(most, room)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        model, asked, tokens = self._model, self._asked, list(self._prompt)
        cache, text, choice = DynamicCache(), _Text(model, tokens), Choice.of(asked, model.ends)
        new, made = tokens, 0
        while made < self._most:
            chosen = choose(model.scores(new, cache, asked.get("adapter", "")), tokens, choice)
            made += 1
            tokens.append(chosen.token)
            new = [chosen.token]
            if chosen.token in model.ends and not choice.ignore_eos:
                yield self._event(made, text.rest(), new, stop="eos")
                return
            said = self._event(made, text.of(chosen.token), new)
            if choice.scored:
                said["completion_probabilities"] = [self._scored(chosen.token, chosen.logprobs, choice.scored)]
            yield said
        yield self._event(made, text.rest(), [], stop="limit")

    def _event(self, made: int, content: str, tokens: list[int], stop: str = "") -> dict[str, Any]:
        event: dict[str, Any] = {
            "content": content,
            "tokens": tokens,
            "tokens_predicted": made,
            "tokens_evaluated": len(self._prompt),
        }
        return {**event, "stop": True, "stop_type": stop} if stop else event

    def _scored(self, token: int, logprobs: torch.Tensor, count: int) -> dict[str, Any]:
        values, places = logprobs.topk(min(count, len(logprobs)))
        likeliest = [self._one(int(n), float(v)) for n, v in zip(places, values, strict=True)]
        return {**self._one(token, float(logprobs[token])), "top_logprobs": likeliest}

    def _one(self, token: int, logprob: float) -> dict[str, Any]:
        text, content = self._model.token(token)
        return {"token": text, "bytes": content, "logprob": min(logprob, 0.0)}


class _Text:
    """What each token adds to the text: nothing while a character is not complete."""

    def __init__(self, model: Model, prompt: list[int]) -> None:
        self._model = model
        self._tokens = prompt[-8:]  # a first word's blank shows only behind something
        self._from, self._given = 0, len(self._tokens)

    def of(self, token: int) -> str:
        self._tokens.append(token)
        return self._more(False)

    def rest(self) -> str:
        """What is left of a character that was never completed."""
        return self._more(True)

    def _more(self, whole: bool) -> str:
        before = self._model.text(self._tokens[self._from : self._given])
        now = self._model.text(self._tokens[self._from :])
        if len(now) <= len(before) or (now.endswith("\ufffd") and not whole):
            return ""
        self._from, self._given = self._given, len(self._tokens)
        return now[len(before) :]
