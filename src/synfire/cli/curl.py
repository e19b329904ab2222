"""A curl line that asks a served model, printed by `synfire serve`."""

from __future__ import annotations

import base64
import json
import shlex
from typing import Any

from synfire.base import paths
from synfire.base.keys import VARIABLE, authorization
from synfire.cli import runs
from synfire.deploy.planning import Planned
from synfire.ops import Array
from synfire.store.files import write_atomically
from synfire.wire import oip
from synfire.wire.client import batch_first
from synfire.zoo import sample

INLINE_CHARACTERS = 1200
"""A request up to this length is part of the curl line; a longer one goes to a file beside the deployment's record."""


def curl(planned: Planned, run: runs.Run) -> str:
    """A curl line that works as pasted: it asks the model with a sample that fits its inputs.

    A key is left to the shell, where `SYNFIRE_API_KEY` is set too: what is printed may be logged.
    """
    if planned.graph.open_ended:
        return _chat(planned, run)
    tensors = batch_first(planned.graph.inputs, sample(planned.graph), planned.graph.batches)
    body = json.dumps({"inputs": [_tensor(name, array) for name, array in tensors.items()]}, separators=(",", ":"))
    start = f"curl -s {run.url}/v2/models/{planned.model.name}/infer{_key()} -H 'Content-Type: application/json'"
    if len(body) > INLINE_CHARACTERS:
        file = paths.home() / "run" / f"{run.id}.request"
        write_atomically(file, body.encode())
        return f"{start} -d @{shlex.quote(str(file))}"
    return f"{start} -d {shlex.quote(body)}"


def _chat(planned: Planned, run: runs.Run) -> str:
    """A line that asks a language model: with a chat where it was trained for that, else with a text to go on from."""
    card = planned.graph.metadata.get("language", {})
    body: dict[str, Any] = {"model": planned.model.name, "max_tokens": 32}
    if card.get("chat_template"):
        path, body = "chat/completions", {**body, "messages": [{"role": "user", "content": "Speak, what news?"}]}
    else:
        path, body = "completions", {**body, "prompt": "Speak, what news?"}
    start = f"curl -s {run.url}/v1/{path}{_key()} -H 'Content-Type: application/json'"
    return f"{start} -d {shlex.quote(json.dumps(body, separators=(',', ':')))}"


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
