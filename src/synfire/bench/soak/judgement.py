"""What became of each request, and whether that is as it was promised: answered once, right, or by an error that is excused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import inf
from typing import Literal

from synfire.bench.soak.strokes import KNOWN, SERVE_KILL, SHORTAGE

Outcome = Literal["right", "wrong", "refused", "broken", "silent", "left", "unreached"]
"""`refused`: an error came, also at the end of a streamed answer. `broken`: the connection ended before the answer. `silent`: nothing came for very long.
`left`: the caller went away. `unreached`: the gateway took no connection."""

SLACK_S = 0.05
"""How much earlier than its deadline, by the caller's clock, a request may be told that it has passed: it is counted from its arrival."""


STOPPED = "refused as its model is stopped"
UNLIKE = "right by the bits of a processor in place of a device"
DEVICE_CHANGED = "refused as its model has moved to another device"
CORRUPTED = "wrong by a corrupted bit"
PROVISIONAL = (STOPPED, UNLIKE, DEVICE_CHANGED, CORRUPTED)
"""Classes of what is only as it should be if the records of recoveries tell of it; `synfire.bench.soak.claims` asks these."""

WRONG_BITS = "has the wrong bits"
"""What is said of an output whose shape and type are right."""


class Violation(Exception):
    """Raised when something that synfire promises does not hold."""


@dataclass(frozen=True)
class Refusal:
    """The error that a faulty request must be answered with."""

    status: int
    words: str

    def __str__(self) -> str:
        return f"status {self.status} with {self.words!r}"


@dataclass(frozen=True)
class Exchange:
    """A request and what came of it. Times are on the monotonic clock, in seconds.

    `opened_s` is when its connection was opened; `session_s` when its session began, None for no session and for the call that
    begins it. `timeout_s` is the time that it allowed, where it allowed little, and `expected` the error it asked for. `unlike`
    are the stages of which a right answer has the bits of a processor, in place of the device that they are planned for.
    """

    kind: str
    model: str
    sent_s: float
    ended_s: float
    outcome: Outcome
    status: int = 0
    text: str = ""
    opened_s: float = 0.0
    session_s: float | None = None
    timeout_s: float | None = None
    expected: Refusal | None = None
    unlike: tuple[str, ...] = ()

    def __str__(self) -> str:
        ended = f"{self.outcome} after {1e3 * (self.ended_s - self.sent_s):.0f} ms"
        said = f"status {self.status}, {self.text}" if self.status else self.text
        return f"a {self.kind} request to {self.model} was {ended}: {said}"


@dataclass(frozen=True)
class Excuse:
    """While it lasts, and for sessions from before, a stroke of `kind` excuses what follows from it: the end of a gateway; where a
    `model` is named, that it is served no longer; that models are stopped; or that a bit was corrupted on the chip of `worker` under
    a `stage`, which is named with its model. At `struck_s` that has surely happened.

    With `synfire serve` the gateways end too, in order: they answer what they have accepted, and refuse the rest.
    """

    kind: str
    from_s: float
    until_s: float = inf
    model: str = ""
    worker: str = ""
    stage: str = ""
    struck_s: float = -inf

    @property
    def breaks(self) -> bool:
        """Whether it ends a gateway."""
        return KNOWN[self.kind].breaks

    @property
    def corrupts(self) -> bool:
        """Whether it makes answers wrong."""
        return KNOWN[self.kind].corrupts

    def ended(self, at_s: float) -> Excuse:
        """The same, over since `at_s`."""
        return replace(self, until_s=at_s)


def judged(exchange: Exchange, excuses: Iterable[Excuse]) -> str:
    """The class of what came of the request. Raises `Violation` where it is not as it should be, and nothing excuses that."""
    found = _as_it_should_be(exchange)
    if not found and exchange.outcome in ("refused", "broken", "unreached", "wrong"):
        found = next(filter(None, (excused(exchange, each) for each in excuses)), "")
    if not found:
        should = f"it should have been {exchange.expected}, and " if exchange.expected else ""
        raise Violation(f"{exchange}; {should}nothing that happened excuses it")
    return found


def _as_it_should_be(exchange: Exchange) -> str:
    expected = exchange.expected
    if expected is not None:
        fits = exchange.status == expected.status and expected.words in exchange.text
        return f"refused with {expected.status}, as it should be" if fits else ""
    if exchange.outcome in ("right", "left"):
        return UNLIKE if exchange.unlike else exchange.outcome
    if exchange.outcome == "refused" and _says(exchange, _DEVICE_CHANGED):
        return DEVICE_CHANGED
    late = exchange.timeout_s is not None and exchange.ended_s - exchange.sent_s >= exchange.timeout_s - SLACK_S
    return "past its own deadline" if exchange.status == 504 and late else ""


def excused(exchange: Exchange, excuse: Excuse) -> str:
    """How the stroke excuses what happened; empty where it does not."""
    if excuse.model and exchange.model != excuse.model:
        return ""
    begun_s = exchange.sent_s if exchange.session_s is None else exchange.session_s
    if excuse.corrupts or exchange.outcome == "wrong":
        touched = exchange.ended_s >= excuse.from_s and begun_s <= excuse.until_s and excuse.corrupts
        return CORRUPTED if touched and exchange.outcome == "wrong" and _says(exchange, (WRONG_BITS,)) else ""
    during = exchange.ended_s >= excuse.from_s and exchange.sent_s <= excuse.until_s
    if excuse.kind == SHORTAGE:
        return STOPPED if during and exchange.outcome == "refused" and _says(exchange, _STOPPED) else ""
    before = exchange.session_s is not None and exchange.session_s <= excuse.until_s
    if before and exchange.ended_s >= excuse.from_s and exchange.status == 400 and _says(exchange, _SESSION_LOST):
        return f"session lost by {excuse.kind}"
    if excuse.model:
        return f"not served during {excuse.kind}" if during and _says(exchange, _UNSERVED) else ""
    return _by_a_gateway(exchange, excuse, during)


def _by_a_gateway(exchange: Exchange, excuse: Excuse, during: bool) -> str:
    """How the end of a gateway excuses what happened."""
    if exchange.outcome == "broken" and excuse.from_s <= exchange.ended_s <= excuse.until_s:
        return f"broken by {excuse.kind}"
    if exchange.outcome == "unreached" and during:
        return f"unreached during {excuse.kind}"
    if exchange.kind in _WITH_SESSIONS and during and exchange.status == 503 and _says(exchange, _KEEPER_LOST):
        return f"session refused by another gateway during {excuse.kind}"
    if excuse.kind == SERVE_KILL and during and exchange.status in _REFUSED and _says(exchange, _ENDING):
        return f"refused by a gateway that {excuse.kind} ends"
    return ""


def _says(exchange: Exchange, words: Iterable[str]) -> bool:
    return any(each in exchange.text for each in words)


_WITH_SESSIONS = ("session", "faulty")
"""The kinds of calls that may name a session."""

_SESSION_LOST = ("is not open", "lost its state")
_KEEPER_LOST = ("which kept the session, was lost", "which keeps the session, is away")
_UNSERVED = ("there is no model named", "is being unloaded")
_STOPPED = ("cannot be served: ",)
_DEVICE_CHANGED = ("has moved to another device", "moved to another device, which computes otherwise")
_REFUSED = (503, 200)
"""The status of a refusal: of a stream that had begun the status is there already, and its last event says why it ends."""

_ENDING = ("the gateway is shutting down", "its supervisor is gone")
