"""What a Modelfile gives a model beside its weights: what every chat begins with, its own prompt template, and parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from synfire.formats.go_template import parse, render
from synfire.gateway.language.card import Card

_RESPONSE = "Response"
"""The field where a model goes on; a template that does not name it ends with it."""


def introduced(card: Card, messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The chat with its beginning: the card's `system`, unless the chat has one of its own, and the card's `messages`."""
    begun = [*card.messages, *messages]
    own = bool(messages) and messages[0].get("role") == "system"
    return begun if own or not card.system else [{"role": "system", "content": card.system}, *begun]


_Body = TypeVar("_Body", bound=msgspec.Struct)

FIELDS = {
    "temperature": "temperature", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p", "seed": "seed", "stop": "stop",
    "repeat_penalty": "repetition_penalty", "presence_penalty": "presence_penalty", "frequency_penalty": "frequency_penalty",
}  # fmt: skip
"""Parameters of a Modelfile that say how tokens are chosen, and what OpenAI's API calls them."""


def defaulted(body: _Body, card: Card) -> _Body:
    """The request with the card's parameters in place of what it leaves open."""
    left_open = {
        field: card.params[name]
        for name, field in FIELDS.items()
        if name in card.params and getattr(body, field) is None
    }
    return msgspec.structs.replace(body, **left_open) if left_open else body


def by_template(template: str, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] = ()) -> str:
    """The prompt of a chat by a template in Go's language, which reads `.Messages`, or, turn by turn, `.System` and `.Prompt`.

    Raises `UserError` for a template that is none, and for what it cannot render.
    """
    read = parse(template)
    merged = _merged(messages)
    if "Messages" in read.fields:
        return render(read, _whole(merged, tools), _RESPONSE)
    turns = _turns(merged)
    texts = [render(read, each) + _missing(read.fields, each) for each in turns[:-1]]
    last = turns[-1]
    return "".join(texts) + render(read, last, _RESPONSE) + _missing(read.fields, last)


def completed(template: str, prompt: str, system: str = "", suffix: str = "") -> str:
    """One prompt by a template in Go's language. Raises `UserError` as `by_template` does."""
    if suffix:
        return render(parse(template), {"Prompt": prompt, "Suffix": suffix, "System": system, _RESPONSE: ""}, _RESPONSE)
    said = [{"role": "system", "content": system}] if system else []
    return by_template(template, [*said, {"role": "user", "content": prompt}])


def _whole(messages: Sequence[Mapping[str, Any]], tools: Sequence[Any]) -> dict[str, Any]:
    system = "\n\n".join(str(each["content"]) for each in messages if each["role"] == "system")
    return {"Messages": [_in_go(each) for each in messages], "System": system, "Tools": list(tools), _RESPONSE: ""}


def _in_go(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message with the names that templates read."""
    calls = [
        {"Function": {"Name": each["function"]["name"], "Arguments": each["function"].get("arguments", {})}}
        for each in message.get("tool_calls") or ()
    ]
    return {"Role": message["role"], "Content": message.get("content") or "", "ToolCalls": calls}


def _merged(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Messages of one role that follow each other as one."""
    found: list[dict[str, Any]] = []
    for each in messages:
        if found and found[-1]["role"] == each["role"] and each["role"] != "tool":
            found[-1] = {**found[-1], "content": f"{found[-1].get('content') or ''}\n\n{each.get('content') or ''}"}
        else:
            found.append(dict(each))
    return found


def _turns(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """What was said turn by turn, each a system, a prompt and a response, as far as they are there; the last is the one to answer."""
    places = {"system": "System", "user": "Prompt", "assistant": _RESPONSE}
    order = list(places.values())
    turns: list[dict[str, str]] = [dict.fromkeys(order, "")]
    for each in messages:
        place = places.get(str(each["role"]), "Prompt")
        if any(turns[-1][later] for later in order[order.index(place) :]):
            turns.append(dict.fromkeys(order, ""))
        turns[-1][place] = str(each.get("content") or "")
    return turns


def _missing(fields: frozenset[str], turn: Mapping[str, str]) -> str:
    """The response, where the template has no place for it."""
    return "" if _RESPONSE in fields else turn[_RESPONSE]
