"""Whatever a function does, its process does it to itself, and its callers are told."""

from __future__ import annotations

import logging
import os
import resource
import select
import signal
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synfire.base.errors import PermanentError, UserError
from synfire.base.processes import born
from synfire.engines import ENGINES
from synfire.engines.functions import program as module
from synfire.engines.functions.program import FunctionProgram
from synfire.engines.streaming import Given
from synfire.formats import load
from synfire.ops import Array

SOURCE = """
    import asyncio, os, signal, subprocess, sys
    from pathlib import Path
    from typing import Annotated
    import numpy as np
    from numpy.typing import NDArray
    from synfire import operator
    from synfire.base.errors import UserError

    HERE = Path(__file__).parent

    @operator
    def does(what: str, x: Annotated[NDArray[np.float64], "n"]) -> Annotated[NDArray[np.float64], "n"]:
        if what == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if what == "crash once" and not (HERE / "crashed").exists():
            (HERE / "crashed").touch()
            os._exit(1)
        if what == "leave":
            sys.exit(3)
        if what == "raise":
            raise KeyError("nothing of the kind")
        if what == "refuse":
            raise UserError("ask for something else")
        if what == "hang":
            (HERE / "hangs").touch()
            while True:
                pass
        if what == "begin another":
            (HERE / "other").write_text(str(subprocess.Popen(["sleep", "1000"]).pid))
            os._exit(1)
        if what == "fork":
            child = os.fork()
            if not child:
                signal.pause()
            (HERE / "other").write_text(str(child))
            os._exit(1)
        if what == "shrink":
            return x[:-1]
        if what == "babble":
            for _ in range(1000):
                sys.stdout.write("x" * 100_000)
        if what == "threads":
            return np.full(len(x), float(os.environ["OMP_NUM_THREADS"]))
        print("does", what)
        return x + os.getpid() * (what == "tell")

    begun = []

    @operator
    async def waits(what: str, x: Annotated[NDArray[np.float64], "n"]) -> Annotated[NDArray[np.float64], "n"]:
        begun.append(what)
        if what == "crash":
            os._exit(1)
        if what == "raise":
            raise KeyError("nothing of the kind")
        if what == "for ever":
            (HERE / "waits").touch()
            await asyncio.sleep(1000)
        while what == "for others" and begun.count(what) < 20:
            await asyncio.sleep(0)
        return x
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "own.py").write_text(textwrap.dedent(SOURCE))
    return tmp_path / "own.py"


@pytest.fixture
def program(path: Path) -> Iterator[FunctionProgram]:
    made = built(path, "does")
    yield made
    made.rest()


@pytest.fixture
def waits(path: Path) -> Iterator[FunctionProgram]:
    made = built(path, "waits")
    yield made
    made.rest()


def built(path: Path, function: str) -> FunctionProgram:
    made = ENGINES["python"]().build(load(f"{path}:{function}"))
    assert isinstance(made, FunctionProgram)
    made.grant(3)
    made.warm()
    return made


def asked(what: str, x: Any = (1.0, 2.0)) -> Mapping[str, Array]:
    return {"what": np.array([what.encode()], object), "x": np.array([x], np.float64)}


def run(program: FunctionProgram, what: str, x: Any = (1.0, 2.0)) -> Array:
    return program.run({}, asked(what, x), 0)[1]["output"]


def taken(program: FunctionProgram, count: int) -> list[Given]:
    """So many answers, as a worker takes them."""
    found: list[Given] = []
    while len(found) < count:
        assert select.select([program.fileno()], [], [], 30)[0], f"nothing more came than {found}"
        found += program.given()
    return found


def test_a_function_gives_what_it_returns(program: FunctionProgram) -> None:
    assert run(program, "nothing").tolist() == [[1.0, 2.0]]
    assert run(program, "nothing", np.arange(300_000.0)).tolist() == [list(range(300_000))]
    assert run(program, "nothing", ()).shape == (1, 0)


def test_it_computes_with_as_many_threads_as_the_worker_was_granted(program: FunctionProgram) -> None:
    assert run(program, "threads").tolist() == [[3.0, 3.0]]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("raise", r"failed: KeyError: 'nothing of the kind' \(own.py, line \d+, in does\)"),
        ("leave", r"failed: SystemExit: 3 \(own.py, line \d+, in does\)"),
        ("shrink", "failed: TypeError: axis 'n' is 1 in 'output', and 2 elsewhere"),
    ],
)
def test_an_error_is_this_calls_own_and_names_the_line(program: FunctionProgram, what: str, words: str) -> None:
    pid = program.pid
    with pytest.raises(PermanentError, match=words):
        run(program, what)
    assert run(program, "nothing").tolist() == [[1.0, 2.0]]
    assert program.pid == pid


def test_what_a_function_refuses_is_the_callers_mistake(program: FunctionProgram) -> None:
    with pytest.raises(UserError, match=r"^ask for something else$"):
        run(program, "refuse")


def test_a_call_that_ends_the_process_fails_and_those_that_wait_do_not(program: FunctionProgram) -> None:
    for name, what in (("one", "nothing"), ("two", "crash"), ("three", "nothing")):
        program.begin(name, asked(what))
    found = {each.call: each for each in taken(program, 3)}
    assert found["one"].error is None
    assert found["three"].outputs["output"].tolist() == [[1.0, 2.0]]
    assert "did not survive this call, twice: the engine's process" in str(found["two"].error)
    assert "was killed by SIGSEGV" in str(found["two"].error)


def test_a_call_whose_process_ended_once_is_computed_again(program: FunctionProgram) -> None:
    assert run(program, "crash once").tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize("lived_long", [True, False])
def test_a_process_that_is_killed_while_it_waits_is_begun_anew(
    program: FunctionProgram, monkeypatch: pytest.MonkeyPatch, lived_long: bool
) -> None:
    monkeypatch.setattr(module, "SHORT_LIFE_S", 0 if lived_long else 3600)
    pid = program.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    while program.pid == pid:
        assert select.select([program.fileno()], [], [], 30)[0]
        assert program.given() == []
    assert (program.pid is not None) == lived_long, "one that ends soon might do nothing else"
    program.begin("one", asked("nothing"))
    assert [each.error for each in taken(program, 1)] == [None]


def test_endless_output_without_a_line_takes_no_memory_and_the_answer_comes(program: FunctionProgram) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert run(program, "babble").tolist() == [[1.0, 2.0]]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32_000


def test_it_goes_first_where_memory_runs_out(program: FunctionProgram) -> None:
    assert int(Path(f"/proc/{program.pid}/oom_score_adj").read_text()) >= 500


def test_a_function_that_hangs_is_ended_when_nobody_waits_for_it(
    program: FunctionProgram, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GRACE_S", 0.05)
    program.begin("one", asked("hang"))
    program.begin("two", asked("nothing"))
    while not (path.parent / "hangs").exists():
        os.sched_yield()
    program.cancel("one")
    assert [(each.call, each.error) for each in taken(program, 1)] == [("two", None)]


def test_a_call_that_is_cancelled_before_its_turn_is_not_computed(program: FunctionProgram) -> None:
    program.begin("one", asked("nothing"))
    program.begin("two", asked("crash"))
    program.begin("three", asked("nothing"))
    program.cancel("two")
    pid = program.pid
    assert [(each.call, each.error) for each in taken(program, 2)] == [("one", None), ("three", None)]
    assert program.pid == pid


def test_many_calls_of_a_function_that_waits_are_under_way_at_a_time(waits: FunctionProgram) -> None:
    for number in range(20):
        waits.begin(str(number), asked("for others", np.full(50_000, number)))
    found = {each.call: each.outputs["output"][0, 0] for each in taken(waits, 20)}
    assert found == {str(number): number for number in range(20)}


def test_an_error_or_a_crash_of_one_harms_no_other_that_is_under_way(waits: FunctionProgram) -> None:
    for name, what in (("one", "nothing"), ("two", "raise"), ("three", "crash"), ("four", "nothing")):
        waits.begin(name, asked(what))
    found = {each.call: each for each in taken(waits, 4)}
    assert [found[name].error for name in ("one", "four")] == [None, None]
    assert "failed: KeyError: 'nothing of the kind' (own.py, line" in str(found["two"].error)
    assert "did not survive this call, twice" in str(found["three"].error)


def test_a_call_that_waits_for_ever_is_ended_when_nobody_waits_for_it_and_its_process_goes_on(
    waits: FunctionProgram, path: Path
) -> None:
    pid = waits.pid
    waits.begin("one", asked("for ever"))
    while not (path.parent / "waits").exists():
        os.sched_yield()
    waits.cancel("one")
    waits.begin("two", asked("nothing"))
    assert [(each.call, each.error) for each in taken(waits, 1)] == [("two", None)]
    assert waits.pid == pid


@pytest.mark.parametrize("how", ["begin another", "fork"])
def test_what_a_function_has_begun_ends_with_its_process(program: FunctionProgram, path: Path, how: str) -> None:
    with pytest.raises(PermanentError, match="did not survive"):
        run(program, how)
    other = int((path.parent / "other").read_text())
    while born(other):  # it is on its way to its end
        os.sched_yield()


def test_a_process_ends_with_its_worker_even_where_the_function_hangs(path: Path, tmp_path: Path) -> None:
    graph = load(f"{path}:does")
    reading, writing = os.pipe()
    worker = os.fork()
    if not worker:
        try:
            made = ENGINES["python"]().build(graph)
            made.warm()
            assert isinstance(made, FunctionProgram)
            made.begin("one", asked("hang"))
            os.write(writing, str(made.pid).encode())
            signal.pause()
        finally:
            os._exit(1)
    pid = int(os.read(reading, 100))
    os.close(reading)
    os.close(writing)
    while not (tmp_path / "hangs").exists():
        os.sched_yield()
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
    while born(pid):  # it is on its way to its end
        os.sched_yield()


def test_what_it_prints_is_in_the_log_with_its_name(
    program: FunctionProgram, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("synfire"), "propagate", True)
    with caplog.at_level("INFO", "synfire"):
        run(program, "nothing")
        program.rest()
    assert any("function does" in each and "does nothing" in each for each in caplog.messages)


def test_a_file_that_has_changed_is_not_run(program: FunctionProgram, path: Path) -> None:
    program.rest()
    path.write_text(path.read_text() + "\n# more\n")
    with pytest.raises(UserError, match=r"own.py is gone or has changed since it was served; put it back, or serve it"):
        program.warm()


def test_a_function_that_cannot_be_loaded_again_is_told_to_who_waits(program: FunctionProgram, path: Path) -> None:
    path.unlink()
    program.begin("one", asked("crash"))
    program.begin("two", asked("nothing"))
    assert ["is gone or has changed" in str(each.error) for each in taken(program, 2)] == [True, True]


def test_it_runs_in_another_environment_that_has_numpy_and_nothing_else(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = Path(np.__file__).parents[1]
    (tmp_path / "packages").mkdir()
    for each in packages.glob("numpy*"):
        (tmp_path / "packages" / each.name).symlink_to(each)
    other = tmp_path / "python"
    other.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path}/packages exec {sys.executable} -S "$@"\n')
    other.chmod(0o755)
    monkeypatch.setenv("SYNFIRE_FUNCTIONS_PYTHON", str(other))
    path.write_text(
        "try:\n    import msgspec\nexcept ImportError:\n    msgspec = None\n"
        + path.read_text().replace("crash", "msgspec")
    )
    path.write_text(
        path.read_text().replace("os.kill(os.getpid(), signal.SIGSEGV)", "return x if msgspec is None else -x")
    )
    made = built(path, "does")
    assert run(made, "msgspec").tolist() == [[1.0, 2.0]]
    made.rest()
