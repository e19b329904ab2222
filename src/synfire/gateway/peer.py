"""A gateway's connection to one worker, in the gateway's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar, cast

from synfire.base.errors import Bug, Interrupted, PermanentError, SynfireError, TemporaryError, UnknownName
from synfire.base.log import LOGGER
from synfire.graph import Graph
from synfire.ops import Array
from synfire.store import BlobStore
from synfire.store.mapping import mapped
from synfire.wire import batches
from synfire.wire.graphs import blobs_of, files_of, keep_graph, name_graph, pack_graph, refer_graph
from synfire.wire.links import Limits, SocketLink, connect
from synfire.wire.links.watched import WatchedLink
from synfire.wire.messages import (
    PROTOCOL,
    AnyMessage,
    Batch,
    Checkpoint,
    Describe,
    Description,
    Drained,
    Draining,
    Failure,
    Frame,
    Hello,
    Host,
    Hosted,
    Keep,
    Keeping,
    Ping,
    Pong,
    Prepare,
    Prepared,
    Prove,
    Proved,
    Relink,
    Relinked,
    Restore,
    Restored,
    StageLost,
    StageMended,
    check_hello,
    error_of,
)
from synfire.wire.stream import Packet

_GREETING_S = 10.0
_UNHEARD = 64
"""So many of a worker's reports wait for somebody who listens; a gateway without a controller never does."""
WHOLE_BYTES = 32 << 20
"""Parameters of so many bytes travel with their graph, in one message; more come before it, in pieces."""

PIECE_BYTES = 8 << 20
"""How much of a blob is sent at a time: little enough that heartbeats, along connections of their own, and frames are not held up."""

_FRAMES = (Frame, Batch)

_Outcome = TypeVar("_Outcome", Hosted, Keeping, Prepared, Relinked, Restored)


class Inbox:
    """What comes back for one call, from all workers, in the order of arrival: frames, then perhaps one error."""

    def __init__(self) -> None:
        self._frames: deque[tuple[Frame, Mapping[str, Array]]] = deque()
        self._error: SynfireError | None = None
        self._waiting: asyncio.Future[None] | None = None

    def put(self, frame: Frame, arrays: Mapping[str, Array]) -> None:
        """A frame has come."""
        self._frames.append((frame, arrays))
        self._wake()

    def fail(self, error: SynfireError) -> None:
        """The call cannot be answered. The first error counts, and frames that wait are of no use then."""
        self._error = self._error or error
        self._wake()

    async def get(self) -> tuple[Frame, Mapping[str, Array]]:
        """The next frame. Raises the error as soon as there is one."""
        while self._error is None and not self._frames:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        if self._error is not None:
            raise self._error
        return self._frames.popleft()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class Peer(Protocol):
    """A worker as routes see it; `WorkerPeer` is the real one."""

    name: str
    lost: SynfireError | None
    draining: bool

    def send(self, packet: Packet) -> None: ...
    def register(self, request: str, inbox: Inbox) -> None: ...
    def release(self, request: str) -> None: ...
    async def restore(self, restore: Restore, state: Mapping[str, Array]) -> None: ...


