"""Callers of a name that several models answer."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import numpy as np

from synfire.ops import Array
from synfire.testing.callers import until
from synfire.wire.client import Client


class SideCallers:
    """Asks a name without end, each time as another caller; keeps what went wrong, and how often each side answered, by the `answers` of these."""

    def __init__(self, url: str, name: str, inputs: Mapping[str, Array], answers: Mapping[str, Array]) -> None:
        self.answered = dict.fromkeys(answers, 0)
        self.wrong: list[Array] = []
        self.errors: list[Exception] = []
        self._url, self._name = url, name
        self._inputs, self._answers = inputs, answers
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._call)

    def __enter__(self) -> SideCallers:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join(60)

    @property
    def calls(self) -> int:
        return sum(self.answered.values())

    def go_on(self, more: int = 100, of: str = "") -> None:
        """Wait until so many more calls have been answered, of one side where that is named."""
        before = dict(self.answered)
        until(
            lambda: (
                bool(self.errors or self.wrong)
                or (self.answered[of] - before[of] if of else self.calls - sum(before.values())) >= more
            )
        )

    def _call(self) -> None:
        with Client(self._url) as client:
            while not self._ended.is_set():
                try:
                    answer = client.infer(self._name, self._inputs).outputs["y"]
                except Exception as error:
                    self.errors.append(error)
                    return
                sides = [model for model, wanted in self._answers.items() if np.array_equal(answer, wanted)]
                if sides:
                    self.answered[sides[0]] += 1
                else:
                    self.wrong.append(answer)
