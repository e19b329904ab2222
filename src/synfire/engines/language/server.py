"""A language model on a server of its own, in a supervised process: asked at a Unix socket, each answer followed as it comes.

What such a server speaks is llama.cpp's `POST /completion`, as a stream of events: of the engines' own protocols the one that tells the
numbers of tokens, their probabilities and why an answer ends. An engine that has no server is given one that speaks it.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import time
from abc import abstractmethod
from collections import OrderedDict, deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from synfire.base.errors import Bug, ContextExceeded, PermanentError, SynfireError, UserError
from synfire.base.log import LOGGER
from synfire.devices.mending import DeviceLost
from synfire.engines.language import tasks
from synfire.engines.language.answer import Answer, Made, Otherwise
from synfire.engines.language.child import EngineChild
from synfire.engines.language.exchange import Exchange
from synfire.engines.language.grammar import grammar_of
from synfire.engines.streaming import Given, StreamingProgram
from synfire.graph import Graph
from synfire.ops import Array
from synfire.ops.language_model import Ability, Generation, LanguageModel, Likely, Piece, Scored, as_array, read_request

_READ, _WRITE, _END = select.EPOLLIN, select.EPOLLOUT, select.EPOLLRDHUP
_FINISH = {"limit": "length"}
CHOOSING: tuple[Ability, ...] = ("generate", "logprobs", "logit_bias")
"""What a server can that goes on from texts, and tells and changes how likely tokens are."""
_MOST_SEED = 0xFFFFFFFF
_NO_TOKEN = "_M_range_check"
"""In what llama.cpp says of a token that its vocabulary does not hold."""
_TOO_LARGE = re.compile(r"input \((\d+) tokens\) is too large to process")
"""What llama.cpp says of a text that is too long to be made a vector of."""


class _Probability(msgspec.Struct):
    token: str = ""
    bytes: tuple[int, ...] = ()
    logprob: float = 0.0
    top_logprobs: list[_Probability] = []


class _Event(msgspec.Struct):
    """What the server says of the text that it has made since, of which we read this much; or an error."""

    content: str = ""
    tokens: tuple[int, ...] = ()
    stop: bool = False
    stop_type: str = ""
    tokens_predicted: int = 0
    tokens_evaluated: int = 0
    completion_probabilities: list[_Probability] = []
    error: Any = None


class _Refusal(msgspec.Struct):
    message: str = ""
    type: str = ""
    n_prompt_tokens: int = 0
    n_ctx: int = 0


class _Refused(msgspec.Struct):
    error: _Refusal = msgspec.field(default_factory=_Refusal)


@dataclass
class _Talk:
    """A call that the server works on."""

    call: str
    answer: Answer
    exchange: Exchange


class ServerProgram(StreamingProgram):
    """One model on a server of its own. As many calls as it has streams are under way; others wait in the order of their coming."""

    engine: str
    """What the engine is called, for the words of errors."""

    completion: str = "/completion"
    """Where its server is asked to go on from a text."""

    def __init__(self, graph: Graph, model: LanguageModel) -> None:
        super().__init__(graph)
        self.model = model
        (self._input,) = graph.inputs
        (self._output,) = self.outputs
        self._child: EngineChild | None = None
        self._epoll: select.epoll | None = None
        self._bell = -1
        self._waiting: OrderedDict[str, Generation] = OrderedDict()
        self._talks: dict[int, _Talk] = {}
        self._ready: deque[Given] = deque()
        self._quiet = False

    @property
    def capacity(self) -> int:
        return self.model.streams

    @property
    def abilities(self) -> Collection[Ability]:
        """What it can; a request that takes more is refused."""
        return CHOOSING

    @property
    def pid(self) -> int | None:
        """The process that runs the model; None while none does."""
        return self._child.pid if self._child is not None else None

    def warm(self) -> None:
        """Load the model, where it is not loaded. Raises `UserError` for weights that are gone or changed, and `PermanentError` for
        those that the engine refuses."""
        if self._child is not None and self._child.alive:
            return
        self.rest()
        child = self.launched()
        child.ready()
        self._child, self._epoll, self._bell = child, select.epoll(), os.eventfd(0, os.EFD_NONBLOCK)
        self._epoll.register(child.lifeline.fileno(), _READ)
        self._epoll.register(self._bell, _READ)

    @abstractmethod
    def launched(self) -> EngineChild:
        """A process that loads the model, or has. Raises `UserError` for weights that are gone or changed."""

    def dismiss(self, child: EngineChild) -> None:
        """The process is of no more use to this program."""
        child.end()

    def body(self, wanted: Generation, again: bool) -> dict[str, Any]:
        """The request as its server takes it at `completion`; see `body_of`."""
        return body_of(wanted, self.model.context, again)

    def made(self, exchange: Exchange) -> Iterator[Made]:
        """What the events say that have come. Raises what an event among them says."""
        return _made(exchange, self.engine)

    def refusal(self, exchange: Exchange) -> SynfireError:
        """Why the server did not answer, or not to the end."""
        return _refusal(exchange, self.engine)

    def rest(self) -> None:
        for talk in list(self._talks.values()):
            self._close(talk)
        self._waiting.clear()
        self._ready.clear()
        self._quiet = False
        if self._child is not None and self._epoll is not None:
            self._epoll.close()
            os.close(self._bell)
            self.dismiss(self._child)
            self._child = self._epoll = None

    def __del__(self) -> None:
        with contextlib.suppress(
            Exception
        ):  # at the interpreter's end what it needs may be gone; the lifeline ends the child
            self.rest()

    def fileno(self) -> int:
        return self._watched.fileno()

    def begin(self, call: str, inputs: Mapping[str, Array]) -> None:
        try:
            self._waiting[call] = self._accepted(inputs)
        except UserError as error:
            self._ready.append(Given(call, {}, True, error))
        self._admit()
        self._ring()

    def cancel(self, call: str) -> None:
        self._waiting.pop(call, None)
        for talk in [each for each in self._talks.values() if each.call == call]:
            self._close(talk)
        self._admit()
        self._ring()

    def given(self) -> list[Given]:
        for descriptor, happened in self._watched.poll(0):
            if descriptor in self._talks:
                self._serve(self._talks[descriptor], happened)
            elif descriptor == self._bell:
                os.eventfd_read(self._bell)
            elif self._child is not None:
                raise self._loss(self._child)
        self._admit()
        found = list(self._ready)
        self._ready.clear()
        return found

    def gather(self, quiet: bool) -> None:
        self._quiet = quiet
        for descriptor, talk in self._talks.items():
            self._watched.modify(descriptor, self._awaited(talk))

    @property
    def _watched(self) -> select.epoll:
        if self._epoll is None:
            raise Bug(f"language model {self._output} is not loaded; warm the program first")
        return self._epoll

    def _loss(self, child: EngineChild) -> DeviceLost:
        began_s = time.monotonic()
        return DeviceLost("engine exit", f"{self.engine} {child.pid}", child.obituary(), began_s)

    def _accepted(self, inputs: Mapping[str, Array]) -> Generation:
        """The request. Raises `UserError` for what is none, and for what the engine is not able to."""
        wanted = read_request(inputs[self._input])
        wanted.check_for(self.engine, self.abilities)
        if wanted.schema is not None:
            grammar_of(wanted.schema)
        return wanted

    def _ring(self) -> None:
        """Have `fileno` tell of what is ready although no engine said anything."""
        if self._ready:
            os.eventfd_write(self._bell, 1)

    def _admit(self) -> None:
        """Begin the calls that wait, as many as there is room for."""
        while self._waiting and len(self._talks) < self.capacity:
            call, wanted = self._waiting.popitem(last=False)
            if wanted.sent.count and wanted.sent.count == wanted.max_tokens:  # only its end was lost
                self._give_piece(
                    call, Piece(finish="length", count=wanted.sent.count, prompt_count=wanted.sent.prompt_count)
                )
                continue
            try:
                self._ask(call, wanted, bool(wanted.sent.text) and (wanted.repeatable or wanted.schema is not None))
            except PermanentError as error:  # it is gone, or will be: the lifeline tells
                LOGGER.info("%s", error)
                self._waiting[call] = wanted
                self._waiting.move_to_end(call, last=False)
                return

    def _ask(self, call: str, wanted: Generation, again: bool) -> None:
        if wanted.task == "generate":
            target, body = self.completion, self.body(wanted, again)
        else:
            target, body = tasks.question(wanted)
        exchange = Exchange(self.address, target, msgspec.json.encode(body))
        self._talks[exchange.fileno()] = talk = _Talk(call, Answer(wanted, again), exchange)
        self._watched.register(exchange.fileno(), _READ)
        self._write(talk)

    @property
    def address(self) -> str:
        return self._child.address if self._child is not None else ""

    def _write(self, talk: _Talk) -> None:
        talk.exchange.send()
        self._watched.modify(talk.exchange.fileno(), self._awaited(talk))

    def _awaited(self, talk: _Talk) -> int:
        """What is to be told of a talk."""
        return (_END if self._quiet else _READ) | (_WRITE if talk.exchange.unsent else 0)

    def _serve(self, talk: _Talk, happened: int) -> None:
        if happened & _WRITE:
            self._write(talk)
        if not happened & ~_WRITE:
            return
        try:
            talk.exchange.receive()
            piece = self._piece(talk)
            if piece is not None:
                self._give_piece(talk.call, piece)
            if piece is not None and piece.finish:
                self._close(talk)
            elif talk.exchange.ended:
                raise self.refusal(talk.exchange)
        except Otherwise as otherwise:
            LOGGER.info("%s: %s", talk.call, otherwise)
            self._close(talk)
            self._ask_anew(talk)
        except SynfireError as error:
            self._ready.append(Given(talk.call, {}, True, error))
            self._close(talk)

    def _piece(self, talk: _Talk) -> Piece | None:
        """What has come of an answer that can be given."""
        exchange, wanted = talk.exchange, talk.answer.wanted
        if exchange.status != 200:
            return None
        if wanted.task == "generate":
            return talk.answer.take(self.made(exchange))
        return tasks.told(wanted, exchange.body, self.engine) if exchange.ended else None

    def _ask_anew(self, talk: _Talk) -> None:
        """Go on from the tokens that the caller has."""
        if talk.answer.wanted.schema is None:
            self._ask(talk.call, talk.answer.wanted, False)
            return
        error = PermanentError(
            "the engine was lost in the midst of this answer, and another one made it otherwise; an answer to a schema cannot be gone on "
            "with from its midst: ask again"
        )
        self._ready.append(Given(talk.call, {}, True, error))

    def _give_piece(self, call: str, piece: Piece) -> None:
        self._ready.append(Given(call, {self._output: as_array(piece, 1, 1)}, bool(piece.finish)))

    def _close(self, talk: _Talk) -> None:
        if self._talks.pop(talk.exchange.fileno(), None) is not None:
            self._watched.unregister(talk.exchange.fileno())
        talk.exchange.close()


def body_of(wanted: Generation, context: int, again: bool = False) -> dict[str, Any]:
    """The request as a server takes it at `/completion`: from the beginning `again`, or from what the caller has. Every choice of a
    token is named, since its defaults are not ours."""
    before = () if again else wanted.sent.tokens
    prompt: Any = wanted.prompt
    if before:
        prompt = [*([prompt] if isinstance(prompt, str) else prompt), *before]
    body: dict[str, Any] = {
        "prompt": prompt,
        "stream": True,
        "return_tokens": True,
        "n_predict": -1 if wanted.max_tokens is None else wanted.max_tokens - (wanted.sent.count if before else 0),
        "temperature": wanted.temperature,
        "top_p": wanted.top_p,
        "top_k": wanted.top_k,
        "min_p": wanted.min_p,
        "frequency_penalty": wanted.frequency_penalty,
        "presence_penalty": wanted.presence_penalty,
        "repeat_penalty": wanted.repeat_penalty,
        "repeat_last_n": context if wanted.repeat_last_n is None else wanted.repeat_last_n,
        "ignore_eos": wanted.ignore_eos,
    }
    if wanted.seed is not None:
        body["seed"] = wanted.seed & _MOST_SEED
    if wanted.logit_bias:
        body["logit_bias"] = [[token, bias] for token, bias in wanted.logit_bias.items()]
    if wanted.logprobs is not None:
        body["n_probs"] = max(1, wanted.logprobs)
    if wanted.schema is not None:
        body["grammar"] = grammar_of(wanted.schema)
    if wanted.shown:
        body["preserved_tokens"] = wanted.shown
    return body


def _made(exchange: Exchange, engine: str) -> Iterator[Made]:
    """What the events say that have come. Raises what an event among them says."""
    for data in exchange.events():
        try:
            event = msgspec.json.decode(data, type=_Event)
        except msgspec.DecodeError as error:
            raise PermanentError(f"{engine} says {data[:200]!r}, which is no event of a completion: {error}") from error
        if event.error is not None:
            raise PermanentError(f"{engine} failed while it answered: {event.error}; ask again")
        finish = _FINISH.get(event.stop_type, "stop") if event.stop else ""
        scores = tuple(map(_scored, event.completion_probabilities))
        yield Made(event.content, event.tokens, event.tokens_predicted, scores, finish, event.tokens_evaluated)


def _scored(of: _Probability) -> Scored:
    likeliest = tuple(Likely(each.token, each.bytes, each.logprob) for each in of.top_logprobs)
    return Scored(of.token, of.bytes, of.logprob, likeliest)


def _refusal(exchange: Exchange, engine: str) -> SynfireError:
    """Why the server did not answer, or not to the end."""
    if exchange.status == 200 or not exchange.status:
        return PermanentError(f"{engine} has closed the connection in the midst of an answer; ask again")
    try:
        said = msgspec.json.decode(exchange.body, type=_Refused).error
    except msgspec.DecodeError:
        said = _Refusal(exchange.body[:500].decode(errors="replace"))
    if said.type == "exceed_context_size_error":
        return ContextExceeded(
            f"this model's maximum context length is {said.n_ctx} tokens, and the prompt has {said.n_prompt_tokens}; make it "
            "shorter"
        )
    if too_large := _TOO_LARGE.search(said.message):
        return ContextExceeded(
            f"the text has {too_large[1]} tokens, more than this model's context length, and it is read at once; make it shorter"
        )
    if _NO_TOKEN in said.message:
        return UserError("a token's number lies beyond this model's vocabulary; send tokens of its own tokenizer")
    if exchange.status in (400, 422):
        return UserError(f"{engine} refuses the request: {said.message}")
    return PermanentError(f"{engine} failed with status {exchange.status}: {said.message}")
