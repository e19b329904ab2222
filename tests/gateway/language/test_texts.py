"""Filling in between two texts."""

from __future__ import annotations

import pytest

from synfire.base.errors import UserError
from synfire.gateway.language.card import Card
from synfire.gateway.language.texts import between

ABLE = Card(fill_in=(7, 8, 9), bos_id=1)


def test_a_gap_is_written_with_the_tokens_that_the_model_was_trained_with():
    assert between("m", ABLE, "def f(", "):") == (1, 7, "def f(", 8, "):", 9)
    assert between("m", ABLE, (30, 31), ")") == (1, 7, 30, 31, 8, ")", 9)


def test_nothing_is_put_before_a_text_where_the_model_does_not():
    assert between("m", Card(fill_in=(7, 8, 9), bos_id=1, adds_bos=False), "a", "b") == (7, "a", 8, "b", 9)
    assert between("m", Card(fill_in=(7, 8, 9)), "a", "b") == (7, "a", 8, "b", 9)


def test_without_a_suffix_a_prompt_stays_as_it_is():
    assert between("m", ABLE, "a", None) == between("m", Card(), "a", "") == "a"


def test_a_model_without_such_tokens_refuses():
    with pytest.raises(UserError, match="no tokens for that"):
        between("m", Card(), "a", "b")
