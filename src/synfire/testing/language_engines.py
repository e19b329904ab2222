"""The conformance suite that every engine for language models passes.

    for name, check in CHECKS.items():
        check(program)

A check is given a program of a model with a small context, warm or not, and raises `AssertionError` where it breaks its promise.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from synfire.base.errors import ContextExceeded, UserError
from synfire.devices.mending import DeviceLost
from synfire.engines.streaming import Given, StreamingProgram
from synfire.ops.language_model import Generation, Piece, as_array, read_pieces, resumed

Check = Callable[[StreamingProgram], None]

PROMPT = "the king said"
_LONG = Generation(PROMPT, 48, 0.0, ignore_eos=True)
_PATIENCE_S = 60.0
_TRIES = 10
"""On a machine with too much to do, whoever asks may be late."""
_FEW_LOOKS = 4
"""At the end of an answer: its last tokens, and that it is over, may come one after the other."""


def given(program: StreamingProgram, wanted: Mapping[str, Generation]) -> Iterator[Given]:
    """What the program gives for these calls, all begun at once, until each has ended."""
    program.warm()
    for call, each in wanted.items():
        program.begin(call, {name: as_array(each, 1) for name in program.inputs})
    left = set(wanted)
    while left:
        assert select.select([program.fileno()], [], [], _PATIENCE_S)[0], (
            f"no word of {sorted(left)} for {_PATIENCE_S} s"
        )
        for part in program.given():
            assert part.call in left, f"something was given for {part.call}, which had ended"
            if part.last:
                left.discard(part.call)
            yield part


def answered(program: StreamingProgram, wanted: Mapping[str, Generation]) -> dict[str, list[Piece]]:
    """The pieces of every answer. Raises the first error that comes instead."""
    found: dict[str, list[Piece]] = {call: [] for call in wanted}
    for each in given(program, wanted):
        if each.error is not None:
            raise each.error
        found[each.call] += [piece for array in each.outputs.values() for piece in read_pieces(array)]
    return found


def answer(program: StreamingProgram, wanted: Generation) -> list[Piece]:
    """The pieces of one answer."""
    return answered(program, {"one": wanted})["one"]


def text_of(pieces: list[Piece]) -> str:
    return "".join(each.text for each in pieces)


def loads_and_rests(program: StreamingProgram) -> None:
    """Warmed it answers; resting it gives its process, and with it all memory, back; and it can be warmed again."""
    before = text_of(answer(program, _LONG))
    pid = process_of(program)
    program.rest()
    assert not Path(f"/proc/{pid}").exists(), f"process {pid} is there still, and holds its memory"
    program.rest()
    assert text_of(answer(program, _LONG)) == before, "warmed again it answers otherwise"


def streams(program: StreamingProgram) -> None:
    """An answer comes in several pieces: the last, and no other, says why it ended, and counts and tokens add up."""
    tries = (answer(program, _LONG) for _ in range(_TRIES))
    pieces = next((each for each in tries if len(each) > 1), [])
    assert pieces, f"the whole answer came in one piece, {_TRIES} times"
    assert [bool(each.finish) for each in pieces] == [False] * (len(pieces) - 1) + [True], (
        "another than the last finishes"
    )
    assert pieces[-1].finish == "length", f"after max_tokens it ends by {pieces[-1].finish!r}"
    assert pieces[-1].count == _LONG.max_tokens, f"{pieces[-1].count} tokens are counted, not {_LONG.max_tokens}"
    assert max(each.prompt_count for each in pieces) > 0, "nobody tells how many tokens the prompt has"
    assert all(one.count <= other.count for one, other in itertools.pairwise(pieces)), "the count goes back"
    assert not pieces[-1].text or pieces[-1].tokens, "there is text without a token"


def ends_at_stop_words(program: StreamingProgram) -> None:
    """A stop word ends the answer before itself, also where it lies across tokens, and nothing of it is ever given."""
    whole = text_of(answer(program, _LONG))
    for start, size in ((len(whole) // 2, 1), (len(whole) // 2, 9), (3, 6)):
        word = whole[start : start + size]
        pieces = answer(program, _replaced(_LONG, stop=("\x00 never", word)))
        wanted = whole[: whole.index(word)]
        assert text_of(pieces) == wanted, f"with the stop word {word!r} it gives {text_of(pieces)!r}, not {wanted!r}"
        assert pieces[-1].finish == "stop", f"a stop word ends it by {pieces[-1].finish!r}"


def repeats_with_a_seed(program: StreamingProgram) -> None:
    """With a seed, or without chance, answers are the same; another seed gives another one."""
    drawn = _replaced(_LONG, temperature=1.5, seed=7)
    assert text_of(answer(program, drawn)) == text_of(answer(program, drawn)), "the same seed gives two answers"
    others = {text_of(answer(program, _replaced(drawn, seed=seed))) for seed in range(4)}
    assert len(others) > 1, "four seeds give one answer"
    assert text_of(answer(program, _LONG)) == text_of(answer(program, _LONG)), "without chance two answers differ"


def scores_tokens(program: StreamingProgram) -> None:
    """Log-probabilities come for each token, the likeliest first, and the token that was taken greedily is the likeliest. An engine that
    knows none refuses to tell them."""
    if "logprobs" not in getattr(program, "abilities", ("logprobs",)):
        (refused,) = given(program, {"scored": _replaced(_LONG, logprobs=3)})
        assert isinstance(refused.error, UserError), (
            f"log-probabilities that it does not know are answered by {refused.error!r}"
        )
        return
    pieces = answer(program, _replaced(_LONG, logprobs=3))
    scores = [score for each in pieces for score in each.scores]
    assert len(scores) == _LONG.max_tokens, f"{len(scores)} tokens of {_LONG.max_tokens} are scored"
    for each in scores:
        values = [other.logprob for other in each.likeliest]
        assert len(values) == 3, f"{len(values)} likeliest tokens come, not 3"
        assert values == sorted(values, reverse=True), f"the likeliest are not in order: {values}"
        assert max(values) <= 0, f"a log-probability is above 0: {values}"
        assert np.isclose(each.logprob, values[0], atol=1e-4), "a greedy token is not the likeliest"
    assert not any(each.scores for each in answer(program, _LONG)), "scores come where nobody wants them"


def refuses_too_long_a_prompt(program: StreamingProgram) -> None:
    """A prompt beyond the context is refused with both numbers, and the next call is answered."""
    (found,) = given(program, {"long": Generation("king " * 5000, 4)})
    assert isinstance(found.error, ContextExceeded), f"a prompt of thousands of words is answered by {found.error!r}"
    assert any(letter.isdigit() for letter in str(found.error)), f"the refusal has no numbers: {found.error}"
    assert answer(program, _LONG)


def refuses_what_is_no_request(program: StreamingProgram) -> None:
    """Bytes that are no request end their own call alone."""
    program.warm()
    program.begin("bad", {name: np.array([b"{"], object) for name in program.inputs})
    select.select([program.fileno()], [], [], _PATIENCE_S)
    (found,) = program.given()
    assert found.last, "the call goes on"
    assert isinstance(found.error, UserError), f"it is answered by {found.error!r}"
    assert answer(program, _LONG)


def answers_many_at_a_time(program: StreamingProgram) -> None:
    """Three times as many calls as it works on at a time are all answered, and several of them side by side."""
    calls = {f"call {number}": _LONG for number in range(3 * program.capacity)}
    order = [each.call for each in given(program, calls)]
    assert set(order) == set(calls), "a call was not answered"
    first = order[: order.index(order[-1])]
    assert len(set(first)) > 1 or program.capacity == 1, "one call after the other is answered"


def gathers(program: StreamingProgram) -> None:
    """While it is to gather, nothing but the end of an answer wakes whoever waits; all that was made comes with that."""
    program.warm()
    program.begin("one", {name: as_array(_replaced(_LONG, max_tokens=32), 1) for name in program.inputs})
    found: list[Piece] = []
    while not found:
        select.select([program.fileno()], [], [], _PATIENCE_S)
        found = _pieces_given(program)
    program.gather(True)
    looks = 0
    while not found[-1].finish:
        assert select.select([program.fileno()], [], [], _PATIENCE_S)[0], "nobody is woken by the end of an answer"
        looks, found = looks + 1, found + _pieces_given(program)
    program.gather(False)
    assert looks <= _FEW_LOOKS, f"it woke {looks} times before an answer of 32 tokens had ended"
    assert found[-1].count == 32, f"{found[-1].count} tokens are counted, not 32"


def _pieces_given(program: StreamingProgram) -> list[Piece]:
    return [piece for each in program.given() for array in each.outputs.values() for piece in read_pieces(array)]


def cancels(program: StreamingProgram) -> None:
    """A cancelled call gives nothing more, whether it ran or waited, and makes room; one that is over may be cancelled."""
    calls = {f"call {number}": _replaced(_LONG, max_tokens=None) for number in range(2 * program.capacity)}
    program.warm()
    for call, each in calls.items():
        program.begin(call, {name: as_array(each, 1) for name in program.inputs})
    select.select([program.fileno()], [], [], _PATIENCE_S)
    program.given()
    for call in calls:
        program.cancel(call)
    assert not program.given(), "something comes for calls that were cancelled"
    began_s = time.monotonic()
    assert text_of(answer(program, _LONG)), "nothing is answered after cancellations"
    assert time.monotonic() - began_s < _PATIENCE_S / 2, "what was cancelled goes on, and takes the time of others"
    program.cancel("call 0")


def goes_on_from_what_was_sent(program: StreamingProgram) -> None:
    """An answer that was given in part goes on behind that, without a gap and without a repetition, wherever it was cut."""
    for wanted in (_LONG, _replaced(_LONG, temperature=1.5, seed=11)):
        pieces = answer(program, wanted)
        for cut in (1, len(pieces) // 2, len(pieces) - 1):
            rest = answer(program, resumed(wanted, pieces[:cut]))
            whole = text_of(pieces[:cut]) + text_of(rest)
            assert whole == text_of(pieces), f"cut behind piece {cut} it goes on otherwise"
            assert rest[-1].count == pieces[-1].count, f"{rest[-1].count} tokens are counted, not {pieces[-1].count}"
    drawn = _replaced(_LONG, temperature=1.5)
    pieces = answer(program, drawn)
    rest = answer(program, resumed(drawn, pieces[: len(pieces) // 2]))
    assert rest[-1].count == drawn.max_tokens, "an answer by chance gets longer, or shorter, where it was cut"


def holds_to_a_schema(program: StreamingProgram) -> None:
    """An answer to a schema is JSON that fits it, however it is drawn, also where it is made again; what it cannot promise it refuses."""
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 1, "maximum": 5}, "s": {"enum": ["a", "b"]}},
        "required": ["n", "s"],
    }
    if not _can(program, Generation(PROMPT, schema=schema), "schema"):
        return
    for seed in range(4):
        wanted = Generation(PROMPT, 64, 1.5, seed=seed, schema=schema)
        pieces = answer(program, wanted)
        found = json.loads(text_of(pieces))
        assert found["n"] in range(1, 6), f"n is {found['n']}"
        assert found["s"] in ("a", "b"), f"s is {found['s']}"
        assert pieces[-1].finish == "stop", f"whole JSON ends by {pieces[-1].finish!r}"
        rest = answer(program, resumed(wanted, pieces[:1]))
        assert text_of(pieces[:1]) + text_of(rest) == text_of(pieces), "JSON that is made again comes out otherwise"
    (refused,) = given(program, {"one": Generation(PROMPT, schema={"not": {}})})
    assert isinstance(refused.error, UserError), f"a schema that cannot be held to is answered by {refused.error!r}"


def tells_tokens(program: StreamingProgram) -> None:
    """A text's tokens are told, each with its text, with those before it that its tokenizer puts there, or without; and the text of
    tokens."""
    wanted = Generation(PROMPT, task="tokenize")
    if not _can(program, wanted, "tokenize"):
        return
    (piece,) = answer(program, wanted)
    assert piece.finish == "stop"
    assert piece.tokens, "a text has no tokens"
    assert len(piece.scores) == len(piece.tokens), f"{len(piece.tokens)} tokens have {len(piece.scores)} texts"
    (bare,) = answer(program, Generation(PROMPT, task="tokenize", special=False))
    assert piece.tokens[-len(bare.tokens) :] == bare.tokens, "a text's tokens change with those before it"
    (back,) = answer(program, Generation(bare.tokens, task="detokenize"))
    assert back.text.strip() == PROMPT, f"the tokens of {PROMPT!r} are those of {back.text!r}"
    (unknown,) = given(program, {"one": Generation((2**31 - 1,), task="detokenize")})
    assert isinstance(unknown.error, UserError), f"a token that there is not is answered by {unknown.error!r}"


def refuses_what_it_cannot(program: StreamingProgram) -> None:
    """Tasks that it is not made for end with an error that names them, and the next call is answered."""
    for task in ("embed", "rank"):
        assert not _can(program, Generation(PROMPT, task=task, passage="x"), task), (
            f"a model that makes text can {task}"
        )
    assert answer(program, _LONG)


def _can(program: StreamingProgram, wanted: Generation, ability: str) -> bool:
    """Whether the program says that it is able to; where not, asking for it is refused by name."""
    if ability in getattr(program, "abilities", ("generate",)):
        return True
    (refused,) = given(program, {"one": wanted})
    assert isinstance(refused.error, UserError), f"{ability} is answered by {refused.error!r}"
    assert ability in str(refused.error), f"the refusal does not name {ability}: {refused.error}"
    return False


def tells_of_its_end(program: StreamingProgram) -> None:
    """A process that is killed in the midst of an answer is told of at once, and another one answers."""
    before = text_of(answer(program, _LONG))
    program.begin("cut", {name: as_array(_replaced(_LONG, max_tokens=None), 1) for name in program.inputs})
    os.kill(process_of(program), signal.SIGKILL)
    lost = _loss(program)
    assert lost is not None, "nobody tells that the process has ended"
    assert "SIGKILL" in str(lost), f"it does not say how it ended: {lost}"
    assert text_of(answer(program, _LONG)) == before, "another process answers otherwise"


def _loss(program: StreamingProgram) -> DeviceLost | None:
    """What the program tells of its process's end, within some looks at it."""
    for _ in range(1000):
        select.select([program.fileno()], [], [], _PATIENCE_S)
        try:
            program.given()
        except DeviceLost as lost:
            return lost
    return None


