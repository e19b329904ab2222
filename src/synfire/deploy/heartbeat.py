"""Listens to the heartbeats of workers, and says whose silence is a failure."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from synfire.base.errors import SynfireError
from synfire.control.suspicion import LEAST_INTERVALS, Heartbeats, Suspicion
from synfire.wire.links import Limits, SocketLink, connect
from synfire.wire.messages import PROTOCOL, Beat, Hello, Ping, Pulse
from synfire.wire.stream import Packet

STARVED_S = 3.0
"""How long a worker may be kept from a processor before it is taken for dead all the same, in seconds."""

HUNG_S = 1.0
"""How long a worker may keep silent whose machine, another one, acknowledges what it is sent, in seconds: it hangs, or is kept from a
processor, which looks the same from here."""

ACKNOWLEDGED_S = 0.06
"""How long a machine that is there takes to acknowledge, in seconds: a kernel waits 40 ms with what its process has not read."""

FIRST_S = 2.0
"""How long its first beat may take, in seconds: a connection has to be made for it, of which on a busy machine each step waits for a processor.
It has just greeted, and a broken link tells at once."""


@dataclass
class _Pulse:
    link: SocketLink
    suspicion: Suspicion
    distant: bool = False
    """Whether nobody here can see what its process does."""
    excused_s: float = 0.0
    probed_s: float | None = None
    """When its machine was last sent something, since the worker keeps silent."""

    @property
    def missed_s(self) -> float:
        """When it has missed beats, if it keeps silent."""
        return self.suspicion.last_s + LEAST_INTERVALS * self.suspicion.settings.interval_s

    @property
    def due_s(self) -> float:
        """When it is to be looked at again, if it keeps silent."""
        unprobed = self.distant and self.probed_s is None
        return max(self.missed_s if unprobed else self.suspicion.suspected_at_s(), self.excused_s)

    def probe(self, now_s: float) -> bool:
        """Send its machine something, once it has acknowledged what it was sent before; whether it does so, as far as is known. The worker
        itself reads none of it."""
        if self.probed_s is None or self.link.acknowledged:
            self.probed_s = now_s
            self.link.send(Packet(Ping(0)))
        return now_s - self.probed_s < ACKNOWLEDGED_S


class Heartbeat:
    """Made and used in one event loop. `suspect` is called once with a worker's name, why, and when it was last heard.

    `starved` is asked of a silent worker: one that waits for a processor is given `STARVED_S` in all before its silence counts. Of one on another
    machine it knows nothing, and tells None; where that machine acknowledges what it is sent, and so is there, the worker is given `HUNG_S`.
    `fellows` are the other workers of its host: those that are silent as well are not waited for, since it is the host that is lost.
    Time in which this process itself stood still is nobody's silence: a check that comes late allows for as much, and
    before anybody is suspected all that has arrived is read.
    """

    def __init__(
        self,
        settings: Heartbeats,
        suspect: Callable[[str, str, float], None],
        starved: Callable[[str], bool | None],
        fellows: Callable[[str], Iterable[str]] = lambda name: (),
    ) -> None:
        self._settings = settings
        self._suspect = suspect
        self._starved = starved
        self._fellows = fellows
        self._pulses: dict[str, _Pulse] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = 0.0

    def follow(self, name: str, address: str, deployment: str, who: str, limits: Limits | None = None) -> None:
        """Ask the worker at `address` for heartbeats, and expect them. Raises `TemporaryError` when it is gone."""
        link = connect(address, f"worker {name}", limits)
        link.send(Packet(Hello(PROTOCOL, deployment, f"{who}-pulse")))
        link.send(Packet(Pulse(self._settings.interval_s)))
        now_s, distant = time.monotonic(), self._starved(name) is None
        self._pulses[name] = _Pulse(link, Suspicion(self._settings).heard(now_s), distant, now_s + FIRST_S)
        loop = asyncio.get_running_loop()
        loop.add_reader(link.fileno(), self._read, name)
        if link.pending:  # another host takes some milliseconds to answer
            loop.add_writer(link.fileno(), self._write, name)
        self._arm()

    def confirm(self, name: str) -> bool:
        """Somebody else hears nothing of the worker. Whether it has missed beats, too: then it is suspected at once."""
        for each in list(self._pulses):
            self._read(each)  # what has arrived while this process had other things to do
        now_s = time.monotonic()
        if name not in self._pulses or not self._has_missed(name, now_s) or self._is_excused(name, now_s):
            return False
        self._suspected(name, now_s)
        self._arm()
        return True

    def forget(self, name: str) -> None:
        """Expect nothing of the worker any more."""
        pulse = self._pulses.pop(name, None)
        if pulse is not None:
            asyncio.get_running_loop().remove_reader(pulse.link.fileno())
            asyncio.get_running_loop().remove_writer(pulse.link.fileno())
            pulse.link.close()

    def close(self) -> None:
        """Forget all."""
        for name in list(self._pulses):
            self.forget(name)
        if self._timer is not None:
            self._timer.cancel()

    def _read(self, name: str) -> None:
        pulse = self._pulses[name]
        try:
            beats = any(isinstance(packet.message, Beat) for packet in pulse.link.receive())
        except SynfireError:
            self._tell(name, "broken link")
            return
        if beats:
            pulse.suspicion = pulse.suspicion.heard(time.monotonic())
            pulse.excused_s, pulse.probed_s = 0.0, None

    def _write(self, name: str) -> None:
        """Send what could not be sent before the connection was there."""
        pulse = self._pulses[name]
        try:
            pulse.link.flush()
        except SynfireError:
            self._tell(name, "broken link")
            return
        if not pulse.link.pending:
            asyncio.get_running_loop().remove_writer(pulse.link.fileno())

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._pulses:
            self._due_s = min(pulse.due_s for pulse in self._pulses.values())
            wait_s = max(0.0, self._due_s - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._check)

    def _check(self) -> None:
        late_s = time.monotonic() - self._due_s
        for name, pulse in list(self._pulses.items()):
            if late_s > self._settings.interval_s:
                pulse.suspicion = replace(pulse.suspicion, last_s=pulse.suspicion.last_s + late_s)
            self._read(name)
        now_s = time.monotonic()
        for name, pulse in [(name, pulse) for name, pulse in self._pulses.items() if pulse.due_s <= now_s]:
            if name not in self._pulses:
                continue
            if self._is_excused(name, now_s):
                pulse.excused_s = now_s + self._settings.interval_s
            else:
                self._suspected(name, now_s)
        self._arm()

    def _is_excused(self, name: str, now_s: float) -> bool:
        """Whether there is another reason for a worker's silence than that it is gone."""
        pulse = self._pulses[name]
        silent_s = now_s - pulse.suspicion.last_s
        if silent_s < STARVED_S and self._starved(name):
            return True
        if not pulse.distant or silent_s >= HUNG_S:
            return False
        try:
            return pulse.probe(now_s)
        except SynfireError:
            return False

    def _suspected(self, name: str, now_s: float) -> None:
        """Tell of the worker, and of those on its host that have missed beats too."""
        there = [each for each in self._fellows(name) if each in self._pulses]
        for each in (name, *(each for each in there if self._has_missed(each, now_s))):
            self._tell(each, "hang")

    def _has_missed(self, name: str, now_s: float) -> bool:
        pulse = self._pulses[name]
        return now_s >= pulse.excused_s and now_s > pulse.missed_s

    def _tell(self, name: str, why: str) -> None:
        last_s = self._pulses[name].suspicion.last_s
        self.forget(name)
        self._suspect(name, why, last_s)
