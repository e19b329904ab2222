"""The step that finds passages: a Python function, served as an operator in a process of its own."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray
from store import found

from synfire import operator


class Found(NamedTuple):
    passages: str
    titles: list[str]


@operator
def retrieve(question: str, vector: Annotated[NDArray[np.float32], "numbers"]) -> Found:
    """The passages that belong to the question, and their titles."""
    best = found(question, vector)
    return Found("\n".join(f"- {text}" for _, text in best), [title for title, _ in best])
