"""Engines that are servers of their own, with OpenAI's API: vLLM, TensorRT-LLM, LMDeploy. Each is a launch: how it is started, and what it needs.

They need NVIDIA GPUs (vLLM's processor build is not what its wheel brings), and nobody has run them here: what is tested is everything
around them, against a server that speaks as they do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from synfire.base.errors import SynfireError, UserError
from synfire.engines.engine import ENGINES, Program
from synfire.engines.language.answer import Made
from synfire.engines.language.child import EngineChild, granted_cores
from synfire.engines.language.environment import Environment
from synfire.engines.language.exchange import Exchange
from synfire.engines.language.openai_server import COMPLETIONS, MODEL, Reader, body_of, refusal_of
from synfire.engines.language.server import ServerProgram
from synfire.engines.profiles.profile import THROUGHPUT
from synfire.engines.streaming import WholeEngine
from synfire.formats.huggingface_model import ADAPTER, FORMAT
from synfire.formats.weights import gathered
from synfire.graph import Graph
from synfire.ops.language_model import Generation, LanguageModel

SCRIPT = Path(__file__).parent / "processes" / "foreign_main.py"


@dataclass(frozen=True)
class Launch:
    """How a server is started: `command`, in which `{folder}`, `{port}`, `{context}` and `{streams}` stand for what they say, `{model}` for
    what the server calls it, `{python}` for the interpreter of its `home`, and `{bin}` for the folder of that. It
    is ready when `health` answers 200."""

    name: str
    package: str
    command: Sequence[str]
    health: str = "/health"
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Environment:
        variable = f"SYNFIRE_{self.name.upper().replace('-', '_')}_PYTHON"
        return Environment(variable, (self.package,), "install it as its own pages say, into an environment of its own")

    def filled(self, model: LanguageModel) -> list[str]:
        """The command for a model; the port is left open."""
        values = {
            "python": self.home.python,
            "bin": str(Path(self.home.python).parent),
            "folder": str(gathered(model.weights)),
            "context": model.context,
            "streams": model.streams,
            "model": MODEL,
            "port": "{port}",
        }
        return [each.format(**values) for each in self.command]


def gpus() -> list[str]:
    """NVIDIA's GPUs as the driver tells of them; nothing is imported or started for it."""
    return sorted(each.name for each in Path("/proc/driver/nvidia/gpus").glob("*"))


class ForeignProgram(ServerProgram):
    """One model on such a server."""

    completion = COMPLETIONS

    def __init__(self, graph: Graph, model: LanguageModel, launch: Launch) -> None:
        super().__init__(graph, model)
        self._launch = launch
        self._readers: WeakKeyDictionary[Exchange, Reader] = WeakKeyDictionary()
        self.engine = launch.name

    @property
    def address(self) -> str:
        return str(self._child.ready()["address"]) if self._child is not None else ""

    def launched(self) -> EngineChild:
        launch = self._launch
        order = {
            "command": launch.filled(self.model),
            "environment": {"HF_HUB_OFFLINE": "1", **launch.environment},
            "health": launch.health,
        }
        return EngineChild(SCRIPT, order, granted_cores())

    def body(self, wanted: Generation, again: bool) -> dict[str, Any]:
        return body_of(wanted, again)

    def made(self, exchange: Exchange) -> Iterator[Made]:
        return self._readers.setdefault(exchange, Reader(self.engine)).made(exchange)

    def refusal(self, exchange: Exchange) -> SynfireError:
        return refusal_of(exchange, self.engine)


class ForeignEngine(WholeEngine):
    """Whole language models from Hugging Face directories, on a server of another project."""

    launch: ClassVar[Launch]
    goal = THROUGHPUT

    @classmethod
    def precision(cls, graph: Graph) -> str:
        return str(graph.metadata.get("language", {}).get("precision", "")).lower() or cls.format

    @classmethod
    def refusal(cls, graph: Graph) -> str:
        model = next(iter(graph.operators.values()), None)
        if len(graph.operators) != 1 or not isinstance(model, LanguageModel) or model.format != FORMAT:
            return "it runs a language model from a Hugging Face directory, whole, and nothing else"
        if any(name.startswith(ADAPTER) for name, _ in model.weights):
            return "adapters are not handed to it; merge this one into its model, or use transformers"
        if not gpus():
            return "it needs an NVIDIA GPU, and the driver of this machine tells of none"
        return cls.launch.home.refusal()

    def build(self, graph: Graph) -> Program:
        """Raises `UserError` for any other graph, and where the server cannot be had."""
        refusal = self.refusal(graph)
        (model,) = graph.operators.values() if not refusal else (None,)
        if not isinstance(model, LanguageModel):
            raise UserError(f"engine {self.name} cannot run this stage: {refusal}")
        return ForeignProgram(graph, model, self.launch)


class VllmEngine(ForeignEngine):
    """https://docs.vllm.ai (Apache-2.0)."""

    name = "vllm"
    rank = 1
    launch = Launch(
        "vllm",
        "vllm",
        (
            *("{bin}/vllm", "serve", "{folder}", "--served-model-name", "{model}"),
            *("--host", "127.0.0.1", "--port", "{port}", "--max-model-len", "{context}", "--max-num-seqs", "{streams}"),
        ),
        environment={"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"},
    )


class TensorRtLlmEngine(ForeignEngine):
    """https://nvidia.github.io/TensorRT-LLM (Apache-2.0)."""

    name = "tensorrt-llm"
    rank = 2
    launch = Launch(
        "tensorrt-llm",
        "tensorrt_llm",
        (
            *("{bin}/trtllm-serve", "{folder}", "--host", "127.0.0.1", "--port", "{port}"),
            *("--max_seq_len", "{context}", "--max_batch_size", "{streams}"),
        ),
    )


class LmDeployEngine(ForeignEngine):
    """https://lmdeploy.readthedocs.io (Apache-2.0)."""

    name = "lmdeploy"
    rank = 3
    launch = Launch(
        "lmdeploy",
        "lmdeploy",
        (
            *("{bin}/lmdeploy", "serve", "api_server", "{folder}", "--model-name", "{model}"),
            *("--server-name", "127.0.0.1", "--server-port", "{port}"),
            *("--session-len", "{context}", "--max-batch-size", "{streams}"),
        ),
    )


for _engine in (VllmEngine, TensorRtLlmEngine, LmDeployEngine):
    ENGINES.add(_engine.name, _engine)
