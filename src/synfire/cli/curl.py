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
from synfire.ops.language_model import LanguageModel
from synfire.store.files import write_atomically
from synfire.wire import oip
from synfire.wire.client import batch_first
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
    tensors = batch_first(planned.graph.inputs, sample(planned.graph), planned.graph.batches)
    body = json.dumps({"inputs": [_tensor(name, array) for name, array in tensors.items()]}, separators=(",", ":"))
    start = f"curl -s {run.url}/v2/models/{planned.model.name}/infer{_key()} -H 'Content-Type: application/json'"
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
