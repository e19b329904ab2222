"""A conversation, line by line, with a deployment that writes down what it is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from synfire.base.errors import UserError
from synfire.cli.conversation import Conversation
from synfire.cli.ollama_client import OllamaClient


class Echo:
    """Answers every text with `TEXT!`, in two pieces; a `template` says that it chats."""

    def __init__(self, template: str = "chat") -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.template = template

    def show(self, model: str) -> dict[str, Any]:
        details = {"family": "llama", "parameter_size": "5M", "quantization_level": "Q8_0"}
        return {"template": self.template, "details": details, "parameters": "seed 1", "system": "", "license": ""}

    def stream(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        self.asked.append((path, body))
        chat = path.endswith("chat")
        text = body["messages"][-1]["content"] if chat else body["prompt"]
        if text == "refuse":
            raise UserError("that is refused; say something else")
        for piece in (text, "!"):
            yield {"message": {"content": piece}} if chat else {"response": piece}
        last = {"message": {"content": ""}} if chat else {"response": "", "context": [1, 2]}
        yield {**last, "eval_count": 2, "eval_duration": 10**9, "total_duration": 2 * 10**9}


class Scene:
    def __init__(self, template: str = "chat") -> None:
        self.echo, self.shown = Echo(template), ""
        self.talk = Conversation(cast(OllamaClient, self.echo), "m", self.write)

    def write(self, text: str) -> None:
        self.shown += text

    def says(self, *lines: str) -> str:
        """What is shown for these lines."""
        self.shown = ""
        for line in lines:
            self.talk.take(line)
        return self.shown

    @property
    def last(self) -> dict[str, Any]:
        return self.echo.asked[-1][1]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_answers_are_remembered_until_they_are_cleared(scene: Scene) -> None:
    assert scene.says("Hi") == "Hi!\n"
    scene.says("And?")
    assert [each["content"] for each in scene.last["messages"]] == ["Hi", "Hi!", "And?"]
    scene.says("/clear", "New")
    assert [each["content"] for each in scene.last["messages"]] == ["New"]
    scene.says("/set nohistory", "One", "Two")
    assert [each["content"] for each in scene.last["messages"]] == ["Two"]


def test_a_text_may_have_several_lines(scene: Scene) -> None:
    assert scene.says('"""one', "/two") == ""
    assert scene.talk.waits
    assert scene.says('three"""') == "one\n/two\nthree!\n"
    assert scene.says('"""all"""') == "all!\n"
    assert not scene.talk.waits


def test_settings_go_with_every_question(scene: Scene) -> None:
    lines = (
        "/set parameter temperature 0.5",
        "/set parameter stop END",
        "/set system Be brief.",
        "/set format json",
        "Hi",
    )
    assert scene.says(*lines).count("set\n") == 4
    assert scene.last["options"] == {"temperature": 0.5, "stop": ["END"]}
    assert (scene.last["messages"][0], scene.last["format"]) == ({"role": "system", "content": "Be brief."}, "json")
    assert scene.says("/show system") == "Be brief.\n"
    assert scene.says("/show parameters") == "seed 1\ntemperature 0.5\nstop ['END']\n"
    scene.says("/set noformat", "Hi")
    assert "format" not in scene.last


def test_a_base_model_goes_on_from_what_was_said() -> None:
    scene = Scene(template="")
    scene.says("/set system S", "Hi", "More")
    (first, second) = scene.echo.asked
    assert (first[0], first[1]["system"], first[1]["context"]) == ("/api/generate", "S", [])
    assert (second[1]["prompt"], second[1]["context"]) == ("More", [1, 2])
    assert "system" not in second[1]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("/nothing", "there is no command /nothing; /? tells"),
        ("/set nothing", "nothing to set called 'nothing'"),
        ("/set parameter heat 1", "there is no parameter 'heat'; there are"),
        ("/set parameter seed", "needs a value: /set parameter seed VALUE"),
        ("/set parameter seed much", "is a whole number, and 'much' is none"),
        ("/set format xml", "there is no format 'xml'; there is json"),
        ("/show nothing", "nothing to show called 'nothing'; there are info"),
        ("refuse", "that is refused; say something else"),
    ],
)
def test_what_is_wrong_is_told_and_forgotten(scene: Scene, line: str, what: str) -> None:
    assert what in scene.says(line)
    scene.says("Hi")
    assert [each["content"] for each in scene.last["messages"]] == ["Hi"]
    assert scene.last["options"] == {}


def test_help_and_information_are_shown_and_bye_ends_it(scene: Scene) -> None:
    assert "/set parameter NAME VALUE" in scene.says("/?")
    assert scene.says("/show info") == "m: llama, 5M parameters as Q8_0\n"
    assert scene.says("/show license") == "there is none\n"
    assert scene.says("", "  ") == ""
    assert "2 tokens, 2.0 a second" in scene.says("/set verbose", "Hi")
    assert not scene.talk.ended
    scene.says("/bye")
    assert scene.talk.ended


def test_every_command_of_the_help_is_one(scene: Scene) -> None:
    words = [line.split()[0] for line in scene.says("/?").splitlines() if line.startswith("/")]
    assert "/bye" in words
    for word in words:
        assert "there is no command" not in scene.says(f"{word} x")
