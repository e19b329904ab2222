"""What is asked in a soak, and the right answers: held-out data of each model, and what its uncut graph says to it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from synfire.bench.soak.connection import Reply, server_events
from synfire.bench.soak.judgement import WRONG_BITS
from synfire.bench.soak.rpc import RpcReply
from synfire.bench.soak.uncut import Uncut, undisturbed
from synfire.graph import Graph, flatten
from synfire.graph.passes import simplify
from synfire.ops import Array, Clock, Signal
from synfire.testing.zoo import held_out, inputs_of
from synfire.wire import oip
from synfire.wire.batch_axis import batch_first
from synfire.zoo import find

SAMPLES = 32
"""Held-out samples of each model that are asked alone, in random order."""

SESSIONS, CALLS = 3, 24
"""Sessions whose answers are known of each model, and the calls of each; a caller asks as many of them as it likes."""

Arrays = Mapping[str, Array]


@dataclass(frozen=True)
class Question:
    """Inputs, batch first, and all outputs at every time step, `(steps, batch, …)`, of the uncut model.

    `unlike` are the answers where a processor runs stages, which are named, in place of a device that is lost.
    """

    inputs: Arrays
    answer: Arrays
    unlike: Mapping[tuple[str, ...], Question] = field(default_factory=dict)


@dataclass(frozen=True)
class Repertoire:
    """What a model is asked: single samples, and sessions of several."""

    model: str
    outputs: Mapping[str, Signal]
    samples: Sequence[Question]
    sessions: Sequence[Sequence[Question]]

    @classmethod
    def of(cls, model: str, device: str = "") -> Repertoire:
        """Ask the uncut model, or one of which what it takes is on a `device`. Raises `UserError` where its data is not at hand."""
        graph = simplify(flatten(find(model).graph))
        right = undisturbed(model, graph, device)
        requests, _ = held_out(graph.metadata["dataset"], SAMPLES)
        samples = [_run(graph, right, requests[i : i + 1])[0] for i in range(len(requests))]
        orders = np.random.default_rng(0).integers(len(requests), size=(SESSIONS, CALLS))
        return cls(model, graph.output_signals(), samples, [_run(graph, right, requests[order]) for order in orders])

    def whole(self, question: Question) -> dict[str, Array]:
        """The answer as a caller gets it: what a readout says at the end, or what is said at each step."""
        return self._laid_out(question.answer, slice(None))

    def part(self, question: Question, first: int, steps: int) -> dict[str, Array]:
        """The part of a streamed answer with these time steps."""
        return self._laid_out(question.answer, slice(first, first + steps))

    def together(self, questions: Sequence[Question]) -> Question:
        """Several samples as one request."""
        inputs = {name: np.concatenate([each.inputs[name] for each in questions]) for name in questions[0].inputs}
        axes = {name: int(signal.timed) for name, signal in self.outputs.items()}
        answer = {name: np.concatenate([each.answer[name] for each in questions], axis) for name, axis in axes.items()}
        unlike = {gone: self.together([each.unlike[gone] for each in questions]) for gone in questions[0].unlike}
        return Question(inputs, answer, unlike)

    def _laid_out(self, answer: Arrays, span: slice) -> dict[str, Array]:
        found = {}
        for name, signal in self.outputs.items():
            if not signal.timed:
                found[name] = answer[name]
            elif signal.clock is Clock.RUNNING:
                found[name] = answer[name][span][-1]
            else:
                found[name] = answer[name][span].swapaxes(0, 1)
        return found


def request_of(
    model: str,
    inputs: Arrays,
    *,
    id: str = "",
    parameters: Mapping[str, Any] | None = None,
    binary: bool = True,
    stream: bool = False,
    timeout_s: float | None = None,
) -> bytes:
    """The HTTP request of an inference."""
    body, length = oip.build_infer_request(inputs, id=id, binary=binary)
    if parameters:
        body, length = _with_parameters(body, length, parameters)
    headers = [f"{oip.HEADER_LENGTH}: {length}"] if length is not None else []
    headers += [f"Synfire-Timeout-Ms: {round(1e3 * timeout_s)}"] if timeout_s is not None else []
    return post(f"/v2/models/{model}/{'infer_stream' if stream else 'infer'}", body, headers)


def post(path: str, body: bytes, headers: Sequence[str] = ()) -> bytes:
    """An HTTP request with a body."""
    lines = [f"POST {path} HTTP/1.1", "Host: soak", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def difference(repertoire: Repertoire, id: str, question: Question, reply: Reply) -> str:
    """What is wrong with a whole answer, in words; empty where every bit is right."""
    length = reply.headers.get(oip.HEADER_LENGTH.lower().encode())
    told = oip.parse_infer_response(reply.body, None if length is None else int(length))
    return _of_another(id, told) or _difference(told.outputs, repertoire.whole(question))


def rpc_difference(repertoire: Repertoire, id: str, question: Question, reply: Reply) -> str:
    """The same of a whole answer over gRPC."""
    assert isinstance(reply, RpcReply)
    ((_, told),) = reply.parts
    return _of_another(id, told) or _difference(told.outputs, repertoire.whole(question))


def stream_error(reply: Reply) -> str:
    """The error that a streamed answer ends in; empty where it does not."""
    return next((data.decode(errors="replace") for name, data in server_events(reply.body) if name == "error"), "")


def stream_difference(repertoire: Repertoire, question: Question, reply: Reply) -> str:
    """What is wrong with a streamed answer, in words; empty where it is whole, each step comes once, and every bit is right."""
    parts = ((name == "final", oip.parse_infer_response(data)) for name, data in server_events(reply.body))
    return _parts_difference(repertoire, question, parts)


def rpc_stream_difference(repertoire: Repertoire, id: str, question: Question, reply: Reply) -> str:
    """The same of a streamed answer over gRPC."""
    assert isinstance(reply, RpcReply)
    others = (_of_another(id, told) for _, told in reply.parts)
    return next(filter(None, others), "") or _parts_difference(repertoire, question, reply.parts)


def _of_another(id: str, told: oip.InferResponse) -> str:
    return f"it is the answer to request {told.id!r}" if told.id != id else ""


def _parts_difference(
    repertoire: Repertoire, question: Question, parts: Iterable[tuple[bool, oip.InferResponse]]
) -> str:
    steps, done = 0, False
    for final, told in parts:
        if done:
            return "a part comes after the final one"
        first, count = told.parameters["first_step"], told.parameters["steps"]
        if first != steps:
            return f"a part begins with step {first}, though step {steps} should come"
        wrong = _difference(told.outputs, repertoire.part(question, first, count))
        if wrong:
            return f"steps {first} to {first + count - 1}: {wrong}"
        steps, done = steps + count, final
    wanted = len(next(iter(question.answer.values())))
    return "" if done and steps == wanted else f"it ends after {steps} of {wanted} steps"


def _difference(given: Arrays, right: Arrays) -> str:
    if given.keys() != right.keys():
        return f"it has the outputs {sorted(given)} instead of {sorted(right)}"
    for name, wanted in right.items():
        got = given[name]
        if (got.shape, got.dtype) != (wanted.shape, wanted.dtype):
            return f"output {name!r} is {got.dtype} {got.shape} instead of {wanted.dtype} {wanted.shape}"
        if oip.encode_raw(got) != oip.encode_raw(wanted):
            return f"output {name!r} {WRONG_BITS}: {got.tolist()} instead of {wanted.tolist()}"
    return ""


def _run(graph: Graph, right: Mapping[tuple[str, ...], Uncut], requests: Array) -> list[Question]:
    """A session's requests one after the other, each from the state that the last one left."""
    found = {gone: _answered(graph, uncut, requests) for gone, uncut in right.items()}
    sound = found.pop(())
    return [
        replace(each, unlike={gone: answered[i] for gone, answered in found.items()}) for i, each in enumerate(sound)
    ]


def _answered(graph: Graph, uncut: Uncut, requests: Array) -> list[Question]:
    states, found = uncut.initial_state(), []
    for i in range(len(requests)):
        inputs = inputs_of(graph, requests[i : i + 1])
        states, outputs = uncut.run(states, inputs, graph.steps or 1)
        found.append(Question(batch_first(graph.inputs, inputs), outputs))
    return found


def _with_parameters(body: bytes, length: int | None, parameters: Mapping[str, Any]) -> tuple[bytes, int | None]:
    head = json.loads(body[:length])
    head["parameters"] = {**head.get("parameters", {}), **parameters}
    text = json.dumps(head, separators=(",", ":")).encode()
    return (text, None) if length is None else (text + body[length:], len(text))