class WorkerPeer:
    """Sends packets to a worker and hands what it answers to the calls that wait. Made and used in one event loop.

    `store`, where there is one, is on a disk that the worker shares: it is given parameters by their digests then. So is a `distant` one, and
    is sent those that it has not kept from before.
    """

    def __init__(self, name: str, link: SocketLink, deployment: str) -> None:
        self.name = name
        self.lost: SynfireError | None = None
        self.draining = False
        self.store: BlobStore | None = None
        self.distant = False
        self._link = WatchedLink(link, self._on_packet, self._on_broken)
        self._deployment = deployment
        self._loop = asyncio.get_running_loop()
        self._greeted: asyncio.Future[None] = self._loop.create_future()
        self._inboxes: dict[str, Inbox] = {}
        self._answers: deque[tuple[type, asyncio.Future[AnyMessage]]] = deque()
        self._builds: defaultdict[tuple[str, ...], deque[asyncio.Future[AnyMessage]]] = defaultdict(deque)
        self._watchers: list[Callable[[SynfireError], None]] = []
        self._departure: Callable[[], None] | None = None
        self._kept = False
        self._reports: Callable[[StageMended | StageLost], None] | None = None
        self._unheard: deque[StageMended | StageLost] = deque(maxlen=_UNHEARD)
        self._checkpoints: Callable[[Checkpoint, Mapping[str, Array]], None] | None = None

    @classmethod
    async def reach(
        cls,
        name: str,
        address: str,
        deployment: str,
        who: str,
        limits: Limits | None = None,
        greeting_s: float = _GREETING_S,
    ) -> WorkerPeer:
        """Connect and exchange greetings.

        Raises `TemporaryError` when nobody answers, `UserError` when it is no worker of this deployment.
        """
        peer = cls(name, connect(address, f"worker {name}", limits), deployment)
        peer.send(Packet(Hello(PROTOCOL, deployment, who, gateway=True)))
        try:
            await asyncio.wait_for(peer._greeted, greeting_s)
        except TimeoutError:
            peer.close()
            raise TemporaryError(f"worker {name} at {address} does not greet; is it a synfire worker?") from None
        return peer

    @property
    def calls(self) -> int:
        """Calls that wait for this worker."""
        return len(self._inboxes)

    def on_lost(self, act: Callable[[SynfireError], None]) -> None:
        """Call `act` when the worker is gone."""
        self._watchers.append(act)

    def on_checkpoint(self, act: Callable[[Checkpoint, Mapping[str, Array]], None]) -> None:
        """Call `act` with what the worker sends of sessions' states."""
        self._checkpoints = act

    def on_report(self, act: Callable[[StageMended | StageLost], None]) -> None:
        """Call `act` with what the worker tells of the devices under its stages, and has told since it was reached."""
        self._reports = act
        while self._unheard:
            act(self._unheard.popleft())

    def on_draining(self, act: Callable[[], None]) -> None:
        """Call `act` when the worker says that it will leave. It stays until `let_go` is called, or it has waited for too long."""
        self._departure = act

    def let_go(self) -> None:
        """A worker that has said that it will leave may do so, as soon as no call waits for it."""
        self._kept = False
        self._say_drained()

    def send(self, packet: Packet) -> None:
        """Send, or queue, a packet. Raises `TemporaryError` when the worker is gone."""
        if self.lost is not None:
            raise self.lost
        try:
            self._link.send(packet, later=len(self._inboxes) > 1)  # calls that come together wake the worker once
        except TemporaryError as error:
            raise self.lost or error from error

    def register(self, request: str, inbox: Inbox) -> None:
        """Hand what comes for `request` to `inbox` from now on. Raises when the worker is gone or leaving."""
        if self.lost is not None:
            raise self.lost
        if self.draining:
            raise Interrupted(f"worker {self.name} is shutting down; try again")
        self._inboxes[request] = inbox

    def release(self, request: str) -> None:
        """The call is over."""
        self._inboxes.pop(request, None)
        self._say_drained()

    async def host(self, host: Host, graph: Graph | None) -> Hosted:
        """Have the worker build and host a stage. Raises what the worker answers in place of it."""

        async def with_graph(packed: bytes) -> Hosted:
            answer = self._awaited(host.model, host.stage)
            self.send(Packet(host, raw=packed))
            return self._said(await answer, Hosted)

        return await self._given(graph, with_graph) if graph is not None else await with_graph(b"")

    async def prepare(self, engine: str, graph: Graph) -> Prepared:
        """Have the worker build a stage and keep it for later. Raises what the worker answers in place of it."""
        wanted = Prepare(engine, graph.content_digest())

        async def with_graph(packed: bytes) -> Prepared:
            answer = self._awaited(wanted.digest)
            self.send(Packet(wanted, raw=packed))
            return self._said(await answer, Prepared)

        return await self._given(graph, with_graph)

    async def relink(self, relink: Relink) -> None:
        """Have the worker take its stages into a new epoch. Raises what the worker answers in place of it."""
        self._said(await self._ask(relink, Relinked), Relinked)

    async def prove(self, model: str, stage: str) -> str:
        """What a stage of the worker gives in its known-answer test; empty where it has none."""
        proved = await self._ask(Prove(model, stage), Proved)
        if not isinstance(proved, Proved):
            raise _unasked(self.name, proved)
        return proved.answer

    async def restore(self, restore: Restore, state: Mapping[str, Array]) -> None:
        """Have the worker go on with a session from `state` at one stage. Raises what it answers in place of it."""
        self._said(await self._ask(restore, Restored, state), Restored)

    async def describe(self) -> Description:
        """What the worker hosts and did so far."""
        answer = await self._ask(Describe(), Description)
        if not isinstance(answer, Description):
            raise Bug(f"worker {self.name} answered {answer} where it should describe itself")
        return answer

    async def ping(self) -> None:
        """Return when the worker's compute thread has answered."""
        await self._ask(Ping(0), Pong)

    def close(self) -> None:
        """Part from the worker; it forgets the calls that this gateway made."""
        if self.lost is None:
            self._lose(Interrupted(f"the gateway has parted from worker {self.name}; it is shutting down"))

    async def _given(self, graph: Graph, order: Callable[[bytes], Awaitable[_Outcome]]) -> _Outcome:
        """What comes of an order with the graph: without its parameters where the worker can map them, or has kept them."""
        if not self.distant:
            return await order(pack_graph(graph) if self.store is None else refer_graph(graph, self.store))
        for digest, path in files_of(graph).items():
            file = await asyncio.to_thread(mapped, path)
            await self._bring(digest, file.data, file=True)
        try:
            return await order(name_graph(graph))
        except (UnknownName, PermanentError):  # it has not kept them, or they have decayed there
            if sum(graph.operator(name).parameter_bytes for name in graph) <= WHOLE_BYTES:
                return await order(keep_graph(graph))
        for digest, content in blobs_of(graph):
            await self._bring(digest, memoryview(content))
        return await order(name_graph(graph))

    async def _bring(self, digest: str, content: memoryview, file: bool = False) -> None:
        """Have the worker keep a blob: from where it has it on, a piece at a time. Raises what the worker answers in place of that."""
        have = await self._keep(Keep(digest, len(content), file=file), b"")
        while have < len(content):
            before = have
            piece = await asyncio.to_thread(bytes, content[before : before + PIECE_BYTES])
            have = await self._keep(Keep(digest, len(content), before), piece)
            if have <= before:
                raise TemporaryError(f"worker {self.name} does not get on with blob {digest[:12]}…; try again")

    async def _keep(self, wanted: Keep, piece: bytes) -> int:
        """Send a piece of a blob; how much of it the worker has then."""
        answer = self._awaited("keep", wanted.digest)
        self.send(Packet(wanted, raw=piece))
        return self._said(await answer, Keeping).have

    def _awaited(self, *build: str) -> asyncio.Future[AnyMessage]:
        """The answer about a build. One of an older epoch may be under way, and answers come in the order of asking."""
        answer: asyncio.Future[AnyMessage] = self._loop.create_future()
        self._builds[build].append(answer)
        return answer

    def _said(self, answer: AnyMessage, wanted: type[_Outcome]) -> _Outcome:
        """The answer that was wanted. Raises the error that it carries."""
        if not isinstance(answer, wanted):
            raise _unasked(self.name, answer)
        if answer.kind:
            raise error_of(answer)
        return answer

    async def _ask(self, question: AnyMessage, answer: type, arrays: Mapping[str, Array] | None = None) -> AnyMessage:
        future: asyncio.Future[AnyMessage] = self._loop.create_future()
        self._answers.append((answer, future))
        self.send(Packet(question, arrays or {}))
        return await future

    def _on_packet(self, packet: Packet) -> None:
        message = packet.message
        if not self._greeted.done():
            if isinstance(message, Failure):
                raise error_of(message)
            check_hello(message, self._deployment)
            self._greeted.set_result(None)
        elif isinstance(message, _FRAMES):
            for each in batches.part(packet):
                self._deliver(each)
        elif isinstance(message, Failure):
            self._fail(message.request, error_of(message))
        elif isinstance(message, Hosted):
            _settle(self._builds[message.model, message.stage].popleft(), message)
        elif isinstance(message, Checkpoint):
            if packet.fault is None and self._checkpoints is not None:
                self._checkpoints(message, packet.arrays)
        elif isinstance(message, StageMended | StageLost):
            self._unheard.append(message)
            if self._reports is not None:
                self.on_report(self._reports)
        elif isinstance(message, Prepared):
            _settle(self._builds[message.digest,].popleft(), message)
        elif isinstance(message, Keeping):
            _settle(self._builds["keep", message.digest].popleft(), message)
        elif isinstance(message, Draining):
            self.draining = True
            if self._departure is not None:
                self._kept = True
                self._departure()
            self._say_drained()
        else:
            self._answer(message)

    def _deliver(self, packet: Packet) -> None:
        frame = cast(Frame, packet.message)
        if packet.fault is not None:
            self._fail(frame.request, packet.fault)
        elif frame.request in self._inboxes:  # else the call was cancelled, or failed elsewhere
            self._inboxes[frame.request].put(frame, packet.arrays)

    def _fail(self, request: str, error: SynfireError) -> None:
        if request in self._inboxes:
            self._inboxes[request].fail(error)

    def _answer(self, message: AnyMessage) -> None:
        if not self._answers or self._answers[0][0] is not type(message):
            raise _unasked(self.name, message)
        _settle(self._answers.popleft()[1], message)

    def _say_drained(self) -> None:
        if self.draining and not self._kept and not self._inboxes and self.lost is None:
            with contextlib.suppress(TemporaryError):
                self.send(Packet(Drained()))

    def _on_broken(self, error: SynfireError) -> None:
        """Calls are told that the worker is gone: they cannot mend a link. What it should not have sent is told as it is."""
        LOGGER.info("worker %s: %s", self.name, error)
        broken = isinstance(error, TemporaryError)
        self._lose(Interrupted(f"worker {self.name} is gone; try again") if broken else error)

    def _lose(self, error: SynfireError) -> None:
        if self.lost is not None:
            return
        LOGGER.info("lost worker %s: %s", self.name, error)
        self.lost = error
        self._link.close()
        waiting: list[asyncio.Future[Any]] = [future for _, future in self._answers]
        waiting += itertools.chain(*self._builds.values())
        waiting.append(self._greeted)
        for future in waiting:
            if not future.done():
                future.set_exception(error)
                future.exception()  # where nobody waits for it, because the sending failed, it is no news for the log
        for inbox in list(self._inboxes.values()):
            inbox.fail(error)
        for act in self._watchers:
            act(error)


def _settle(future: asyncio.Future[AnyMessage], message: AnyMessage) -> None:
    if not future.done():  # who asked may have gone away
        future.set_result(message)


def _unasked(worker: str, answer: AnyMessage) -> Bug:
    return Bug(f"worker {worker} answered {answer}, which nobody asked for")
