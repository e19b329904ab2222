"""Steps that become one model: which do, and that the answers are the same bits."""

from __future__ import annotations

import tomllib
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from synfire.chains import Joined, join
from synfire.chains.fusing import Fused, fuse
from synfire.chains.reading import chain_of
from synfire.graph import Graph, Synapse, flatten, reference
from synfire.ops import Clock, Kind, Signal
from synfire.ops.add import Add
from synfire.ops.constant_current import ConstantCurrent
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.ops.mean_rate import MeanRate

SIZE = 5


def layer(seed: int) -> Linear:
    rng = np.random.default_rng(seed)
    return Linear(rng.normal(0.2, 1, (SIZE, SIZE)).astype(np.float32), np.full(SIZE, 0.2, np.float32))


def model(operators: dict[str, Any], clock: Clock, kind: Kind = Kind.SPIKE, outputs: tuple[str, ...] = ()) -> Graph:
    """Operators in a row, from input `x` to the last one, and to those that are named."""
    synapses = tuple(Synapse(a, b) for a, b in pairwise(["x", *operators]))
    leaving = {"y": list(operators)[-1], **{name: name for name in outputs}}
    return Graph(operators, synapses, {"x": Signal((SIZE,), kind, clock)}, leaving)


MODELS = {
    "eye": model({"encode": ConstantCurrent(9), "fc": layer(1), "lif": LIF()}, Clock.REQUEST, Kind.VALUE),
    "fast": model({"encode": ConstantCurrent(3), "fc": layer(1), "lif": LIF()}, Clock.REQUEST, Kind.VALUE),
    "middle": model({"fc": layer(2), "lif": LIF()}, Clock.STEP),
    "mouth": model({"fc": layer(3), "lif": LIF(), "rate": MeanRate()}, Clock.STEP, outputs=("lif",)),
}

SPIKES = Signal((SIZE,), Kind.SPIKE, Clock.STEP)
PAIR = Graph(
    {"sum": Add(), "rate": MeanRate()},
    (Synapse("a", "sum", 0), Synapse("b", "sum", 1), Synapse("sum", "rate")),
    {"a": SPIKES, "b": SPIKES},
    {"y": "rate"},
)

CHAIN = """
[steps.look]
model = "eye"
inputs = { x = "request.picture" }
[steps.think]
model = "middle"
inputs = { x = "look" }
MORE
[steps.speak]
model = "mouth"
inputs = { x = "think" }
[steps.best]
function = "argmax"
inputs = { scores = "speak.y" }
[outputs]
rates = "speak.y"
spikes = "think"
best = "best"
"""


def joined(text: str) -> Joined:
    return join(chain_of(tomllib.loads(text), "c"), MODELS)


def fused(more: str = "", chain: str = CHAIN) -> Fused:
    return fuse(joined(chain.replace("MORE", more)), MODELS)


def test_steps_over_time_become_one_that_gives_what_others_read() -> None:
    chain, graphs = fused()
    assert [each.name for each in chain.steps] == ["look..speak", "best"]
    assert list(graphs) == ["c.look..speak"]
    found = join(chain, {**MODELS, **graphs})
    assert list(found.gives["look..speak"]) == ["speak.y", "think.y"]
    assert found.outputs.keys() == {"rates", "spikes", "best"}
    assert found.inputs == joined(CHAIN.replace("MORE", "")).inputs


def test_one_model_gives_the_bits_of_its_steps() -> None:
    (graph,) = fused().graphs.values()
    x = np.random.default_rng(7).uniform(0, 2, (4, SIZE)).astype(np.float32)
    given = reference.run(flatten(graph), {"request.picture": x})
    spikes = reference.run(MODELS["eye"], {"x": x})["y"]
    thought = reference.run(MODELS["middle"], {"x": spikes})["y"]
    rates = reference.run(MODELS["mouth"], {"x": thought})["y"]
    assert thought.any()
    assert given["think.y"].tobytes() == thought.tobytes()
    assert given["speak.y"].tobytes() == rates.tobytes()


@pytest.mark.parametrize("more", ["retries = 1", "timeout_s = 2", 'when = "request.loud == 1"'])
def test_a_step_with_a_time_retries_or_a_condition_stays_by_itself(more: str) -> None:
    chain, graphs = fused(more, 'inputs.loud = "INT64"\n' + CHAIN)
    assert [each.name for each in chain.steps] == ["look", "think", "speak", "best"]
    assert graphs == {}


def test_a_step_that_a_condition_looks_at_stays_by_itself() -> None:
    chain, _ = fused(
        chain=CHAIN
        + '[steps.more]\nmodel = "eye"\nwhen = "speak.y[0] > 1"\ninputs = { x = "request.picture" }\n'.replace(
            "[steps", "\n[steps"
        )
    )
    assert [each.name for each in chain.steps] == ["look..think", "speak", "best", "more"]


def test_encoders_of_unlike_length_are_called_one_after_the_other() -> None:
    chain = """
    [steps.one]
    model = "eye"
    inputs = { x = "request.a" }
    [steps.other]
    model = "fast"
    inputs = { x = "request.b" }
    [steps.both]
    model = "pair"
    inputs = { a = "one", b = "other" }
    [outputs]
    y = "both"
    """
    models = {**MODELS, "pair": PAIR}
    found = join(chain_of(tomllib.loads(chain), "c"), models)
    assert fuse(found, models).graphs == {}


def test_a_group_that_would_wait_for_itself_stays_apart() -> None:
    """`speak` reads `look` by itself, and through a step that cannot be part of the group."""
    chain = """
    [steps.look]
    model = "eye"
    inputs = { x = "request.x" }
    [steps.weak]
    model = "middle"
    inputs = { x = "look" }
    retries = 1
    [steps.both]
    model = "pair"
    inputs = { a = "look", b = "weak" }
    [outputs]
    y = "both"
    """
    models = {**MODELS, "pair": PAIR}
    assert fuse(join(chain_of(tomllib.loads(chain), "c"), models), models).graphs == {}
