"""Callers that ask a deployment again and again while something happens to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from synfire.base.errors import SynfireError
from synfire.ops import Array
from synfire.wire.client import Client

AGAIN_S = 0.02
"""When a caller asks again."""


class Callers:
    """Threads that ask a model the same again and again, each over a connection of its own, and know its answers, by output. `longest_s` is
    the longest time that any of them has waited for one. After an error of one of the kinds of `again` they ask again: it is none of their
    `errors`, but counted in `broken`."""

    def __init__(
        self,
        url: str,
        model: str,
        inputs: Mapping[str, Array],
        expected: Mapping[str, Array],
        count: int = 2,
        again: tuple[type[SynfireError], ...] = (),
    ) -> None:
        self.answered = self.wrong = self.broken = 0
        self.wrong_from = ""
        self.longest_s = 0.0
        self.errors: list[SynfireError] = []
        self._again = again
        self._url = url
        self._model = model
        self._inputs = inputs
        self._expected = _bits(expected)
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        self.go_on()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def go_on(self, more: int = 20) -> None:
        """Wait until so many more calls have been answered."""
        wanted = self.answered + more
        until(lambda: self.answered >= wanted or bool(self.errors))

    def check(self, what: str) -> None:
        """No call was lost, and none answered wrong. Raises `AssertionError`."""
        lost, longest_ms = len(self.errors), 1e3 * self.longest_s
        again = f", {self.broken} asked again" if self._again else ""
        print(
            f"{what}: {self.answered} answered, {lost} lost{again}, {self.wrong} wrong{self.wrong_from}, longest {longest_ms:.0f} ms",
            *self.errors,
        )
        assert (self.errors, self.wrong) == ([], 0)

    def _ask(self) -> None:
        with Client(self._url) as client:
            began_s = time.monotonic()
            while not self._over.is_set():
                try:
                    answer = client.infer(self._model, self._inputs)
                except SynfireError as error:
                    if not isinstance(error, self._again):
                        self.errors.append(error)
                        return
                    self.broken += 1
                    self._over.wait(AGAIN_S)
                    continue
                now_s = time.monotonic()
                self.longest_s, began_s = max(self.longest_s, now_s - began_s), now_s
                if _bits(answer.outputs) != self._expected:
                    self.wrong += 1
                    self.wrong_from = self.wrong_from or f", the first after {self.answered} answers"
                self.answered += 1


def until(holds: Callable[[], bool]) -> None:
    """Look again and again; the test's own time limit ends what never comes about. A look that is a program's run takes the processors from
    what it looks at: the more it takes, the later comes the next one."""
    pause = threading.Event()
    while True:
        began_s = time.monotonic()
        if holds():
            return
        pause.wait(max(0.01, 2 * (time.monotonic() - began_s)))


def _bits(outputs: Mapping[str, Array]) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in outputs.items()}
