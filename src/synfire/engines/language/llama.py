"""The engine `llama.cpp`: GGUF files, by llama.cpp's own server as the package `xllamacpp` has it, in a process of its own."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection
from pathlib import Path
from typing import Any, ClassVar

from synfire.base.errors import UserError
from synfire.engines.engine import ENGINES, Program
from synfire.engines.language.child import EngineChild, granted_cores
from synfire.engines.language.server import CHOOSING, ServerProgram
from synfire.engines.streaming import WholeEngine
from synfire.formats.huggingface_model import ADAPTER
from synfire.formats.weights import gathered, located
from synfire.graph import Graph
from synfire.ops.language_model import Ability, LanguageModel

PACKAGE, EXTRA = "xllamacpp", "llama"
FORMAT = "gguf"

SCRIPT = Path(__file__).with_name("llama_process.py")

_ABILITIES: dict[str, tuple[Ability, ...]] = {"": (*CHOOSING, "schema", "shown"), "rank": ("rank",)}
"""What a model can, by its pooling, where that is not to give vectors."""


class LlamaProgram(ServerProgram):
    """One model on a llama.cpp of its own."""

    engine = "llama.cpp"

    @property
    def abilities(self) -> Collection[Ability]:
        return ("tokenize", "detokenize", *_ABILITIES.get(self.model.pooling, ("embed",)))

    @property
    def order(self) -> dict[str, Any]:
        """What a process is to load, and how. Raises `UserError` for weights that are gone or changed."""
        files = [each for each in self.model.weights if not each[0].startswith(ADAPTER)]
        (first, digest) = files[0]
        return {
            "model": str(located(digest) if len(files) == 1 else gathered(files) / first),
            "adapters": [str(located(digest)) for name, digest in self.model.weights if name.startswith(ADAPTER)],
            "context": self.model.context,
            "streams": self.model.streams,
            "pooling": self.model.pooling,
        }

    def launched(self) -> EngineChild:
        return EngineChild(SCRIPT, self.order, granted_cores())


class LlamaEngine(WholeEngine):
    """Whole language models from GGUF files, many answers at a time."""

    name = "llama.cpp"
    format = FORMAT
    program: ClassVar[type[LlamaProgram]] = LlamaProgram

    @classmethod
    def precision(cls, graph: Graph) -> str:
        card = graph.metadata.get("language", {})
        return str(card.get("precision", "")).lower() if _model(graph) else cls.format

    @classmethod
    def refusal(cls, graph: Graph) -> str:
        if _model(graph) is None:
            return "it runs a language model from a GGUF file, whole, and nothing else; llama.cpp converts directories to such files"
        return cls.missing()

    @classmethod
    def missing(cls) -> str:
        """Why there is no llama.cpp to run any model, and what to do; empty where there is one."""
        if importlib.util.find_spec(PACKAGE) is None:
            return f"the package {PACKAGE} is not installed: pip install 'synfire[{EXTRA}]'"
        return ""

    def build(self, graph: Graph) -> Program:
        """Raises `UserError` for any other graph, and where the package is missing."""
        refusal = self.refusal(graph)
        (model,) = graph.operators.values() if not refusal else (None,)
        if not isinstance(model, LanguageModel):
            raise UserError(f"engine {self.name} cannot run this stage: {refusal}")
        return self.program(graph, model)


def _model(graph: Graph) -> LanguageModel | None:
    """The only operator, where it is a model from a GGUF file."""
    found = [each for each in graph.operators.values() if isinstance(each, LanguageModel) and each.format == FORMAT]
    return found[0] if len(found) == len(graph.operators) == 1 else None


ENGINES.add(LlamaEngine.name, LlamaEngine)
