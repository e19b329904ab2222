"""What another worker is told of an answer that was given in part."""

from __future__ import annotations

import pytest

from synfire.base.errors import Interrupted
from synfire.gateway.call import Call, Part
from synfire.gateway.open_ended import Told
from synfire.graph import Graph, Synapse
from synfire.ops import Clock, Kind, Signal
from synfire.ops.identity import Identity
from synfire.ops.language_model import Generation, LanguageModel, Piece, as_array, read_pieces, read_request

REQUEST = Signal((), Kind.BYTES, Clock.REQUEST)
MODEL = LanguageModel("gguf", (("m.gguf", "0" * 64),), 10, 64)


def call(wanted: Generation) -> Call:
    return Call("c", "m", {"request": as_array(wanted, 1)})


def part(piece: Piece) -> Part:
    return Part({"pieces": as_array(piece, 1, 1)}, steps=1)


def whole(graph_of_one: bool = True) -> Graph:
    if graph_of_one:
        return Graph({"m": MODEL}, (Synapse("request", "m"),), {"request": REQUEST}, {"pieces": "m"})
    operators = {"first": Identity(), "m": MODEL}
    return Graph(operators, (Synapse("request", "first"), Synapse("first", "m")), {"request": REQUEST}, {"pieces": "m"})


def test_a_call_of_which_nothing_was_given_stays_as_it_is():
    asked = call(Generation("x"))
    assert Told(whole(), asked).rest() is asked


def test_the_rest_of_a_call_says_what_was_given():
    told = Told(whole(), call(Generation("x", 9, seed=1)))
    told.add(part(Piece("a", (1,), count=1, prompt_count=3)))
    told.add(part(Piece(" b", (2, "c"), count=3)))
    (again,) = (read_request(array) for array in told.rest().inputs.values())
    assert (again.prompt, again.max_tokens, again.seed) == ("x", 9, 1)
    assert (again.sent.text, again.sent.tokens, again.sent.count, again.sent.prompt_count) == ("a b", (1, 2, "c"), 3, 3)


def test_a_graph_of_several_operators_does_not_go_on_in_the_midst():
    told = Told(whole(False), call(Generation("x")))
    told.add(part(Piece("a", (1,), count=1)))
    with pytest.raises(Interrupted, match="several operators"):
        told.rest()


def test_pieces_and_requests_go_through_arrays():
    assert read_pieces(as_array(Piece("é", (1, "x")), 1, 1)) == [Piece("é", (1, "x"))]
    assert read_request(as_array(Generation("é", stop=("a",)), 1)) == Generation("é", stop=("a",))
