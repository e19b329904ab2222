"""Calls that are answered by as many parts as the model finds right: what was given of one, and how another worker goes on from there."""

from __future__ import annotations

import msgspec

from synfire.base.errors import Interrupted
from synfire.gateway.call import Call, Part
from synfire.graph import Graph
from synfire.ops.language_model import LanguageModel, as_array, read_pieces, read_request, resumed


class Told:
    """What the caller has of the answer to an open-ended `call`. Its parts are not cut alike at another try, so none can be left out
    by its number: the model is told what the caller has, and goes on from there."""

    def __init__(self, graph: Graph, call: Call) -> None:
        self._graph = graph
        self._call = call
        self._parts: list[Part] = []

    def add(self, part: Part) -> None:
        """The caller is given a part."""
        self._parts.append(part)

    def rest(self) -> Call:
        """The call for what the caller has not yet. Raises `Interrupted` for a model that cannot go on in the midst."""
        if not self._parts:
            return self._call
        models = [each for each in self._graph.operators.values() if isinstance(each, LanguageModel)]
        if len(self._graph.operators) != 1 or not models:
            raise Interrupted(
                f"call {self._call.id} of model {self._call.model!r} was answered in part when its worker was lost, and a graph of "
                "several operators does not go on in the midst of a text; ask again"
            )
        ((name, request),) = self._call.inputs.items()
        pieces = [piece for part in self._parts for array in part.outputs.values() for piece in read_pieces(array)]
        rest = as_array(resumed(read_request(request), pieces), *request.shape)
        return msgspec.structs.replace(self._call, inputs={name: rest})
