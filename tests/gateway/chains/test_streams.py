"""Answers that form over time, sessions, and steps that speak."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from synfire.base.errors import TemporaryError, UserError
from synfire.ops import Clock, Kind, Signal

FORMING = """
[steps.first]
model = "first"
inputs = { x = "request.x" }
[steps.form]
model = "form"
inputs = { x = "first" }
[outputs]
y = "form"
early = "first"
"""

X = [[3.0, 6.0]]


def test_the_last_steps_answer_is_given_as_it_forms(desk: Any, doing: Any, forming: Any) -> None:
    async def tell() -> None:
        there = desk({"first": doing(lambda x: x * 2), "form": forming()}, FORMING)
        parts = await there.stream(x=X)
        assert [part.outputs["y"].tolist() for part in parts] == [[[2.0, 4.0]], [[4.0, 8.0]], [[6.0, 12.0]]]
        assert [(part.first_step, part.steps, part.last) for part in parts] == [
            (0, 1, False),
            (1, 1, False),
            (2, 1, True),
        ]
        assert ["early" in part.outputs for part in parts] == [True, False, False]
        assert await there.infer(x=X) == {"y": [[6.0, 12.0]], "early": [[6.0, 12.0]]}
        assert there.counts("form") == {"ok": 2}

    asyncio.run(tell())


def test_a_stream_is_tried_again_until_it_has_begun(desk: Any, doing: Any, forming: Any) -> None:
    class Late(forming):  # type: ignore[misc]
        async def answer(self, call: Any) -> Any:
            fails = not self.calls
            async for part in super().answer(call):
                if fails:
                    raise TemporaryError("away", 0.001)
                yield part

    async def tell() -> None:
        chain = FORMING.replace('inputs = { x = "first" }', 'inputs = { x = "first" }\nretries = 1')
        there = desk({"first": doing(), "form": Late()}, chain)
        assert len(await there.stream(x=X)) == 3
        assert there.route.counts["form"].retries == 1

    asyncio.run(tell())


TALK = """
inputs.who = "BYTES"
[steps.reply]
model = "bard"
prompt = "say to {who}: {place}"
options = { max_tokens = 3, temperature = 0 }
when = "request.who != 'nobody'"
inputs = { who = "request.who", place = "best" }
[steps.best]
function = "argmax"
inputs = { x = "request.x" }
[steps.shrug]
function = "text"
text = "..."
when = "request.who == 'nobody'"
[steps.twice]
model = "m"
inputs = { x = "request.x" }
[steps.vector]
model = "bard"
embed = "{who}"
inputs = { who = "request.who" }
[outputs]
text = "reply | shrug"
vector = "vector"
"""


def test_a_language_model_is_asked_by_a_template_and_its_text_is_one(desk: Any, doing: Any, speaking: Any) -> None:
    async def tell() -> None:
        there = desk({"m": doing(), "bard": speaking()}, TALK)
        assert await there.infer(x=X, who=["you"]) == {"text": [b"SAYTOYOU:"], "vector": [[3.0]]}
        parts = await there.stream(x=X, who=["you"])
        assert [part.outputs["text"].tolist() for part in parts] == [[b"SAY"], [b"SAYTO"], [b"SAYTOYOU:"]]
        assert await there.infer(x=[*X, *X], who=["a", "nobody"]) == {
            "text": [b"SAYTOA:", b"..."],
            "vector": [[1.0], [6.0]],
        }
        (only,) = await there.stream(x=X, who=["nobody"])
        assert (only.outputs["text"].tolist(), only.last) == ([b"..."], True)

    asyncio.run(tell())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("{ max_token = 3 }", "there is no field 'max_token'; did you mean 'max_tokens'"),
        ("{ temperature = 9 }", "temperature"),
    ],
)
def test_options_that_a_language_model_has_not_are_named(
    desk: Any, doing: Any, speaking: Any, options: str, told: str
) -> None:
    async def tell() -> None:
        chain = TALK.replace("{ max_tokens = 3, temperature = 0 }", options)
        with pytest.raises(UserError, match=rf"step 'reply'.*{told}"):
            await desk({"m": doing(), "bard": speaking()}, chain).infer(x=X, who=["you"])

    asyncio.run(tell())


def test_a_chat_with_a_base_model_is_refused_with_the_step(desk: Any, doing: Any, speaking: Any) -> None:
    async def tell() -> None:
        chain = TALK.replace('prompt = "say to {who}: {place}"', 'chat = [{ role = "user", content = "{who}" }]')
        with pytest.raises(UserError, match=r"step 'reply' \(model 'bard'\): model 'bard' is a base model"):
            await desk({"m": doing(), "bard": speaking()}, chain).infer(x=X, who=["you"])

    asyncio.run(tell())


SESSION = """
[steps.always]
model = "m"
inputs = { x = "request.x" }
[steps.sometimes]
model = "m"
inputs = { x = "request.x" }
when = "request.x[0] > 0"
[outputs]
y = "always"
z = "sometimes"
"""


def test_a_session_of_the_chain_is_one_at_each_step_from_its_first_call_on(desk: Any, doing: Any) -> None:
    async def tell() -> None:
        model = doing()
        there = desk({"m": model}, SESSION)
        await there.infer(x=[[-1, 0]], options={"session": "s", "start": True})
        await there.infer(x=[[1, 0]], options={"session": "s"})
        await there.infer(x=[[1, 0]], options={"session": "s", "end": True})
        told = [(call.session, call.start, call.end) for call in model.calls]
        assert told == [
            ("s/c.always.m", True, False),
            ("s/c.always.m", False, False),
            ("s/c.sometimes.m", True, False),
            ("s/c.always.m", False, True),
            ("s/c.sometimes.m", False, True),
        ]
        with pytest.raises(UserError, match="session 's' of model 'c' is not open"):
            await there.infer(x=[[1, 0]], options={"session": "s"})

    asyncio.run(tell())


def test_a_session_is_begun_again_at_each_try_and_not_tried_again_when_it_goes_on(desk: Any, doing: Any) -> None:
    async def tell() -> None:
        fails = [True, False, True]

        def work(x: Any) -> Any:
            if fails.pop(0):
                raise TemporaryError("away", 0.001)
            return x

        model = doing(work)
        there = desk({"m": model}, SESSION.replace('x = "request.x" }', 'x = "request.x" }\nretries = 1'))
        await there.infer(x=[[-1, 0]], options={"session": "s", "start": True})
        assert [call.start for call in model.calls] == [True, True]
        with pytest.raises(TemporaryError, match="step 'always'"):
            await there.infer(x=[[-1, 0]], options={"session": "s"})
        assert len(model.calls) == 3

    asyncio.run(tell())


def test_a_session_of_samples_that_go_one_by_one_is_refused(desk: Any, doing: Any) -> None:
    async def tell() -> None:
        there = desk({"m": doing()}, SESSION)
        with pytest.raises(UserError, match="a session goes on from one sample alone; send one"):
            await there.infer(x=[[1, 0], [2, 0]], options={"session": "s", "start": True})

    asyncio.run(tell())


MIXED = """
[steps.a]
model = "alone"
inputs = { x = "request.x" }
[steps.b]
model = "m"
inputs = { x = "a" }
[outputs]
y = "LAST"
"""


def test_a_model_without_an_axis_of_samples_takes_them_one_by_one(desk: Any, doing: Any) -> None:
    async def tell() -> None:
        alone = doing(lambda x: x * 2, batched=False)
        there = desk({"alone": alone, "m": doing()}, MIXED.replace("LAST", "b"))
        assert await there.infer(x=[[1, 2], [3, 4]]) == {"y": [[2, 4], [6, 8]]}
        assert [call.inputs["x"].shape for call in alone.calls] == [(1, 2), (1, 2)]

    asyncio.run(tell())


def test_a_chain_of_models_without_that_axis_has_none(desk: Any, doing: Any) -> None:
    async def tell() -> None:
        chain = MIXED.replace("LAST", "b").replace('"m"', '"alone"')
        assert await desk({"alone": doing(lambda x: x * 2, batched=False)}, chain).infer(x=[1, 2]) == {"y": [4, 8]}

    asyncio.run(tell())


def test_a_text_reaches_a_model_that_takes_one_alone(desk: Any, doing: Any) -> None:
    text = Signal((), Kind.BYTES, Clock.REQUEST)
    chain = """
    inputs.who = "BYTES"
    [steps.said]
    function = "text"
    text = "to {who}"
    inputs = { who = "request.who" }
    [steps.a]
    model = "echo"
    inputs = { x = "said" }
    [steps.b]
    model = "m"
    inputs = { x = "request.x" }
    [outputs]
    y = "a"
    """

    async def tell() -> None:
        there = desk({"echo": doing(signal=text, takes=text, batched=False), "m": doing()}, chain)
        assert await there.infer(x=[*X, *X], who=["you", "me"]) == {"y": [b"to you", b"to me"]}

    asyncio.run(tell())
