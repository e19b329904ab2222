"""Builds programs beside the compute thread, so that hosted stages go on answering meanwhile."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from weakref import WeakValueDictionary

from synfire.base.errors import UserError
from synfire.base.log import LOGGER
from synfire.engines import ENGINES, Program
from synfire.engines.agreement import spike_agreement
from synfire.engines.engine import PROCESSOR
from synfire.engines.streaming import StreamingProgram
from synfire.formats.bundle import read_bundle
from synfire.formats.weights import located
from synfire.graph import Graph, flatten
from synfire.plan.plan import stage_graph
from synfire.store.kept import KeptBlobs
from synfire.wire.graphs import unpack_graph
from synfire.wire.messages import Host, Keep, Keeping, Prepare, Prepared, error_words
from synfire.wire.stream import Buffer

_Key = tuple[str, str, tuple[str, ...]]
Programs = MutableMapping[_Key, Program]
"""Programs by engine, content digest, and names of signals and operators."""


@dataclass(frozen=True)
class Built:
    """A stage that is ready to be hosted; `program` is None for a foreign service.

    `agreement` is how far an engine that is not exact agrees with the processor's, where that was asked for; see
    `synfire.engines.agreement`.
    """

    graph: Graph
    program: Program | None
    build_s: float
    agreement: float | None = None


class Builder:
    """One thread; builds in the order of asking.

    Stages that were prepared are kept, the newest `parameter_bytes` of them, and hosted without being built again. A stage that
    models have in common is run by one program for all of them. Of blobs that were sent, `kept_bytes` are kept for this machine. `require` raises for an engine that this worker has no device for.
    """

    def __init__(
        self,
        parameter_bytes: float = math.inf,
        require: Callable[[str], None] = lambda engine: None,
        threads: int = 1,
        kept_bytes: float = math.inf,
    ) -> None:
        self._require = require
        self._threads = threads
        self._most_kept_bytes = kept_bytes
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="builder")
        self._room = parameter_bytes
        self._kept: OrderedDict[_Key, Built] = OrderedDict()
        self._programs: WeakValueDictionary[_Key, Program] = WeakValueDictionary()

    def build(self, host: Host, graph: Graph | Buffer, done: Callable[[Future[Built]], None]) -> None:
        """Build the stage, then call `done` from the builder's thread."""
        self._thread.submit(self._build, host, graph).add_done_callback(done)

    def prepare(self, wanted: Prepare, graph: Buffer, done: Callable[[Prepared], None]) -> None:
        """Build a stage and keep it, then call `done` from the builder's thread."""
        self._thread.submit(lambda: done(self._prepare(wanted, graph)))

    def keep(self, wanted: Keep, piece: Buffer, done: Callable[[Keeping], None]) -> None:
        """Keep a piece of a blob, then call `done` from the builder's thread."""
        self._thread.submit(lambda: done(self._keep(wanted, memoryview(piece))))

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _build(self, host: Host, graph: Graph | Buffer) -> Built:
        kept = next(
            (each for key, each in self._kept.items() if key[:2] == (host.engine, host.digest) and _fits(host, each)),
            None,
        )
        if not host.url:
            self._require(host.engine)
        built = build(host, graph, self._programs, self._threads) if kept is None or host.url else kept
        if isinstance(built.program, StreamingProgram):
            built.program.warm()  # it may have rested, or died, since it was built
        return compared(built, host.engine) if host.compare and not host.url else built

    def _keep(self, wanted: Keep, piece: memoryview) -> Keeping:
        blobs = KeptBlobs()
        try:
            if wanted.file and not piece and _has_file(wanted.digest):
                return Keeping(wanted.digest, wanted.size)
            have = blobs.take(wanted.digest, wanted.size, wanted.offset, piece)
            if have == wanted.size:
                blobs.prune(self._most_kept_bytes)
        except Exception as error:
            LOGGER.warning("blob %s cannot be kept: %s", wanted.digest[:12], error)
            return Keeping(wanted.digest, 0, *error_words(error))
        return Keeping(wanted.digest, have)

    def _prepare(self, wanted: Prepare, graph: Buffer) -> Prepared:
        try:
            self._require(wanted.engine)
            made = unpack_graph(graph)
            built = program_of(wanted.engine, made, wanted.digest, "a stage to prepare", self._programs, self._threads)
        except Exception as error:
            LOGGER.info("stage %s cannot be prepared: %s", wanted.digest[:12], error)
            return Prepared(wanted.digest, *error_words(error))
        self._kept[_key(wanted.engine, wanted.digest, built.graph)] = built
        while len(self._kept) > 1 and sum(_bytes(each) for each in self._kept.values()) > self._room:
            self._kept.popitem(last=False)
        return Prepared(wanted.digest, build_s=built.build_s)


