"""What is given of what an engine makes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synfire.engines.language.answer import Answer, Made, Otherwise
from synfire.ops.language_model import Generation, Piece, Sent, resumed

LETTERS = st.text("abc", min_size=0, max_size=3)
MADE = st.lists(LETTERS, min_size=1, max_size=20)
STOPS = st.lists(st.text("abc", min_size=1, max_size=4), max_size=3).map(tuple)


def made(texts: list[str], finish: str = "length") -> list[Made]:
    """A token for each text, and the end."""
    tokens = [Made(text, (number,), number + 1, prompt_count=5) for number, text in enumerate(texts)]
    return [*tokens, Made("", (), len(texts), finish=finish, prompt_count=5)]


def pieces_of(wanted: Generation, tokens: list[Made], at_a_time: int = 1, again: bool = False) -> list[Piece]:
    answer, found = Answer(wanted, again), []
    for start in range(0, len(tokens), at_a_time):
        piece = answer.take(tokens[start : start + at_a_time])
        if piece is not None:
            found.append(piece)
        if answer.ended:
            break
    return found


def text_of(pieces: list[Piece]) -> str:
    return "".join(each.text for each in pieces)


@given(MADE, STOPS, st.integers(1, 5))
def test_an_answer_ends_before_its_first_stop_word_however_it_comes(texts, stops, at_a_time):
    pieces = pieces_of(Generation("", stop=stops), made(texts), at_a_time)
    by_token = [sum(map(len, texts[: n + 1])) for n in range(len(texts))]
    seen = next((end for end in by_token if any(stop in "".join(texts)[:end] for stop in stops)), None)
    whole = "".join(texts)[:seen]
    wanted = whole if seen is None else whole[: min(place for stop in stops if (place := whole.find(stop)) >= 0)]
    assert text_of(pieces) == wanted
    assert pieces[-1].finish == ("length" if seen is None else "stop")
    assert not any(each.finish for each in pieces[:-1])


@given(MADE, STOPS, st.integers(1, 5))
def test_tokens_that_are_given_are_those_of_the_text_that_is_given(texts, stops, at_a_time):
    sent = ""
    for piece in pieces_of(Generation("", stop=stops), made(texts), at_a_time):
        sent += piece.text
        if not piece.finish:
            assert "".join(texts[token] for token in piece.tokens) == piece.text
            assert piece.text


@given(MADE, st.integers(0, 20), st.integers(1, 5))
def test_an_answer_made_again_goes_on_where_it_was_left(texts, left, at_a_time):
    wanted = Generation("", temperature=0.0)
    first = pieces_of(wanted, made(texts))[:-1][:left]
    rest = pieces_of(resumed(wanted, first), made(texts), at_a_time, again=True)
    assert text_of(first) + text_of(rest) == "".join(texts)
    assert rest[-1].count == len(texts)
    assert rest[-1].prompt_count == 5


def test_an_answer_that_goes_on_counts_what_was_sent():
    wanted = Generation("", sent=Sent("ab", (0, 1), 2, 5))
    (only,) = pieces_of(wanted, [Made("c", (2,), 1, prompt_count=7, finish="stop")])
    assert (only.count, only.prompt_count, only.text) == (3, 5, "c")


@pytest.mark.parametrize("texts", [["b"], ["a"]])
def test_an_answer_that_comes_out_otherwise_says_so(texts):
    wanted = Generation("", seed=1, sent=Sent("ab", (0, 1), 2, 5))
    with pytest.raises(Otherwise):
        pieces_of(wanted, made(texts), again=True)


def test_tokens_that_an_engine_did_not_tell_are_told_by_their_text():
    (piece, _) = pieces_of(Generation(""), [Made("é", (7,), 2), Made(count=2, finish="stop")])
    assert piece.tokens == ("é",)


def test_the_token_that_ends_an_answer_is_not_among_those_to_go_on_from():
    pieces = pieces_of(Generation(""), [Made("a", (1,), 1), Made("", (2,), 2), Made(count=2, finish="stop")])
    assert [each.tokens for each in pieces if not each.finish] == [(1,)]


def test_scores_come_with_their_tokens():
    score = ("a", (97,), -0.5)
    (piece,) = pieces_of(Generation("", logprobs=0), [Made("a", (1,), 1, (score,), finish="stop")])
    assert piece.scores == (score,)
