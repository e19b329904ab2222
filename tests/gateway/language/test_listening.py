"""Calls of functions in what a model says."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synfire.gateway.language.listening import STYLES, Calling, Listener, Style

HERMES, MISTRAL, LLAMA = STYLES[0], STYLES[1], STYLES[2]

Heard = tuple[str, list[tuple[str, object]]]


def heard(calling: Calling, text: str, cuts: tuple[int, ...] = ()) -> Heard:
    """What is said and called, when the text comes in pieces."""
    listener = Listener(calling)
    edges = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    said, calls = "", []
    for start, end in itertools.pairwise(edges):
        more, found = listener.take(text[start:end], False)
        said += more
        calls += found
    more, found = listener.take("", True)
    return said + more, [(each.function.name, json.loads(each.function.arguments)) for each in [*calls, *found]]


ONE = '{"name": "f", "arguments": {"a": 1}}'
OTHER = '{"name": "g", "parameters": {}}'

SAID: list[tuple[Style, str, Heard]] = [
    (HERMES, "plain", ("plain", [])),
    (HERMES, f"well <tool_call>\n{ONE}\n</tool_call>\n", ("well ", [("f", {"a": 1})])),
    (HERMES, f"<tool_call>{ONE}</tool_call>\n<tool_call>{OTHER}</tool_call> ok", ("ok", [("f", {"a": 1}), ("g", {})])),
    (HERMES, "<tool_call>no JSON</tool_call> so", ("<tool_call>no JSON</tool_call> so", [])),
    (HERMES, "a < b <tool", ("a < b <tool", [])),
    (HERMES, f"<tool_call>{ONE}", ("", [("f", {"a": 1})])),
    (HERMES, '<tool_call>{"name": "f", "argu', ('<tool_call>{"name": "f", "argu', [])),
    (HERMES, '<tool_call>{"a": 1}</tool_call>', ('<tool_call>{"a": 1}</tool_call>', [])),
    (MISTRAL, f"[TOOL_CALLS] [{ONE}, {OTHER}]", ("", [("f", {"a": 1}), ("g", {})])),
    (LLAMA, f" {ONE}; {OTHER}", ("", [("f", {"a": 1}), ("g", {})])),
    (LLAMA, f"<|python_tag|>{ONE}", ("", [("f", {"a": 1})])),
    (LLAMA, '{"a": 1} is JSON', ('{"a": 1} is JSON', [])),
    (LLAMA, f"see {ONE}", (f"see {ONE}", [])),
]


@pytest.mark.parametrize(("style", "text", "wanted"), SAID)
def test_calls_are_told_from_text(style: Style, text: str, wanted: Heard) -> None:
    assert heard(Calling(style), text) == wanted


@given(st.sampled_from(SAID), st.lists(st.integers(0, 200), max_size=12))
def test_it_does_not_matter_how_a_text_is_cut(each: tuple[Style, str, Heard], cuts: list[int]) -> None:
    style, text, wanted = each
    assert heard(Calling(style), text, tuple(cuts)) == wanted


def test_text_is_given_as_soon_as_it_is_surely_no_call():
    listener = Listener(Calling(HERMES))
    assert listener.take("a <tool", False) == ("a ", [])
    assert listener.take("box", False) == ("<toolbox", [])
    assert listener.take(" <tool_call>", False) == (" ", [])


def test_an_answer_held_to_a_schema_is_the_call():
    assert heard(Calling(only="f"), '{"a": 1}', (3,)) == ("", [("f", {"a": 1})])
    assert heard(Calling(), f"[{ONE}]", (5, 9)) == ("", [("f", {"a": 1})])
    assert heard(Calling(), f"[{ONE}, {ONE}]"[:-4]) == (f"[{ONE}, {ONE}]"[:-4], [])


def test_no_more_calls_are_given_than_are_wanted():
    assert heard(Calling(HERMES, most=1), f"<tool_call>{ONE}</tool_call><tool_call>{ONE}</tool_call>") == (
        "",
        [("f", {"a": 1})],
    )


def test_each_call_has_an_id_of_its_own():
    _, calls = Listener(Calling()).take(f"[{ONE}, {ONE}]", True)
    assert len({each.id for each in calls}) == 2
