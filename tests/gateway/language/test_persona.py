"""What a Modelfile says is heard in every chat."""

from __future__ import annotations

from typing import Any

import pytest

from synfire.gateway.language.bodies import ChatBody, read_body
from synfire.gateway.language.card import Card
from synfire.gateway.language.chat import prompt_of
from synfire.gateway.language.persona import by_template, completed, defaulted, introduced

TURNS = "{{ if .System }}<s>{{ .System }}{{ end }}{{ if .Prompt }}<u>{{ .Prompt }}{{ end }}<a>{{ .Response }}<e>"
CHAT = "{{ range .Messages }}<{{ .Role }}>{{ .Content }}{{ end }}<assistant>{{ if .Tools }}{{ json .Tools }}{{ end }}"


def said(*turns: str) -> list[dict[str, Any]]:
    """`user: Hi` and the like as messages."""
    return [dict(zip(("role", "content"), each.split(": ", 1), strict=True)) for each in turns]


def test_a_chat_begins_with_the_system_and_the_messages_of_the_model() -> None:
    card = Card(system="Be brief.", messages=tuple(said("user: Hi", "assistant: Ho")))
    assert [each["content"] for each in introduced(card, said("user: So?"))] == ["Be brief.", "Hi", "Ho", "So?"]
    assert [each["content"] for each in introduced(card, said("system: Own.", "user: So?"))] == [
        "Hi",
        "Ho",
        "Own.",
        "So?",
    ]
    assert introduced(Card(), said("user: So?")) == said("user: So?")


def test_a_template_for_turns_is_rendered_turn_by_turn_up_to_the_answer() -> None:
    chat = said("system: S", "user: A", "assistant: B", "user: C")
    assert by_template(TURNS, chat) == "<s>S<u>A<a>B<e><u>C<a>"
    assert by_template(TURNS, [*chat, *said("assistant: D")]) == "<s>S<u>A<a>B<e><u>C<a>D"
    assert by_template(TURNS, said("user: A", "user: B")) == "<u>A\n\nB<a>"
    assert by_template("{{ .Prompt }}>", said("user: A", "assistant: B", "user: C")) == "A>BC>"


def test_a_template_for_messages_has_all_of_them_and_the_tools() -> None:
    chat = said("system: S", "user: A", "assistant: B", "user: C")
    assert by_template(CHAT, chat) == "<system>S<user>A<assistant>B<user>C<assistant>"
    assert by_template(CHAT, said("user: A"), [{"name": "t"}]).endswith('<assistant>[{"name":"t"}]')


def test_a_prompt_is_a_chat_of_one_turn_and_may_have_a_suffix() -> None:
    assert completed(TURNS, "A", "S") == "<s>S<u>A<a>"
    assert completed("<p>{{ .Prompt }}<s>{{ .Suffix }}<m>", "A", suffix="B") == "<p>A<s>B<m>"


def test_the_modelfiles_template_goes_before_the_models_own_and_the_engine_adds_what_it_adds() -> None:
    card = Card(chat_template="own", template="<bos>{{ .Prompt }}", bos_token="<bos>")
    assert prompt_of("m", card, said("user: A"), {}) == "A"


@pytest.mark.parametrize(("given", "temperature"), [({}, 0.1), ({"temperature": 0.0}, 0.0)])
def test_parameters_stand_in_for_what_a_request_leaves_open(given: dict[str, Any], temperature: float) -> None:
    body = ChatBody(
        model="m",
        messages=read_body(b'{"model":"m","messages":[{"role":"user","content":"x"}]}', ChatBody).messages,
        **given,
    )
    found = defaulted(body, Card(params={"temperature": 0.1, "repeat_penalty": 1.3, "stop": ["x"], "num_predict": 3}))
    assert (found.temperature, found.repetition_penalty, found.stop) == (temperature, 1.3, ["x"])
    assert defaulted(body, Card()) is body
