"""What a worker does for each message that is no frame. Where an answer is due, it goes to the peer that asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from synfire.base.errors import SynfireError, UserError
from synfire.wire.messages import (
    Advance,
    Cancel,
    Describe,
    Drained,
    Failure,
    Forget,
    Host,
    Impair,
    Impaired,
    Inject,
    Injected,
    Keep,
    Ping,
    Pong,
    Prepare,
    Prepared,
    Prove,
    Proved,
    Pulse,
    Relink,
    Relinked,
    Restore,
    Restored,
    Unhost,
    error_of,
    error_words,
)
from synfire.wire.stream import Packet
from synfire.worker.peers import Peer

if TYPE_CHECKING:
    from synfire.worker.worker import Worker


def act(worker: Worker, peer: Peer, packet: Packet) -> None:
    """Do what the message says. Raises `UserError` for one that is not for workers."""
    action = _ACTIONS.get(type(packet.message))
    if action is None:
        raise UserError(f"a worker takes no {type(packet.message).__name__}; {peer.who} should not send it")
    action(worker, peer, packet)


def _on_host(worker: Worker, peer: Peer, packet: Packet) -> None:
    message: Any = packet.message
    worker.build(message, packet.raw, lambda hosted: worker.answer(peer, hosted))


def _on_prepare(worker: Worker, peer: Peer, packet: Packet) -> None:
    message: Any = packet.message

    def done(prepared: Prepared) -> None:
        worker.post(lambda: worker.answer(peer, prepared))

    worker.builder.prepare(message, packet.raw, done)


def _on_keep(worker: Worker, peer: Peer, packet: Packet) -> None:
    message: Any = packet.message
    worker.builder.keep(message, packet.raw, lambda keeping: worker.post(lambda: worker.answer(peer, keeping)))


def _on_relink(worker: Worker, peer: Peer, packet: Packet) -> None:
    message: Any = packet.message
    words = _words_of(lambda: worker.core.relink(message))
    worker.answer(peer, Relinked(message.model, message.epoch, *words))


def _on_restore(worker: Worker, peer: Peer, packet: Packet) -> None:
    worker.answer(peer, Restored(*_words_of(lambda: worker.restore(packet))))


def _on_prove(worker: Worker, peer: Peer, packet: Packet) -> None:
    message: Any = packet.message
    worker.answer(peer, Proved(message.model, message.stage, worker.prove(message.model, message.stage)))


def _on_impair(worker: Worker, peer: Peer, packet: Packet) -> None:
    message: Any = packet.message
    words = _words_of(lambda: worker.connections.check(message))
    worker.answer(peer, Impaired(*words))
    if not any(words):
        worker.connections.impair(message)  # after the answer: it may be the last thing that this worker does


def _on_inject(worker: Worker, peer: Peer, packet: Packet) -> None:
    order: Any = packet.message
    try:
        answer = worker.inject(order)
    except SynfireError as error:
        kind, text = error_words(error)
        answer = Injected(kind=kind, text=text)
    worker.answer(peer, answer)


def _on_pulse(worker: Worker, peer: Peer, packet: Packet) -> None:
    message: Any = packet.message
    worker.pulse.add(worker.connections.hand_over(peer), message.interval_s)


def _on_refused(worker: Worker, peer: Peer, packet: Packet) -> None:
    message: Any = packet.message
    raise error_of(message)


_ACTIONS: dict[type, Callable[[Worker, Peer, Any], None]] = {
    Host: _on_host,
    Prepare: _on_prepare,
    Keep: _on_keep,
    Relink: _on_relink,
    Restore: _on_restore,
    Prove: _on_prove,
    Impair: _on_impair,
    Pulse: _on_pulse,
    Inject: _on_inject,
    Failure: _on_refused,
    Drained: lambda worker, peer, _: worker.connections.drained(peer),
    Cancel: lambda worker, _, packet: worker.core.cancel(packet.message.request),
    Forget: lambda worker, _, packet: worker.core.forget(packet.message.model, packet.message.session),
    Advance: lambda worker, _, packet: worker.core.advance(packet.message.request, packet.message.number),
    Unhost: lambda worker, _, packet: worker.unhost(packet.message.model, packet.message.stages),
    Ping: lambda worker, peer, packet: worker.answer(peer, Pong(packet.message.token)),
    Describe: lambda worker, peer, _: worker.answer(peer, worker.describe()),
}


def _words_of(action: Callable[[], None]) -> tuple[str, str]:
    """Do it, and give the words of the error that it raises; two empty ones where all went well."""
    try:
        action()
    except SynfireError as error:
        return error_words(error)
    return "", ""
