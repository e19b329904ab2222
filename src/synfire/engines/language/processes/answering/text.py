"""What a model of tokens has in common with others: prompts become tokens, tokens become text as they come, both become events."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .server import Event, Refused

Encode = Callable[[str, bool], list[int]]
"""The tokens of a text, with those that the tokenizer puts before it where the second is true."""

Decode = Callable[[Sequence[int]], str]


def prompt_of(given: str | Sequence[int | str], encode: Encode, context: int, vocabulary: int) -> list[int]:
    """The tokens of a prompt: text, or tokens among which a text stands for its own. Raises `Refused` for one too long, or empty."""
    parts = [given] if isinstance(given, str) else list(given)
    found = [
        token
        for place, part in enumerate(parts)
        for token in (encode(part, place == 0) if isinstance(part, str) else [int(part)])
    ]
    if len(found) >= context:
        said = "the prompt is longer than the context"
        raise Refused(said, "exceed_context_size_error", n_prompt_tokens=len(found), n_ctx=context)
    if not found:
        raise Refused("the prompt is empty")
    return known(found, vocabulary)


def known(tokens: Sequence[int], vocabulary: int) -> list[int]:
    """The tokens. Raises `Refused` where one of them is none."""
    unknown = [token for token in tokens if not 0 <= token < vocabulary]
    if unknown:
        raise Refused(f"there is no token {unknown[0]}; the vocabulary has {vocabulary}")
    return list(tokens)


def room_for(asked: Event, prompt: Sequence[int], context: int) -> int:
    """How many tokens an answer may have: as many as are wanted, and as there is room for behind the prompt."""
    most, room = int(asked.get("n_predict", -1)), context - len(prompt)
    return room if most < 0 else min(most, room)


def check_known(engine: str, asked: Event, known: set[str]) -> None:
    """Raise `Refused` for what is asked for and not known."""
    unknown = sorted(name for name, value in asked.items() if name not in known and value)
    if unknown:
        raise Refused(f"{', '.join(unknown)} cannot be asked for of the engine {engine}")


def event(content: str, tokens: Sequence[int], made: int, prompt: int, stop: str = "") -> Event:
    """An event as llama.cpp has it; the last says why it `stop`s: `eos` or `limit`."""
    found: Event = {
        "content": content,
        "tokens": list(tokens),
        "tokens_predicted": made,
        "tokens_evaluated": prompt,
    }
    return {**found, "stop": True, "stop_type": stop} if stop else found


def piece(number: int, text: str, content: Sequence[int]) -> Event:
    """A token as `/tokenize` tells it: its number and text, or its bytes where these are a part of a character's."""
    return {"id": number, "piece": text if text.encode() == bytes(content) else list(content)}


class Text:
    """What each token adds to the text: nothing while a character is not complete."""

    def __init__(self, decode: Decode, prompt: Sequence[int]) -> None:
        self._decode = decode
        self._tokens = list(prompt[-8:])  # a first word's blank shows only behind something
        self._from, self._given = 0, len(self._tokens)

    def of(self, *tokens: int) -> str:
        self._tokens += tokens
        return self._more(False)

    def rest(self) -> str:
        """What is left of a character that was never completed."""
        return self._more(True)

    def _more(self, whole: bool) -> str:
        before = self._decode(self._tokens[self._from : self._given])
        now = self._decode(self._tokens[self._from :])
        if len(now) <= len(before) or (now.endswith("\ufffd") and not whole):
            return ""
        self._from, self._given = self._given, len(self._tokens)
        return now[len(before) :]
