from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synfire.base.errors import Unauthenticated, UserError
from synfire.base.keys import VARIABLE, Keys, authorization

KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=","), min_size=1)


def test_without_keys_everybody_may_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert not Keys.from_environment()
    Keys.from_environment().check(None)
    assert authorization() == {}


@given(st.lists(KEYS, min_size=1, max_size=4))
def test_each_of_several_keys_opens(keys: list[str]) -> None:
    for key in keys:
        Keys(keys).check(f"Bearer {key}")


@given(KEYS, st.text())
def test_anything_else_is_refused(key: str, other: str) -> None:
    for shown in (
        None,
        "",
        "Bearer",
        "Bearer ",
        key,
        f"Basic {key}",
        f"Bearer {key}{key}",
        f"Bearer {other.replace(key, '')}",
    ):
        with pytest.raises(Unauthenticated, match=r"send the header 'Authorization: Bearer KEY'"):
            Keys([key]).check(shown)


def test_the_client_shows_the_first_key_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "one,two")
    assert authorization() == {"authorization": "Bearer one"}
    Keys.from_environment().check("bearer two")


@pytest.mark.parametrize("value", [",", "one,", "one, two", " ", "schlüssel", "a\nb"])
def test_a_key_that_no_header_carries_is_refused_rather_than_ignored(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(UserError, match="separate keys by a comma alone"):
        Keys.from_environment()
