"""A worker's heartbeats: a thread of their own, so that a long job does not look like a hang."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from synfire.base.errors import SynfireError
from synfire.wire.links import Link
from synfire.wire.messages import Beat
from synfire.wire.stream import Packet


class PulseThread:
    """Sends a beat along each link that was handed over, every so many seconds, while the worker's own thread goes on.

    `alive` is asked before each beat: a thread that is stuck for good shall be noticed like one that has stopped.
    """

    def __init__(self, alive: Callable[[], bool]) -> None:
        self._alive = alive
        self._links: dict[Link, float] = {}
        self._due_s: dict[Link, float] = {}
        self._change = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def add(self, link: Link, interval_s: float) -> None:
        """Take a link over and beat along it from now on; a link that breaks is closed."""
        with self._change:
            self._links[link] = interval_s
            self._due_s[link] = time.monotonic()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="pulse")
                self._thread.start()
            self._change.notify()

    def close(self) -> None:
        """Stop, and close the links."""
        with self._change:
            self._closed = True
            self._change.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        with self._change:
            while not self._closed:
                now_s = time.monotonic()
                for link in [link for link, due_s in self._due_s.items() if due_s <= now_s]:
                    self._beat(link, now_s)
                self._change.wait(min(self._due_s.values()) - time.monotonic() if self._due_s else None)
            for link in self._links:
                link.close()

    def _beat(self, link: Link, now_s: float) -> None:
        self._due_s[link] = now_s + self._links[link]
        if not self._alive():
            return
        try:
            link.flush()
            if not link.pending:  # a reader that lags shall not be sent more than it can take
                link.send(Packet(Beat()))
        except SynfireError:  # nobody listens any more
            link.close()
            del self._links[link], self._due_s[link]
