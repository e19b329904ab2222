"""Whether a chain fits together: order, types and shapes, and errors that name the step and the input."""

from __future__ import annotations

import re
import tomllib

import pytest

from synfire.base.errors import PermanentError, UnknownName, UserError
from synfire.chains import Joined, join, read_joined
from synfire.chains.operators import graph_of
from synfire.chains.reading import chain_of
from synfire.graph import Graph
from synfire.ops import Clock, Kind, Signal


def joined(text: str, models: dict[str, Graph]) -> Joined:
    return join(chain_of(tomllib.loads(text), "c"), models)


SEQUENCE = """
[steps.second]
model = "after"
inputs = { x = "first.scores" }
[steps.first]
model = "reader"
inputs = { x = "request.picture" }
[outputs]
y = "second"
scores = "first.scores"
spikes = "first.spikes"
"""


def test_steps_stand_behind_those_that_they_read(models: dict[str, Graph]) -> None:
    found = joined(SEQUENCE, models)
    assert found.order == ("first", "second")
    assert found.inputs == {"picture": models["reader"].inputs["x"]}
    assert found.outputs["y"] == Signal((4,), Kind.VALUE, Clock.REQUEST)
    assert found.outputs["scores"].clock is Clock.REQUEST
    assert not found.by_sample


def test_a_joined_chain_is_told_as_it_is(models: dict[str, Graph]) -> None:
    found = joined(SEQUENCE, models)
    assert read_joined(found.document()) == found
    with pytest.raises(PermanentError, match="start the deployment again"):
        read_joined(b"{}")


def test_a_chain_is_a_graph_of_what_its_steps_give(models: dict[str, Graph]) -> None:
    graph = graph_of(joined(SEQUENCE, models))
    assert graph.order() == ("first.scores", "first.spikes", "second")
    assert [each.source for each in graph.arriving("second")] == ["first.scores"]
    assert graph.output_signals()["spikes"] == Signal((3,), Kind.SPIKE, Clock.STEP)


def test_an_only_input_fits_whatever_it_is_called(models: dict[str, Graph]) -> None:
    ensemble = """
    [steps.vote]
    ensemble = ["small", "other"]
    vote = "majority"
    inputs = { picture = "request.x" }
    [outputs]
    y = "vote.y"
    """
    assert joined(ensemble, models).outputs == {"y": Signal((), Kind.INDEX, Clock.REQUEST)}


def test_the_step_at_the_end_streams_what_forms_over_time(models: dict[str, Graph]) -> None:
    text = '[steps.a]\nmodel = "reader"\ninputs = { x = "request.x" }\n[outputs]\ny = "a.scores"\n'
    found = joined(text, models)
    assert (found.streams, found.outputs["y"].clock) == ("a", Clock.RUNNING)


def test_a_language_model_is_asked_with_words(models: dict[str, Graph]) -> None:
    text = """
    inputs.question = "BYTES"
    [steps.reply]
    model = "bard"
    prompt = "{question}"
    inputs = { question = "request.question" }
    [steps.place]
    model = "bard"
    embed = "{question}"
    inputs = { question = "request.question" }
    [outputs]
    text = "reply | request.question"
    vector = "place"
    """
    found = joined(text, models)
    assert found.outputs["text"] == Signal((), Kind.BYTES, Clock.RUNNING)
    assert found.outputs["vector"] == Signal((-1,), Kind.VALUE, Clock.REQUEST)
    assert (found.open_ended, found.by_sample, found.streams) == (True, True, "reply")
    assert graph_of(found).open_ended


STEP = '[steps.a]\n{step}\n[outputs]\ny = "a"\n'


