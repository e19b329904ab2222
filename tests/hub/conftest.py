from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from synfire.hub.source import Into
from synfire.hub.watcher import Watcher
from synfire.store import ModelStore

sys.path.insert(0, str(Path(__file__).parent))

from hubs import Place, served  # beside this file, which is imported by its path


class Told(Watcher):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.begun: list[tuple[str, int | None, int]] = []
        self.bytes = 0

    def begin(self, what: str, total: int | None, done: int = 0) -> None:
        self.begun.append((what, total, done))

    def advance(self, count: int) -> None:
        self.bytes += count

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A SYNFIRE_HOME of the test's own, no keys and mirrors of the user's, and no proxy."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE", "MODELSCOPE_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SYNFIRE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("synfire.hub.download.PAUSE_S", 0.0)
    return tmp_path / "home"


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def into(home: Path, told: Told) -> Iterator[Into]:
    """Where models are brought to."""
    with httpx.Client(follow_redirects=True, trust_env=False, timeout=10) as client:
        yield Into(ModelStore(home), told, client)


@pytest.fixture
def serve() -> Iterator[Callable[[Place], Place]]:
    """Serves places until the test ends."""
    with ExitStack() as stack:
        yield lambda place: stack.enter_context(served(place))
