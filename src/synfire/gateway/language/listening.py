"""The calls of functions in what a model says.

Every family of models writes a call in its own way, and its chat template shows which.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from synfire.gateway.language.messages import FunctionCall, ToolCall

MOST_CALLS = 128
"""In one answer."""


@dataclass(frozen=True)
class Style:
    """How a family of models writes calls: after `opening`, up to `closing` or the end, as JSON. `mark` in a template shows it;
    `shown` are special tokens whose text is needed. A `bare` call may also be all that is said, with nothing before it."""

    mark: str
    opening: str
    closing: str = ""
    shown: tuple[str, ...] = ()
    bare: bool = False


STYLES = (
    Style("<tool_call>", "<tool_call>", "</tool_call>"),  # Hermes, Qwen
    Style("[TOOL_CALLS]", "[TOOL_CALLS]", "", ("[TOOL_CALLS]",)),  # Mistral
    Style("<|python_tag|>", "<|python_tag|>", "", ("<|python_tag|>",), True),  # Llama 3
    Style('"parameters"', "<|python_tag|>", "", ("<|python_tag|>",), True),  # Llama 3.2
)


@dataclass(frozen=True)
class Calling:
    """How calls are to be found in an answer. Without a style the answer is JSON by a schema: the arguments of `only` that
    function, or a list of calls. At most `most` are given."""

    style: Style | None = None
    only: str = ""
    most: int = MOST_CALLS

    @property
    def shown(self) -> tuple[str, ...]:
        """Special tokens whose text tells a call."""
        return self.style.shown if self.style is not None else ()


@dataclass
class Listener:
    """Tells what a model says from the functions that it calls, as both come.

    Text is held back from where a call may begin, until it is one, or surely none; what cannot be read as a call is text.
    """

    calling: Calling
    called: int = 0
    _held: str = ""
    _said: bool = False
    _after: bool = False

    def take(self, text: str, ended: bool) -> tuple[str, list[ToolCall]]:
        """The text, and the calls, that are complete now that `text` has come; all that is left where it has `ended`."""
        self._held += text
        if self.calling.style is None:
            return self._forced() if ended else ("", [])
        said, calls = "", []
        on = True
        while on and self._trimmed():
            more, found, on = self._next(self.calling.style, ended)
            said += more
            calls += found
            self._after = bool(found)
        self._said = self._said or bool(said.strip())
        return said, self._counted(calls)

    def _forced(self) -> tuple[str, list[ToolCall]]:
        """The calls of an answer that was held to a schema; its text where it was cut off."""
        text, self._held = self._held, ""
        if self.calling.only:
            return "", self._counted([call_of(self.calling.only, text)])
        calls = _calls(text)
        return ("", self._counted(calls)) if calls else (text, [])

    def _next(self, style: Style, ended: bool) -> tuple[str, list[ToolCall], bool]:
        """Text or calls at the beginning of what is held, and whether to look on."""
        start = self._held.find(style.opening)
        bare = style.bare and not self._said and self._held.lstrip().startswith(("{", "["))
        if bare and start < 0:
            return self._closed(0, "", "", ended)
        if start > 0:
            return self._let(start), [], True
        if start == 0:
            return self._closed(0, style.opening, style.closing, ended)
        waits = style.bare and not self._said and not self._held.strip()
        kept = 0 if ended else len(self._held) if waits else begun(self._held, style.opening)
        return self._let(len(self._held) - kept), [], False

    def _closed(self, start: int, opening: str, closing: str, ended: bool) -> tuple[str, list[ToolCall], bool]:
        """The call that begins the text which is held, once it is closed."""
        end = self._held.find(closing, len(opening)) if closing else -1
        if end < 0 and not ended:
            return "", [], False
        inner = self._held[len(opening) : end if end >= 0 else None]
        whole = self._let(end + len(closing) if end >= 0 else len(self._held))
        calls = _calls(inner)
        return ("" if calls else whole), calls, True

    def _trimmed(self) -> str:
        """What is held, without the space behind a call."""
        if self._after:
            self._held = self._held.lstrip()
        return self._held

    def _let(self, count: int) -> str:
        found, self._held = self._held[:count], self._held[count:]
        return found

    def _counted(self, calls: Sequence[ToolCall]) -> list[ToolCall]:
        kept = list(calls[: max(0, self.calling.most - self.called)])
        self.called += len(kept)
        return kept


def _calls(text: str) -> list[ToolCall]:
    """The calls in a text of JSON: an object, several with a semicolon or nothing between them, or a list. Empty where it is none."""
    decoder, found, at = json.JSONDecoder(), [], 0
    text = text.strip()
    try:
        while at < len(text):
            value, at = decoder.raw_decode(text, at)
            found += value if isinstance(value, list) else [value]
            while at < len(text) and text[at] in " \n\t;,":
                at += 1
    except (ValueError, RecursionError):
        return []
    read = [_read(each) for each in found]
    return [] if None in read else [each for each in read if each is not None]


def _read(value: Any) -> ToolCall | None:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    arguments = value.get("arguments", value.get("parameters", {}))
    return call_of(
        value["name"], arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    )


def call_of(name: str, arguments: str = "") -> ToolCall:
    """A new call."""
    return ToolCall(f"call_{uuid.uuid4().hex[:24]}", FunctionCall(name, arguments))


def begun(text: str, word: str) -> int:
    """How long the end of the text is that `word` may begin with."""
    return next((size for size in range(min(len(word) - 1, len(text)), 0, -1) if text.endswith(word[:size])), 0)
