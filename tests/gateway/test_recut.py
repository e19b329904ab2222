"""A session's checkpoint is taken up by other stages than those that made it."""

from __future__ import annotations

import numpy as np
import pytest

from synfire.base.errors import TemporaryError
from synfire.engines import ENGINES
from synfire.gateway.protection import Saved
from synfire.gateway.recut import recut
from synfire.plan import atoms
from synfire.plan.cut import join
from synfire.plan.plan import stage_graph
from synfire.testing.graphs import plan_of, random_graph, random_inputs
from synfire.wire.checksums import checksum

SEED = 12


def checkpoint(groups, summed=True):
    """The graph, and what its stages have saved after a call, with the plan."""
    graph = random_graph(SEED)
    plan = plan_of(graph, groups, ["w0"] * len(groups), 2, engine="cpu")
    values = random_inputs(graph, 1, 2, 5)
    saved = {}
    for stage in plan.stages:
        part = stage_graph(graph, stage.operators)
        program = ENGINES["cpu"]().build(part)
        given = {name: values[name] for name in part.inputs}
        state, outputs = program.run(program.initial_state(2), given, graph.steps or 5)
        values |= outputs
        state = program.portable(state)
        maker = f"cpu v{ENGINES['cpu'].version} {part.content_digest()}"
        saved[stage.name] = Saved(state, maker, checksum(state) if summed else None)
    return graph, plan, saved


def halves():
    """The graph as one group, and as two."""
    groups = atoms(random_graph(SEED))
    middle = len(groups) // 2
    return [join(groups)], [join(groups[:middle]), join(groups[middle:])]


@pytest.mark.parametrize("summed", [True, False])
def test_parts_take_up_what_the_whole_remembered_and_the_whole_what_its_parts_did(summed):
    whole, parts = halves()
    graph, one, saved = checkpoint(whole, summed)
    _, several, wanted = checkpoint(parts, summed)
    found = recut(graph, several, {"whole": saved["s0"]}, {})
    assert found.keys() == wanted.keys()
    for name, each in wanted.items():
        assert (found[name].maker, found[name].checksum) == (each.maker, each.checksum)
        assert found[name].state.keys() == each.state.keys()
    back = recut(graph, one, {f"part {name}": each for name, each in found.items()}, {})
    assert (back["s0"].maker, back["s0"].checksum) == (saved["s0"].maker, saved["s0"].checksum)


def test_a_stage_that_is_still_one_keeps_what_it_has():
    whole, _ = halves()
    graph, plan, saved = checkpoint(whole)
    assert recut(graph, plan, saved, {})["s0"] is saved["s0"]


def test_a_damaged_checkpoint_is_not_split():
    whole, parts = halves()
    graph, _, saved = checkpoint(whole)
    spoilt = {name: np.array(array) for name, array in saved["s0"].state.items()}
    next(array for array in spoilt.values() if array.size).reshape(-1).view(np.uint8)[0] ^= 1
    _, several, _ = checkpoint(parts)
    with pytest.raises(TemporaryError, match=r"its checkpoint is damaged.*begin it again with sequence_start=true"):
        recut(graph, several, {"whole": saved["s0"]._replace(state=spoilt)}, {})
