"""A curl line that asks a served model, printed by `synfire serve`."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from synfire.base import paths
from synfire.base.keys import VARIABLE, authorization
from synfire.chains import Joined
from synfire.chains.chain import REQUEST
from synfire.chains.joints import named
from synfire.chains.operators import graph_of
from synfire.cli import runs
from synfire.deploy.planning import Planned
from synfire.ops import Array, Kind, Signal
from synfire.ops.language_model import LanguageModel
from synfire.store.files import write_atomically
from synfire.wire import oip
from synfire.wire.batch_axis import batch_first
from synfire.zoo import sample

QUESTION = "Speak, what news?"

INLINE_CHARACTERS = 1200
"""A request up to this length is part of the curl line; a longer one goes to a file beside the deployment's record."""


def curl(planned: Planned, run: runs.Run) -> str:
    """A curl line that works as pasted: it asks the model with a sample that fits its inputs.

    A key is left to the shell, where `SYNFIRE_API_KEY` is set too: what is printed may be logged.
    """
    if planned.graph.open_ended:
        return _language(planned, run)
    return _infer(
        planned.model.name, batch_first(planned.graph.inputs, sample(planned.graph), planned.graph.batches), run
    )


def curl_chain(joined: Joined, planned: Sequence[Planned], run: runs.Run) -> str:
    """The same for a chain: its models' samples, as far as these read what the caller sends, and a question for each other text."""
    graphs = {each.model.name: each.graph for each in planned}
    given = {name: _stand_in(signal) for name, signal in joined.inputs.items()}
    for step in joined.chain.steps:
        graph = graphs.get(step.models[0]) if step.models else None
        if graph is None or graph.open_ended:
            continue
        samples = batch_first(graph.inputs, sample(graph))
        for port, source in named(step.inputs, graph).items():
            if port in samples and source.places and source.places[0].step == REQUEST:
                given[source.places[0].output] = samples[port]
    batches = graph_of(joined).batches
    return _infer(
        joined.chain.name,
        {name: each if batches else each.reshape(each.shape[1:]) for name, each in given.items()},
        run,
    )


def _stand_in(signal: Signal) -> Array:
    """A question, or numbers that say nothing."""
    array = np.zeros((1, *(max(1, size) for size in signal.shape)), signal.kind.dtype)
    if signal.kind is Kind.BYTES:
        array[...] = QUESTION.encode()
    return array


def _infer(model: str, tensors: Mapping[str, Array], run: runs.Run) -> str:
    """The line that sends these tensors."""
    body = json.dumps({"inputs": [_tensor(name, array) for name, array in tensors.items()]}, separators=(",", ":"))
    start = f"curl -s {run.url}/v2/models/{model}/infer{_key()} -H 'Content-Type: application/json'"
    if len(body) > INLINE_CHARACTERS:
        file = paths.home() / "run" / f"{run.id}.request"
        write_atomically(file, body.encode())
        return f"{start} -d @{shlex.quote(str(file))}"
    return f"{start} -d {shlex.quote(body)}"


def _language(planned: Planned, run: runs.Run) -> str:
    """A line that asks a language model for what it was trained for."""
    path, asked = _question(planned)
    body = {"model": planned.model.name, **asked}
    start = f"curl -s {run.url}/v1/{path}{_key()} -H 'Content-Type: application/json'"
    return f"{start} -d {shlex.quote(json.dumps(body, separators=(',', ':')))}"


def _question(planned: Planned) -> tuple[str, dict[str, Any]]:
    """Where it is asked, and what: for vectors, for a ranking, with a chat, or with a text to go on from."""
    pooling = next((each.pooling for each in planned.graph.operators.values() if isinstance(each, LanguageModel)), "")
    if pooling == "rank":
        return "ranking", {
            "query": {"text": QUESTION},
            "passages": [{"text": text} for text in ("Good news.", "A sword.")],
        }
    if pooling:
        return "embeddings", {"input": QUESTION}
    if planned.graph.metadata.get("language", {}).get("chat_template"):
        return "chat/completions", {"max_tokens": 32, "messages": [{"role": "user", "content": QUESTION}]}
    return "completions", {"max_tokens": 32, "prompt": QUESTION}


def _key() -> str:
    return f' -H "Authorization: Bearer ${{{VARIABLE}%%,*}}"' if authorization() else ""


def _tensor(name: str, array: Array) -> dict[str, Any]:
    """A tensor as the protocol's JSON has it; files go in base64."""
    head = {"name": name, "shape": list(array.shape), "datatype": oip.datatype_of(array.dtype)}
    if array.dtype != object:
        return {
            **head,
            "data": [round(each, 4) if isinstance(each, float) else each for each in array.ravel().tolist()],
        }
    data = [base64.b64encode(each).decode() for each in array.ravel()]
    return {**head, "parameters": {"content_type": "base64"}, "data": data}
