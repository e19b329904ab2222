"""The engine `llama.cpp-native`: GGUF files, by llama.cpp's own server, compiled for the processor that is here (`llama_build`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from synfire.base.errors import PermanentError
from synfire.engines.engine import ENGINES
from synfire.engines.language import llama_build
from synfire.engines.language.child import EngineChild, granted_cores
from synfire.engines.language.foreign import SCRIPT
from synfire.engines.language.llama import LlamaEngine, LlamaProgram
from synfire.engines.language.llama_process import HTTP_THREADS_BESIDE
from synfire.graph import Graph

NAME = "llama.cpp-native"


class NativeLlamaProgram(LlamaProgram):
    """One model on a llama.cpp that was compiled here."""

    engine = NAME

    def launched(self) -> EngineChild:
        """Raises `PermanentError`, beside what `ServerProgram` says, where what was compiled is gone: a worker has no minutes for that."""
        server = llama_build.built()
        if server is None:
            raise PermanentError(
                f"the llama.cpp that was compiled for this processor is gone; synfire build MODEL --profile {NAME} makes it again"
            )
        cores = granted_cores()
        command = [str(server), *map(str, arguments(self.order, len(cores)))]
        return EngineChild(SCRIPT, {"command": command, "environment": {}, "health": "/health"}, cores)


class NativeLlamaEngine(LlamaEngine):
    """The same as `LlamaEngine`, and quicker where the processor has more than the wheel asks for. It is the usual one once it is compiled."""

    name = NAME
    program = NativeLlamaProgram

    @classmethod
    def standing(cls) -> int:
        return -1 if llama_build.built() is not None else 1

    @classmethod
    def missing(cls) -> str:
        return llama_build.refusal()

    @classmethod
    def build_ahead(cls, graph: Graph, tell: Callable[[str, float], None]) -> None:
        """Compile it, once for all models. Raises `UserError` where that is not possible."""
        llama_build.build(tell)


def arguments(order: dict[str, Any], threads: int) -> Iterator[str | int]:
    """What the server is started with; the same as `llama_process` sets, which says why."""
    streams, context, pooling = order["streams"], order["context"], order["pooling"]
    yield from (
        "--model",
        order["model"],
        "--host",
        "{address}",
        "--parallel",
        streams,
        "--ctx-size",
        context * streams,
    )
    yield from ("--threads", threads, "--threads-batch", threads, "--threads-http", streams + HTTP_THREADS_BESIDE)
    yield from ("--fit", "off", "--cache-ram", 0, "--no-context-shift", "--no-ui", "--offline", "--verbosity", 1)
    if order["adapters"]:
        yield from ("--lora", ",".join(order["adapters"]))
    if pooling:
        batch = -(-context // streams) * streams
        yield from ("--embedding", "--pooling", pooling, "--kv-unified", "--kv-unified-per-slot", context)
        yield from ("--batch-size", batch, "--ubatch-size", batch)


ENGINES.add(NativeLlamaEngine.name, NativeLlamaEngine)