def _has_file(digest: str) -> bool:
    try:
        located(digest)
    except UserError:
        return False
    return True


def build(host: Host, given: Graph | Buffer, programs: Programs | None = None, threads: int = 1) -> Built:
    """The stage's graph and program, which may be one of those that there are already, and is granted so many threads.

    Raises `UserError` for a graph that is damaged or that the engine cannot run.
    """
    graph = given if isinstance(given, Graph) else _graph(host, given)
    where = f"stage {host.model}.{host.stage}" + (f" of {host.bundle}" if host.bundle else "")
    if host.url:
        _verify(graph, host.digest, where)
        return Built(graph, None, 0.0)
    return program_of(host.engine, graph, host.digest, where, programs, threads)


def compared(built: Built, engine: str) -> Built:
    """What was built, with the agreement of an engine that is not exact with the processor's."""
    made = ENGINES[engine].installed()
    if made.exact:
        return built
    return replace(built, agreement=spike_agreement(built.graph, made, ENGINES[PROCESSOR]()))


def program_of(
    engine: str, graph: Graph, digest: str, where: str, programs: Programs | None = None, threads: int = 1
) -> Built:
    """The graph with its program, compiled and loaded. Raises `UserError` when it is not the graph of that digest.

    Of `programs`, one for the same stage serves again: it holds parameters only, and nothing of any request. Not so on hardware,
    where each has a place and faults of its own.
    """
    began_s = time.perf_counter()
    _verify(graph, digest, where)
    made, key = ENGINES[engine].installed(), _key(engine, digest, graph)
    known = programs if programs is not None and digest and made.device == PROCESSOR else {}
    program = known.get(key)
    if program is None:
        known[key] = program = made.build(graph)
        program.grant(threads)
        program.warm()
    return Built(graph, program, time.perf_counter() - began_s)


def _key(engine: str, digest: str, graph: Graph) -> _Key:
    """What tells programs apart: the digest is the same whatever a model calls its signals and operators."""
    return engine, digest, (*graph.inputs, *graph.order(), *graph.outputs)


def _fits(host: Host, built: Built) -> bool:
    """Whether the signals go by the names that the links use: a digest is the same whatever a model calls them."""
    arriving = {source for each in host.arrivals for source in each.sources}
    leaving = {source for each in host.departures for source in each.sources}
    return arriving == set(built.graph.inputs) and leaving <= set(built.graph.outputs)


def _verify(graph: Graph, digest: str, where: str) -> None:
    if digest and graph.content_digest() != digest:
        raise UserError(
            f"{where} should have the content digest {digest[:12]}…, but what came gives "
            f"{graph.content_digest()[:12]}…; plan the model again"
        )


def _bytes(built: Built) -> int:
    return sum(built.graph.operator(name).parameter_bytes for name in built.graph)


def _graph(host: Host, data: Buffer) -> Graph:
    if host.bundle:
        return stage_graph(flatten(read_bundle(host.bundle)), host.operators)
    return unpack_graph(data)
