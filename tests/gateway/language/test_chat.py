"""Chats as prompts."""

from __future__ import annotations

import pytest

from synfire.base.errors import UserError
from synfire.gateway.language.card import Card
from synfire.gateway.language.chat import prompt_of

TURNS = [{"role": "user", "content": "hi"}]


def prompt(template: str | None, messages=TURNS, more=None, **card) -> str:
    return prompt_of("m", Card(chat_template=template, **card), messages, more or {})


def test_a_chat_is_rendered_by_the_models_own_template():
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    assert prompt(template) == "<user>hi<assistant>"
    assert prompt(template, more={"add_generation_prompt": False}) == "<user>hi"


@pytest.mark.parametrize("template", [None, ""])
def test_without_a_template_the_message_names_it_and_the_way_on(template):
    with pytest.raises(UserError, match=r"chat_template.*/v1/completions"):
        prompt(template)


def test_the_token_that_the_engine_adds_is_not_sent_twice():
    assert prompt("{{ bos_token }}x", bos_token="<s>") == "x"
    assert prompt("{{ bos_token }}x", bos_token="<s>", adds_bos=False) == "<s>x"


def test_blocks_leave_no_lines_behind():
    assert prompt("{% for m in messages %}\n  {% if true %}\n{{ m.content }}\n  {% endif %}\n{% endfor %}\n") == "hi\n"


def test_templates_may_refuse_break_and_write_json():
    with pytest.raises(UserError, match="only two"):
        prompt("{{ raise_exception('only two') }}")
    assert prompt("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}") == "01"
    assert prompt("{{ {'a': '<é>'} | tojson }}") == '{"a": "<é>"}'
    assert len(prompt("{{ strftime_now('%Y') }}")) == 4


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{% for i in range(10000000) %}{% endfor %}",
        "{{ messages[7].content }}{{ none + 1 }}",
        "{% if %}",
        "{{ 1 / 0 }}",
    ],
)
def test_what_a_template_must_not_or_cannot_do_is_the_requests_error(template):
    with pytest.raises(UserError, match="chat_template of model 'm'"):
        prompt(template)
