"""A model's first requests, made before anybody is told that it is there: the first one of an engine is the slowest."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing

from synfire.base.clock import Clock, SystemClock
from synfire.base.errors import SynfireError
from synfire.base.log import LOGGER
from synfire.gateway.call import Call
from synfire.gateway.peer import Peer
from synfire.gateway.route import WorkerRoute
from synfire.graph import Graph
from synfire.ops import Array
from synfire.ops.language_model import Generation, LanguageModel, Task, as_array
from synfire.ops.python_function import PythonFunction
from synfire.plan import Plan
from synfire.zoo import sample

QUESTION = "Speak, what news?"
TOKENS = 4
"""How many tokens of an answer are made: the first reads the prompt, the second is the first of its kind."""

LIMIT_S = 60.0
"""How long a request may take; a model that takes longer is served all the same."""


def is_warmed(graph: Graph) -> bool:
    """Whether requests are made to a model beforehand: to one that is run whole, unless functions of the user's compute it, which may
    do more than answer. Stages of other models have done their known-answer tests when they are hosted."""
    return graph.whole and not any(isinstance(each, PythonFunction) for each in graph.operators.values())


def warm_inputs(graph: Graph) -> Mapping[str, Array]:
    """A request as real as can be made up: a question, or a sample that fits. Raises `UserError` where none is known."""
    models = [each for each in graph.operators.values() if isinstance(each, LanguageModel)]
    if not models:
        return sample(graph)
    task: Task = "rank" if models[0].pooling == "rank" else "embed" if models[0].pooling else "generate"
    asked = Generation(QUESTION, TOKENS, 0.0, task=task, passage="Good news." if task == "rank" else "")
    return {name: as_array(asked, 1) for name in graph.inputs}


async def warm_up(
    graph: Graph, plan: Plan, peers: Mapping[str, Peer], who: str, count: int, clock: Clock | None = None
) -> float | None:
    """Make so many requests to a flat model along its plan, one after the other; how long the first took, in seconds, None where there
    was none. One that fails is told in the log, with the reason, and the model is served: what was made up may not suit it."""
    clock = clock or SystemClock()
    first_s = None
    if not is_warmed(graph):
        return None
    route = WorkerRoute(graph, plan, peers, who, clock)
    for number in range(count):
        began_s = clock.now_s()
        try:
            call = Call(f"warm-up {number + 1}", plan.model, warm_inputs(graph), deadline_s=began_s + LIMIT_S)
            async with aclosing(route.answer(call)) as parts:
                async for _ in parts:
                    pass
        except SynfireError as error:
            LOGGER.warning("model %s: its warm-up request failed, and it is served all the same: %s", plan.model, error)
            return first_s
        took_s = clock.now_s() - began_s
        first_s = took_s if first_s is None else first_s
        LOGGER.info("model %s: warm-up request %d took %.3f s", plan.model, number + 1, took_s)
    return first_s
