"""What a model thinks before it answers, told apart from the answer: the text between `<think>` and `</think>`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from synfire.gateway.language.card import Card
from synfire.gateway.language.listening import begun
from synfire.ops.language_model import Generation

OPENING, CLOSING = "<think>", "</think>"
SWITCH = "enable_thinking"
"""The variable by which chat templates are told whether the model is to think."""


class Heard(NamedTuple):
    """What is new: of the thoughts, and of the answer."""

    thought: str
    said: str


@dataclass
class Thinking:
    """Tells thoughts from the answer as both come. `inside` says that thoughts have begun, as where the prompt ends with their opening.

    Text is held back where a mark may begin, until it is one or surely none. Spaces around the marks belong to nobody.
    """

    inside: bool = False
    _held: str = ""
    _over: bool = False
    _blank: bool = True

    def take(self, text: str, ended: bool) -> Heard:
        """What is complete now that `text` has come; all that is left where it has `ended`."""
        self._held += text
        thought = said = ""
        if not (self.inside or self._over):
            self._begin(ended)
        if self.inside:
            thought = self._thought(ended)
        if self._over:
            said, self._held = self._trimmed(self._held), ""
        return Heard(thought, said)

    def _begin(self, ended: bool) -> None:
        """Whether the answer begins with thoughts: they are nowhere else."""
        start = self._held.lstrip()
        if start.startswith(OPENING):
            self.inside, self._held = True, start[len(OPENING) :]
        elif ended or not OPENING.startswith(start):
            self._over, self._blank = True, False

    def _thought(self, ended: bool) -> str:
        found, closing, rest = self._held.partition(CLOSING)
        if closing:
            self.inside, self._over, self._held = False, True, rest
            thought = self._trimmed(found).rstrip()
            self._blank = True
            return thought
        sure = len(found) if ended else len(found[: len(found) - begun(found, CLOSING)].rstrip())
        self._held = found[sure:]
        return self._trimmed(found[:sure])

    def _trimmed(self, text: str) -> str:
        """The text without the space that it begins with, where nothing came before it."""
        text = text.lstrip() if self._blank else text
        self._blank = self._blank and not text
        return text


def thinks(card: Card) -> bool:
    """Whether the model was trained to think, as its template shows."""
    template = card.template or card.chat_template or ""
    return CLOSING in template or OPENING in template


def thinking_of(card: Card, wanted: Sequence[Generation]) -> Callable[[], Thinking] | None:
    """What tells thoughts apart in each of the wanted answers; None for a model that does not think, and for answers that are held to
    a schema, which leaves no room for thoughts."""
    first = wanted[0]
    if first.schema is not None or not thinks(card):
        return None
    inside = isinstance(first.prompt, str) and first.prompt.rstrip().endswith(OPENING)
    return lambda: Thinking(inside)
