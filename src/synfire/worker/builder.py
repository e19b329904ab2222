"""Builds programs beside the compute thread, so that hosted stages go on answering meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from synfire.base.errors import UserError
from synfire.engines import ENGINES, Program
from synfire.formats.bundle import read_bundle
from synfire.graph import Graph, flatten
from synfire.plan.plan import stage_graph
from synfire.wire.graphs import unpack_graph
from synfire.wire.messages import Host
from synfire.wire.stream import Buffer


@dataclass(frozen=True)
class Built:
    """A stage that is ready to be hosted; `program` is None for a foreign service."""

    graph: Graph
    program: Program | None
    build_s: float


class Builder:
    """One thread; builds in the order of asking."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="builder")

    def build(self, host: Host, graph: Graph | Buffer, done: Callable[[Future[Built]], None]) -> None:
        """Build the stage, then call `done` from the builder's thread."""
        self._thread.submit(build, host, graph).add_done_callback(done)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


def build(host: Host, given: Graph | Buffer) -> Built:
    """The stage's graph and program. Raises `UserError` for a graph that is damaged or that the engine cannot run."""
    began_s = time.perf_counter()
    graph = given if isinstance(given, Graph) else _graph(host, given)
    if host.digest and graph.content_digest() != host.digest:
        raise UserError(
            f"stage {host.model}.{host.stage} should have the content digest {host.digest[:12]}…, but "
            f"{host.bundle or 'the graph that came'} gives {graph.content_digest()[:12]}…; plan the model again"
        )
    program = None if host.url else ENGINES[host.engine]().build(graph)
    if program is not None:
        program.warm()
    return Built(graph, program, time.perf_counter() - began_s)


def _graph(host: Host, data: Buffer) -> Graph:
    if host.bundle:
        return stage_graph(flatten(read_bundle(host.bundle)), host.operators)
    return unpack_graph(data)
