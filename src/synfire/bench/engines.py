"""What synfire adds to a language engine, and what a caller notices when that is killed."""

from __future__ import annotations

import os
import random
import re
import signal
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from synfire.base.errors import PermanentError, UserError
from synfire.bench import listed
from synfire.bench.benchmark import BENCHMARKS, Benchmark, Floor, Progress, Report, Settings, floor, report
from synfire.bench.command import Commanded, commanded
from synfire.bench.texts import Alone, Question, Through
from synfire.engines.language.llama import LlamaEngine
from synfire.formats import load

MODEL = "SYNFIRE_BENCH_MODEL"
"""The variable that names a GGUF file to measure with. Without it a model of the size of the smallest trained ones is made."""

STREAMS = (1, 8)
_SPARE_S = 60.0


class Engines(Benchmark):
    """One model on llama.cpp, asked directly and through synfire in turns, by the same reader, with the same cores for the engine.

    Then its engine is killed in the midst of answers, with a spare at hand, and each text is compared with the undisturbed one.
    """

    name = "engines"
    about = "a language model through synfire ÷ its engine alone, and with its engine killed in mid-stream"

    def measure(self, settings: Settings, progress: Progress) -> Report:
        with TemporaryDirectory() as folder:
            model = _model(Path(folder))
            refusal = LlamaEngine.refusal(load(model))
            if refusal:
                raise UserError(f"the benchmark needs llama.cpp: {refusal}")
            tokens, rounds, kills = (40, 1, 1) if settings.quick else (400, 11, 50)
            rows = [
                *_speed(model, Question(tokens), rounds, progress),
                listed.measured(model, progress),
                _kills(model, Question(tokens), kills, settings.seed, progress),
            ]
            details = {"tokens": tokens, "rounds": rounds, "model": model.name, "bytes": model.stat().st_size}
        return report(self.name, settings, details, rows, floors(rows))


BENCHMARKS.add(Engines.name, Engines())


def floors(rows: list[dict[str, Any]]) -> list[Floor]:
    found = {name: value for row in rows for name, value in row.items()}
    ratios = [row["ratio"] for row in rows if "ratio" in row]
    return [
        floor("stream_ratio", ">=", 0.97, min(ratios)),
        floor("first_token_added_ms", "<=", 5.0, 1e3 * found["first_token_added_s"]),
        floor("stream_lost", "==", 0, found["lost"]),
        floor("stream_garbled", "==", 0, found["garbled"]),
        floor("idle_memory_mb", "<=", 150.0, found["idle_gateway_bytes"] / 1e6),
        floor("load_s", "<=", 1.5, found["load_s"]),
        floor("unload_ratio", ">=", 0.95, found["unload_ratio"]),
    ]


def _speed(model: Path, question: Question, rounds: int, progress: Progress) -> Iterator[dict[str, Any]]:
    """Tokens a second and the time to the first token, in turns."""
    with served(model, 0) as here, Alone.of(model) as alone:
        through = Through(here.url, here.model)
        for streams in STREAMS:
            alone.ask(question, streams), through.ask(question, streams)  # warms up
            found = []
            for _ in range(rounds):
                progress(f"{streams} streams")
                found.append((alone.ask(question, streams), through.ask(question, streams)))
            ratios = [other.tokens_s / one.tokens_s for one, other in found]
            row = {
                "streams": streams,
                "alone_tokens_rate": statistics.median(one.tokens_s for one, _ in found),
                "through_tokens_rate": statistics.median(other.tokens_s for _, other in found),
                "ratio": statistics.median(ratios),
                "min_ratio": min(ratios),
                "max_ratio": max(ratios),
            }
            if streams == 1:
                row["first_token_s"] = statistics.median(other.first_s for _, other in found)
                row["first_token_added_s"] = statistics.median(other.first_s - one.first_s for one, other in found)
            yield row


def _kills(model: Path, question: Question, kills: int, seed: int, progress: Progress) -> dict[str, Any]:
    """Greedy answers whose engine is killed at some event: how many broke off, or were not the undisturbed text."""
    rng = random.Random(seed)
    lost = garbled = 0
    pauses = []
    with served(model, 1) as here:
        through = Through(here.url, here.model)
        wanted = through.read(question)
        for number in range(kills):
            progress(f"kill {number + 1} of {kills}")
            here.until_spare()
            engine = here.engine
            told = through.read(question, rng.randint(1, 8), partial(os.kill, engine, signal.SIGKILL))
            lost += not told.whole
            garbled += told.whole and told.text != wanted.text
            pauses.append(told.longest_pause_s)
    return {
        "kills": kills,
        "lost": lost,
        "garbled": garbled,
        "longest_pause_s": max(pauses),
        "median_pause_s": statistics.median(pauses),
    }


@dataclass(frozen=True)
class Served:
    """A deployment of one model, as a user starts it."""

    running: Commanded
    model: str

    @property
    def url(self) -> str:
        return self.running.url

    @property
    def engine(self) -> int:
        """The process of the engine that answers: the child of the worker that hosts the model."""
        workers: list[Mapping[str, Any]] = httpx.get(f"{self.url}/api/workers", timeout=20).json()
        (pid,) = (each["pid"] for each in workers if self.model in each["plans"])
        tasks = Path(f"/proc/{pid}/task").glob("*/children")
        (child,) = (int(each) for task in tasks for each in task.read_text().split())
        return child

    def until_spare(self) -> None:
        """Wait until a spare is ready."""
        until_s = time.monotonic() + _SPARE_S
        while time.monotonic() < until_s:
            text = httpx.get(f"{self.url}/metrics", timeout=20).text
            if re.search(r"^synfire_spares 1(\.0)?$", text, re.MULTILINE):
                return
            time.sleep(0.05)
        raise PermanentError(f"no spare was ready within {_SPARE_S} s; is the machine overloaded?")


@contextmanager
def served(model: Path, spares: int) -> Iterator[Served]:
    """Serve the model for the block."""
    with commanded([str(model), "--spares", str(spares)]) as running:
        yield Served(running, model.stem)


def _model(folder: Path) -> Path:
    """The file that is measured with. Raises `UserError` where the one that was named is not there."""
    named = os.environ.get(MODEL, "")
    if named and not Path(named).is_file():
        raise UserError(f"{MODEL} names {named}, which is no file")
    if named:
        return Path(named)
    from synfire.testing.language_models import SMALL, write_tiny_language_model  # only where it is needed

    return write_tiny_language_model(folder / "small.gguf", context=512, size=SMALL)
