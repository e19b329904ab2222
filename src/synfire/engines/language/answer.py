"""From what an engine makes, token by token, to what the caller is given: pieces, cut at stop words, from where they were left.

**Stop words.** Text is held back as long as a stop word may have begun in it, whole tokens at a time: so the tokens that were given
are those of the text that was given, and whoever has both can go on from there at another engine.

**Tokens without text**, the one that ends the answer among them, go with the next text, for the same reason.

**An answer that was given in part**, by an engine that is gone, goes on in one of two ways. One that is repeatable is made again from
its beginning, and what the caller has is left out: what was read as a prompt gives other low bits than what was made token by token,
and where two tokens are almost as likely, another text. Any other one goes on from the tokens that the caller has; so does
one that does not come out the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from synfire.ops.language_model import Generation, Piece, Scored, Sent, Tokens


@dataclass(frozen=True)
class Made:
    """What an engine made at a time: text, the numbers of its tokens as far as the engine tells them, and how many tokens were made
    up to here. The last has `finish`; `prompt_count` is how many tokens the engine began from."""

    text: str = ""
    tokens: Tokens = ()
    count: int = 0
    scores: tuple[Scored, ...] = ()
    finish: str = ""
    prompt_count: int = 0


class Otherwise(Exception):
    """Raised when an answer that is made again does not begin with what the caller has: go on from its tokens."""


@dataclass
class Answer:
    """The answer to one request on its way, made `again` from its beginning where the caller has a part of it, or from there on.

    `ended` is set once its last piece was given: what the engine makes then is of no use.
    """

    wanted: Generation
    again: bool = False
    ended: bool = False
    _held: list[Made] = field(default_factory=list)
    _count: int = 0
    _repeats: str = ""

    def __post_init__(self) -> None:
        if self.again:
            self._repeats = self.wanted.sent.text

    def take(self, made: Iterable[Made]) -> Piece | None:
        """The next piece, of all that was made since; None while nothing can be given.

        Raises `Otherwise`.
        """
        for each in made:
            self._hold(self._anew(_counted(each, self._count)))
            self._count = each.count or self._count
            if self._cut():
                return self._piece(self._release(len(self._held)), "stop")
            if each.finish:
                return self._piece(self._release(len(self._held)), each.finish)
        released = self._release(self._surely())
        return self._piece(released, "") if released else None

    def _hold(self, made: Made) -> None:
        if made.text or made.tokens or made.count:
            self._held.append(made)

    def _anew(self, made: Made) -> Made:
        """What is new of something made, where the caller has the beginning."""
        if not self._repeats:
            return made
        text, known = made.text, self._repeats
        size = min(len(text), len(known))
        if text[:size] != known[:size] or made.finish:
            raise Otherwise(f"{text!r} came where the caller has {known[: len(text)]!r}")
        self._repeats = known[size:]
        return replace(made, text=text[size:], tokens=() if size == len(text) else made.tokens, scores=())

    def _cut(self) -> bool:
        """Whether a stop word has come; what lies behind its beginning is dropped then."""
        text = self._text
        found = [place for word in self.wanted.stop if (place := text.find(word)) >= 0]
        if not found:
            return False
        left, kept = min(found), []
        for each in self._held:
            if len(each.text) <= left:
                kept.append(each)
            elif left:
                kept.append(replace(each, text=each.text[:left], tokens=(), scores=()))
            left -= min(left, len(each.text))
        last = self._held[-1]
        self._held = [*kept, Made(count=last.count, prompt_count=last.prompt_count)]
        return True

    def _surely(self) -> int:
        """How many of those held are no part of a stop word, and have text behind them or in them."""
        safe, end, sure = len(self._text) - _begun(self._text, self.wanted.stop), 0, 0
        for number, each in enumerate(self._held, 1):
            end += len(each.text)
            if end > safe:
                break
            if each.text:
                sure = number
        return sure

    @property
    def _text(self) -> str:
        return "".join(each.text for each in self._held)

    def _release(self, count: int) -> list[Made]:
        released, self._held = self._held[:count], self._held[count:]
        return released

    def _piece(self, made: Sequence[Made], finish: str) -> Piece:
        self.ended = bool(finish)
        before = Sent() if self.again else self.wanted.sent
        return Piece(
            "".join(each.text for each in made),
            tuple(token for each in made for token in each.tokens),
            tuple(score for each in made for score in each.scores),
            finish,
            before.count + (made[-1].count if made else 0),
            before.prompt_count or next((each.prompt_count for each in made if each.prompt_count), 0),
        )


def _counted(made: Made, before: int) -> Made:
    """Its text in place of its tokens, where the engine has not told them all: the bytes of a character may be several tokens."""
    whole = made.count - before == len(made.tokens) or not made.text
    return made if whole else replace(made, tokens=(made.text,))


def _begun(text: str, words: Sequence[str]) -> int:
    """How long the end of the text is that a stop word may begin with."""
    return max(
        (size for word in words for size in range(1, min(len(word), len(text) + 1)) if text.endswith(word[:size])),
        default=0,
    )
