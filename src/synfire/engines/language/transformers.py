"""The engine `transformers`: Hugging Face directories, by the package of that name on torch, in a process of its own.

It is the slowest engine and the one that all others are compared with: it knows every architecture, computes in float32, and gives each answer
the bits that it gets alone. Its process may run in another environment than synfire's, since torch is large and particular about its neighbours.
"""

from __future__ import annotations

import difflib
import re
import threading
from collections.abc import Collection, Hashable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from synfire.base.errors import UserError
from synfire.engines.engine import ENGINES, Program
from synfire.engines.language.child import EngineChild, granted_cores
from synfire.engines.language.environment import BEGIN, Environment
from synfire.engines.language.exchange import told
from synfire.engines.language.server import CHOOSING, ServerProgram
from synfire.engines.streaming import WholeEngine
from synfire.formats.huggingface_model import ADAPTER, FORMAT
from synfire.formats.weights import gathered
from synfire.graph import Graph
from synfire.ops.language_model import Ability, Generation, LanguageModel

ENVIRONMENT = Environment(
    "SYNFIRE_TRANSFORMERS_PYTHON",
    ("torch", "transformers"),
    "pip install torch==2.13.0, then pip install 'synfire[transformers]'",
)
TORCH_BYTES = 350_000_000
"""What torch and transformers take by themselves, once they are loaded."""

MODULE = "torch_server.process"
_WEIGHT_BYTES = 4
_ENTRY = re.compile(r'^ *\("([\w.-]+)",', re.MULTILINE)
"""A line of transformers' tables: an architecture, and what it is run by."""

_Files = tuple[tuple[str, str], ...]


@dataclass
class _Shared:
    """A process with a model, and how many programs use it: the model itself, and each of its adapters."""

    child: EngineChild
    users: int = 0


_Key = tuple[_Files, int, int]

_running: dict[_Key, _Shared] = {}
_lock = threading.Lock()


def shared_key(model: LanguageModel) -> _Key:
    """What tells processes apart: the model without its adapter, its context, and its answers at a time."""
    files = tuple((name, digest) for name, digest in model.weights if not name.startswith(ADAPTER))
    return files, model.context, model.streams


class TransformersProgram(ServerProgram):
    """One model, or one adapter of a model: all those of one model in a worker share a process, and so its weights."""

    engine = "transformers"

    def __init__(self, graph: Graph, model: LanguageModel) -> None:
        super().__init__(graph, model)
        self._adapter: _Files = tuple(
            (name.removeprefix(ADAPTER), digest) for name, digest in model.weights if name.startswith(ADAPTER)
        )
        self._key = shared_key(model)

    @property
    def abilities(self) -> Collection[Ability]:
        return (*CHOOSING, "tokenize", "detokenize")

    def warm(self) -> None:
        """Load the model, and the adapter, where it is not loaded. Raises as `ServerProgram` does, and `UserError` for an adapter that
        does not fit."""
        super().warm()
        if self._adapter:
            body = {"name": self._name, "path": str(gathered(self._adapter))}
            status, said = told(self.address, "/adapter", msgspec.json.encode(body))
            if status != 200:
                self.rest()
                raise UserError(f"the adapter cannot be used: {said.decode(errors='replace')}")

    def launched(self) -> EngineChild:
        with _lock:
            found = _running.get(self._key)
            if found is None or not found.child.alive:
                files, context, streams = self._key
                order = {"module": MODULE, "model": str(gathered(files)), "context": context, "streams": streams}
                child = EngineChild(BEGIN, order, granted_cores(), ENVIRONMENT.python)
                found = _running[self._key] = _Shared(child)
            found.users += 1
            return found.child

    def dismiss(self, child: EngineChild) -> None:
        with _lock:
            found = _running.get(self._key)
            if found is not None and found.child is child:
                found.users -= 1
                if found.users:
                    return
                del _running[self._key]
        child.end()

    def body(self, wanted: Generation, again: bool) -> dict[str, Any]:
        return super().body(wanted, again) | ({"adapter": self._name} if self._adapter else {})

    @property
    def _name(self) -> str:
        """What the adapter is called in the process: by its content."""
        return "-".join(sorted(digest for _, digest in self._adapter))


class TransformersEngine(WholeEngine):
    """Whole language models from Hugging Face directories, and LoRA adapters on them."""

    name = "transformers"
    format = "float32"
    rank = 9

    @classmethod
    def refusal(cls, graph: Graph) -> str:
        model = next(iter(graph.operators.values()), None)
        if len(graph.operators) != 1 or not isinstance(model, LanguageModel) or model.format != FORMAT:
            return "it runs a language model from a Hugging Face directory, whole, and nothing else"
        return ENVIRONMENT.refusal() or _unknown(str(graph.metadata.get("language", {}).get("architecture", "")))

    @classmethod
    def whole_bytes(cls, graph: Graph) -> int:
        """Weights in float32, whatever the files have them in, keys and values, and torch itself."""
        (model,) = (each for each in graph.operators.values() if isinstance(each, LanguageModel))
        parameters = graph.metadata.get("language", {}).get("parameters", 0)
        return model.memory_bytes - model.weight_bytes + _WEIGHT_BYTES * parameters + TORCH_BYTES

    @classmethod
    def shared(cls, graph: Graph) -> Hashable:
        return next((shared_key(each) for each in graph.operators.values() if isinstance(each, LanguageModel)), None)

    def build(self, graph: Graph) -> Program:
        """Raises `UserError` for any other graph, and where the packages are missing."""
        refusal = self.refusal(graph)
        (model,) = graph.operators.values() if not refusal else (None,)
        if not isinstance(model, LanguageModel):
            raise UserError(f"engine {self.name} cannot run this stage: {refusal}")
        return TransformersProgram(graph, model)


def _unknown(architecture: str) -> str:
    """Why a model cannot be run whose config names that architecture; empty for a known one, and where nobody can tell without loading it."""
    known = _architectures(ENVIRONMENT.folder("transformers"))
    if not architecture or not known or architecture in known:
        return ""
    near = difflib.get_close_matches(architecture, known, 1)
    return (
        f"this transformers knows no architecture {architecture!r}{f' (did you mean {near[0]!r}?)' if near else ''}: correct model_type in "
        "config.json, or install a newer transformers; code that comes with weights is not run"
    )


@lru_cache(maxsize=4)
def _architectures(package: Path | None) -> frozenset[str]:
    """The architectures that transformers knows, read from its tables: to import it takes seconds. None where they lie elsewhere."""
    tables = sorted((package / "models" / "auto").glob("*.py")) if package is not None else []
    return frozenset(found.lower() for each in tables for found in _ENTRY.findall(each.read_text(errors="replace")))


ENGINES.add(TransformersEngine.name, TransformersEngine)