@pytest.mark.parametrize(
    ("step", "kind", "told"),
    [
        ('model = "reeder"\ninputs = { x = "request.x" }', UnknownName, "step 'a': there is no model named 'reeder'; known: "),
        ('model = "small"\ninputs = { x = "b.y" }', UnknownName, "step 'a', input 'x': there is no step named 'b'; known: a, request"),
        ('model = "small"\ninputs = { x = "a.y" }', UserError, "the steps a → a wait for each other; a chain has no cycles"),
        ('model = "adder"\ninputs = { a = "request.x" }', UserError, "step 'a' (model 'adder') misses ['b']; its inputs are ['a', 'b']"),
        ('model = "adder"\ninputs = { a = "request.x", b = "request.x", c = "request.x" }', UserError, "is given ['c'], which it does not take"),
        ('model = "bard"\ninputs = { x = "request.x" }', UserError, "step 'a' (model 'bard') is a language model: give it a prompt"),
        ('model = "small"\nprompt = "go"', UserError, "step 'a' (model 'small') is no language model"),
        ('model = "bard"\nprompt = "{z}"', UserError, "step 'a': the template '{z}' reads {z}, which is no input of this step"),
        ('model = "bard"\nprompt = "{z}"\ninputs = { z = "request.z" }', UserError, 'write [inputs] with z = "BYTES" for a text'),
        ('model = "small"\ninputs = { x = { value = [1, 2] } }', UserError, "step 'a' (model 'small'), input 'x': index 2 per request arrives"),
        ('model = "small"\ninputs = { x = { value = [[1], [1, 2]] } }', UserError, "neither numbers nor texts"),
        ('model = "small"\ninputs = { x = "request.x" }\nwhen = "b.y == 1"', UnknownName, "step 'a', its condition: there is no step named 'b'"),
        ('model = "small"\ninputs = { x = "request.x" }\nwhen = "request.z == 1"', UserError, "condition 'request.z == 1': nobody knows the type of request.z"),
        ('ensemble = ["small", "texts"]\nvote = "mean"\ninputs = { x = "request.x" }', UserError, "step 'a' (model 'texts'), input 't', from request.x"),
        ('ensemble = ["reader", "small"]\nvote = "mean"\ninputs = { x = "request.x" }', UserError, "step 'a': its ways give other outputs each"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(models: dict[str, Graph], step: str, kind: type[UserError], told: str) -> None:
    with pytest.raises(kind, match=re.escape(told)):
        joined(STEP.format(step=step), models)


@pytest.mark.parametrize(
    ("source", "model", "told"),
    [
        ("first.scores", "wider", "step 'second' (model 'wider'), input 'x', from first.scores: value 3 running arrives, and it takes value 5 per request: the shapes differ"),
        ("first.spikes", "after", "values over time steps do not fit one value a request"),
        ("first.scores", "over-time", "values over time steps do not fit"),
        ("first.scores", "indexed", "numbers with fractions are not whole; put an argmax between"),
        ("first.scores", "texts", "bytes are no numbers"),
        ("first.other", "after", "there is no output of step 'first' named 'other'; known: scores, spikes"),
        ("first", "after", "there is no output of step 'first' named ''; known: scores, spikes"),
        ("first.scores | request.picture", "after", "input 'x', from request.picture: value 3 per request arrives"),
    ],
)  # fmt: skip
def test_types_and_shapes_are_checked_at_every_joint(
    models: dict[str, Graph], source: str, model: str, told: str
) -> None:
    with pytest.raises(UserError, match=re.escape(told)):
        joined(SEQUENCE.replace("first.scores", source, 1).replace("after", model), models)


def test_an_open_axis_takes_any_length(models: dict[str, Graph]) -> None:
    assert joined(SEQUENCE.replace("after", "loose"), models).outputs["y"].shape == (3,)


def test_a_longer_cycle_is_named_in_its_order(models: dict[str, Graph]) -> None:
    text = '[steps.a]\nmodel = "small"\ninputs = { x = "b" }\n[steps.b]\nmodel = "after"\ninputs = { x = "a" }\n[outputs]\ny = "a"\n'
    with pytest.raises(UserError, match=r"the steps (a → b → a|b → a → b) wait for each other"):
        joined(text, models)