def process_of(program: StreamingProgram) -> int:
    """The process that runs the model. Raises `AssertionError` for a program that does not tell."""
    pid = getattr(program, "pid", None)
    assert isinstance(pid, int), f"{type(program).__name__} has no `pid`: the suite could not kill its process"
    return pid


def _replaced(wanted: Generation, **changes: object) -> Generation:
    fields = {name: getattr(wanted, name) for name in wanted.__struct_fields__}
    return Generation(**{**fields, **changes})


def gives_vectors(program: StreamingProgram) -> None:
    """Of a model for vectors: each is of length 1, the same for the same text, alone or beside others."""
    (alone,) = answer(program, Generation(PROMPT, task="embed"))
    length = np.linalg.norm(np.frombuffer(alone.vector, "<f4"))
    assert np.isclose(length, 1, atol=1e-3), f"its length is {length}"
    assert alone.prompt_count > 0, "nobody tells how many tokens the text has"
    texts = ["the night", "a sword and his king", "hot", PROMPT]
    wanted = {f"{text} {time}": Generation(text, task="embed") for time in range(8) for text in texts}
    alone_too = {text: answer(program, Generation(text, task="embed"))[0].vector for text in texts}
    assert len(set(alone_too.values())) == len(texts), "unlike texts have one vector"
    for call, (piece,) in answered(program, wanted).items():
        found, apart = (np.frombuffer(each, "<f4") for each in (piece.vector, alone_too[call.rpartition(" ")[0]]))
        assert np.allclose(found, apart, atol=1e-3), f"beside others the vector of {call!r} is another one"
    (long,) = given(program, {"long": Generation("king " * 5000, task="embed")})
    assert isinstance(long.error, ContextExceeded), f"too long a text is answered by {long.error!r}"


CHECKS: Mapping[str, Check] = {
    check.__name__: check
    for check in (
        loads_and_rests,
        streams,
        ends_at_stop_words,
        repeats_with_a_seed,
        scores_tokens,
        refuses_too_long_a_prompt,
        refuses_what_is_no_request,
        answers_many_at_a_time,
        gathers,
        cancels,
        goes_on_from_what_was_sent,
        holds_to_a_schema,
        tells_tokens,
        refuses_what_it_cannot,
        tells_of_its_end,
    )
}
