"""Functions that a model may call."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from synfire.base.errors import UserError
from synfire.gateway.language.tools import Offer, Tool

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [
    msgspec.convert({"type": "function", "function": each}, Tool)
    for each in ({"name": "weather", "parameters": SCHEMA}, {"name": "time"})
]
HERMES = "{% if tools %}{{ tools | tojson }}<tool_call>{% endif %}"


def offer(choice: Any = "auto", parallel: bool = True) -> Offer:
    return Offer(TOOLS, msgspec.convert(choice, Any) if isinstance(choice, str) else choice, parallel)


def named(name: str) -> Any:
    from synfire.gateway.language.tools import NamedFunction, NamedTool

    return NamedTool(NamedFunction(name))


def test_nothing_is_called_where_nothing_is_offered_or_wanted():
    assert Offer().calling("m", "") is None
    assert offer("none").calling("m", HERMES) is None
    assert offer("none").variables() == Offer().variables() == {}
    assert offer("none").schema() is None


def test_templates_are_given_the_tools():
    (first, _) = offer().variables()["tools"]
    assert first["function"] == {"name": "weather", "parameters": SCHEMA}
    assert first["type"] == "function"


def test_a_model_whose_template_takes_no_tools_is_not_asked_to_call_any():
    with pytest.raises(UserError, match=r"takes no tools.*response_format"):
        offer().calling("m", "{{ messages }}")


def test_a_model_that_calls_in_an_unknown_way_may_still_be_made_to():
    with pytest.raises(UserError, match="set tool_choice to required"):
        offer().calling("m", "{{ tools }}")
    assert offer("required").calling("m", "{{ tools }}") is not None
    assert offer("auto").schema() is None


def test_a_call_that_must_be_is_held_to_a_schema():
    assert offer(named("weather")).schema() == SCHEMA
    assert offer(named("time")).schema() == {"type": "object"}
    listed = offer("required", parallel=False).schema()
    assert listed is not None
    assert (listed["type"], listed["minItems"], listed["maxItems"]) == ("array", 1, 1)
    names = [each["properties"]["name"] for each in listed["items"]["anyOf"]]
    assert names == [{"const": "weather"}, {"const": "time"}]
    with pytest.raises(UserError, match="'news', which is not among the tools"):
        offer(named("news")).schema()
