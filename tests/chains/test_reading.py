"""Chain files: what they say is read, and what is wrong is named with its place."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from synfire.base.errors import UserError
from synfire.chains import is_chain, read_chain
from synfire.chains.chain import Ask, Ensemble, Place, Source, Split, Switch
from synfire.chains.reading import chain_of

WHOLE = """
name = "desk"
description = "every kind of step"

[models]
small = "./small.onnx"

[inputs]
question = "BYTES"
grid = { datatype = "FP32", shape = [2, -1] }

[steps.read]
model = "reader"
inputs = { x = "request.x", bias = { value = 0.5 } }
timeout_s = 0.5
retries = 2

[steps.best]
function = "argmax"
inputs = { scores = "read.scores | read" }

[steps.ways]
switch = [{ when = "best == 1", model = "small" }, { model = "large" }]
inputs = { x = "request.x" }

[steps.shares]
split = [{ weight = 9, model = "small" }, { weight = 1, model = "large" }]
inputs = { x = "request.x" }
when = "best in [1, 2]"

[steps.vote]
ensemble = ["small", "large", { model = "third" }]
vote = "mean"
quorum = 2
inputs = { x = "request.x" }

[steps.reply]
model = "bard"
chat = [{ role = "user", content = "{question}" }]
options = { max_tokens = 8 }
inputs = { question = "request.question" }

[outputs]
text = "reply.text"
"""


def test_every_kind_of_step_is_read() -> None:
    chain = chain_of(tomllib.loads(WHOLE), "file")
    assert (chain.name, chain.models, chain.outputs) == (
        "desk",
        {"small": "./small.onnx"},
        {"text": Source((Place("reply", "text"),))},
    )
    assert chain.inputs == {"question": ("BYTES", ()), "grid": ("FP32", (2, -1))}
    read, best, ways, shares, vote, reply = chain.steps
    assert (read.does, read.timeout_s, read.retries) == (Ask("reader"), 0.5, 2)
    assert read.inputs["bias"] == Source(value=0.5)
    assert best.inputs["scores"].places == (Place("read", "scores"), Place("read"))
    assert isinstance(ways.does, Switch)
    assert [case.when for case in ways.does.cases] == ["best == 1", ""]
    assert isinstance(shares.does, Split)
    assert [share.weight for share in shares.does.shares] == [9, 1]
    assert shares.when == "best in [1, 2]"
    assert isinstance(vote.does, Ensemble)
    assert (vote.models, vote.does.vote, vote.does.quorum) == (("small", "large", "third"), "mean", 2)
    assert isinstance(reply.does, Ask)
    assert (reply.does.templates, reply.does.options) == (("{question}",), {"max_tokens": 8})
    assert chain.called == ("reader", "small", "large", "third", "bard")


def test_json_says_the_same_as_toml(tmp_path: Path) -> None:
    (tmp_path / "desk.toml").write_text(WHOLE)
    (tmp_path / "desk.json").write_text(json.dumps(tomllib.loads(WHOLE)))
    assert read_chain(tmp_path / "desk.toml") == read_chain(tmp_path / "desk.json")


def test_a_chain_is_called_as_its_file_or_as_the_user_says(tmp_path: Path) -> None:
    path = tmp_path / "counter.toml"
    path.write_text('[steps.a]\nmodel = "m"\ninputs = { x = "request.x" }\n[outputs]\ny = "a"\n')
    assert is_chain(str(path))
    assert is_chain(f"other={path}")
    assert not is_chain(str(tmp_path / "absent.toml"))
    assert read_chain(path).name == "counter"
    assert read_chain(path, "other").name == "other"


def test_models_beside_the_chain_are_seen_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "small.onnx").touch()
    (tmp_path / "desk.toml").write_text(WHOLE)
    assert read_chain(tmp_path / "desk.toml").models == {"small": str(tmp_path / "small.onnx")}


STEP = '[steps.a]\nmodel = "m"\n{more}\n[outputs]\ny = "a"\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no steps; write [steps.NAME]"),
        ('[steps.a]\nmodel = "m"\n', 'no outputs; write [outputs]'),
        ('[stepz.a]\nmodel = "m"\n', "the chain knows no 'stepz', but 'steps'"),
        (STEP.format(more="retry = 1"), "step 'a' knows no 'retry', but 'retries'"),
        (STEP.format(more='function = "argmax"'), "step 'a' says model and function"),
        (STEP.format(more="timeout_s = 0"), "step 'a': timeout_s is 0; it is a number of seconds above 0"),
        (STEP.format(more="retries = -1"), "step 'a': retries is -1"),
        (STEP.format(more='inputs = { x = "request" }'), "step 'a', input 'x': 'request' names no input"),
        (STEP.format(more='inputs = { x = "a b" }'), "step 'a', input 'x': 'a b' is no place"),
        (STEP.format(more="inputs = { x = 3 }"), "step 'a', input 'x' is 3; it is a table"),
        (STEP.format(more='options = { n = 1 }'), "step 'a' has options, and neither a prompt nor a chat"),
        (STEP.format(more='prompt = "x"\nembed = "x"'), "step 'a' has prompt and embed; a language model is asked in one way"),
        ('[steps.request]\nmodel = "m"\n', "step 'request': a step's name"),
        ('[steps.a]\ninputs = {}\n', "step 'a' says not what it does; it has one of model, function"),
        ('[steps.a]\nfunction = "argmin"\n', "step 'a': there is no function 'argmin', but 'argmax'"),
        ('[steps.a]\nfunction = "label"\n', "step 'a': Object missing required field `labels`"),
        ('[steps.a]\nswitch = [{ model = "m" }, { model = "n", when = "b" }]\n', "step 'a': a way without `when` is always taken"),
        ('[steps.a]\nsplit = [{ model = "m" }]\n', "step 'a', way 1 of its split: weight is None"),
        ('[steps.a]\nensemble = ["m"]\nvote = "mean"\n', "step 'a': an ensemble has two members or more"),
        ('[steps.a]\nensemble = ["m", "n"]\nvote = "best"\n', "step 'a': vote is 'best'; it is mean or majority"),
        ('[steps.a]\nensemble = ["m", "n"]\nvote = "mean"\nquorum = 3\n', "step 'a': quorum is 3"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_place(text: str, told: str) -> None:
    with pytest.raises(UserError, match=re.escape(told)):
        chain_of(tomllib.loads(text), "c")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("[steps")
    with pytest.raises(UserError, match=r"c\.toml is no TOML: Expected"):
        read_chain(path)
    path.write_text("x = 1")
    with pytest.raises(UserError, match=r"c\.toml: the chain knows no 'x'"):
        read_chain(path)
