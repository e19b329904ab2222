"""The engine `openvino`: GGUF files and Hugging Face directories, by OpenVINO GenAI, in a process of its own: many answers at a time, quickly.

Its batches are large products where llama.cpp computes many small ones. Of GGUF files it reads those of a few architectures, as they are;
directories are converted once (`openvino_build`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any

from synfire.base.errors import UserError
from synfire.base.log import LOGGER
from synfire.engines.engine import ENGINES, Program
from synfire.engines.language import openvino_build
from synfire.engines.language.child import EngineChild, granted_cores
from synfire.engines.language.environment import BEGIN, Environment
from synfire.engines.language.server import ServerProgram
from synfire.engines.profiles.profile import THROUGHPUT
from synfire.engines.streaming import WholeEngine
from synfire.formats.gguf import Gguf, read_gguf
from synfire.formats.huggingface import read_folder
from synfire.formats.huggingface_model import ADAPTER
from synfire.formats.weights import gathered, located
from synfire.graph import Graph
from synfire.ops.language_model import Ability, LanguageModel

ENVIRONMENT = Environment("SYNFIRE_OPENVINO_PYTHON", ("openvino_genai",), "pip install 'synfire[openvino]'")
MODULE = "openvino_server.process"
GGUF = "gguf"

ARCHITECTURES = ("llama", "qwen2", "qwen3")
PRECISIONS = ("F16", "Q8_0", "Q4_0", "Q4_K")
"""Of GGUF files that OpenVINO GenAI reads."""

TOKENIZERS = ("gpt2",)
"""Of GGUF files: byte-level pair encodings, as GGUF calls them."""

RUNTIME_BYTES = 150_000_000
"""What OpenVINO takes by itself, once it is loaded."""

_ENDS = re.compile(r"<\|(im_end|eot_id|end|endoftext|end_of_text|eom_id)\|>|<(end_of_turn|EOT)>|</s>")
"""Tokens that end an answer, whatever else the file says; llama.cpp goes by their names, too."""


class OpenVinoProgram(ServerProgram):
    """One model on an OpenVINO of its own."""

    engine = "openvino"

    @property
    def abilities(self) -> Collection[Ability]:
        return ("generate", "tokenize", "detokenize")

    def launched(self) -> EngineChild:
        order = {"module": MODULE, "context": self.model.context, "streams": self.model.streams}
        return EngineChild(BEGIN, order | self._what(), granted_cores(), ENVIRONMENT.python)

    def _what(self) -> dict[str, Any]:
        """The model as OpenVINO takes it, and its tokens."""
        if self.model.format == GGUF:
            ((_, digest),) = self.model.weights
            return {"model": str(located(digest)), **_tokens(read_gguf(located(digest)))}
        folder = openvino_build.build(self.model.weights, lambda what, share: LOGGER.info("%s", what))
        found = read_folder(gathered(self.model.weights))
        return {"model": str(folder), "bos": None, "ends": found.ends, "vocabulary": found.config["vocab_size"]}


def _tokens(file: Gguf) -> dict[str, Any]:
    """What the process is to know of tokens: those before a text, those that end an answer, and how many there are."""
    found = {name: file.metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos", "eot")}
    names = file.metadata.get("tokenizer.ggml.tokens", ())
    ends = {place for place, name in enumerate(names) if _ENDS.fullmatch(str(name))}
    ends |= {each for name, each in found.items() if name != "bos" and isinstance(each, int)}
    begun = isinstance(found["bos"], int) and bool(file.metadata.get("tokenizer.ggml.add_bos_token", True))
    return {"bos": [found["bos"]] if begun else [], "ends": sorted(ends), "vocabulary": len(names)}


class OpenVinoEngine(WholeEngine):
    """Whole language models from GGUF files of some architectures, for as many tokens a second as there can be."""

    name = "openvino"
    format = openvino_build.FORMAT
    rank = 10
    goal = THROUGHPUT

    @classmethod
    def precision(cls, graph: Graph) -> str:
        card = _card(graph) if any(each.format == GGUF for each in _models(graph)) else {}
        return str(card.get("precision", "")).lower() or cls.format

    @classmethod
    def refusal(cls, graph: Graph) -> str:
        models = _models(graph)
        if len(graph.operators) != 1 or not models or models[0].pooling:
            return "it runs a language model, from a GGUF file or a Hugging Face directory, whole, and nothing else"
        if models[0].format == GGUF and len(models[0].weights) > 1:
            return "it reads GGUF models of one file; join the parts with `synfire pull`, or use llama.cpp"
        return (_unread(graph) if models[0].format == GGUF else _unbuilt(models[0])) or ENVIRONMENT.refusal()

    @classmethod
    def build_ahead(cls, graph: Graph, tell: Callable[[str, float], None]) -> None:
        for model in _models(graph):
            if model.format != GGUF:
                openvino_build.build(model.weights, tell)

    @classmethod
    def whole_bytes(cls, graph: Graph) -> int:
        return super().whole_bytes(graph) + RUNTIME_BYTES

    def build(self, graph: Graph) -> Program:
        """Raises `UserError` for any other graph, and where the package is missing."""
        refusal = self.refusal(graph)
        if refusal:
            raise UserError(f"engine {self.name} cannot run this stage: {refusal}")
        return OpenVinoProgram(graph, _models(graph)[0])


def _models(graph: Graph) -> list[LanguageModel]:
    return [each for each in graph.operators.values() if isinstance(each, LanguageModel)]


def _unread(graph: Graph) -> str:
    """Why a GGUF file is not read; empty for one that is, and for one of which nothing is told any more."""
    card = _card(graph)
    for name, known in (("architecture", ARCHITECTURES), ("precision", PRECISIONS), ("tokenizer", TOKENIZERS)):
        found = card.get(name)
        if found and not str(found).startswith(known):
            return f"of GGUF files it reads those of {name} {', '.join(known)}, and this has {found}; use llama.cpp"
    return ""


def _unbuilt(model: LanguageModel) -> str:
    """Why a directory is not converted; empty for one that was, or can be."""
    if any(name.startswith(ADAPTER) for name, _ in model.weights):
        return "adapters are not handed to it; merge this one into its model, or use transformers"
    if openvino_build.built(model.weights) is not None:
        return ""
    refusal = openvino_build.BUILDER.refusal()
    return f"the model has to be converted first, and {refusal}" if refusal else ""


def _card(graph: Graph) -> dict[str, Any]:
    """What is told of the model where it was read; nothing where it has travelled since."""
    return dict(graph.metadata.get("language", {}))


ENGINES.add(OpenVinoEngine.name, OpenVinoEngine)
