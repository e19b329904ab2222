from __future__ import annotations

import errno
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from synfire.base import paths
from synfire.base.errors import (
    Bug,
    DeadlineExceeded,
    LossyImport,
    Overloaded,
    PermanentError,
    SynfireError,
    TemporaryError,
    UnknownName,
    UserError,
)
from synfire.cli import app
from synfire.cli.app import VERBS, exit_code
from synfire.cli.demo import _print
from synfire.cli.docs import reference
from synfire.cli.output import CONSOLE

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UserError("x"), 2),
        (UnknownName("x"), 2),
        (LossyImport("x", "y"), 2),
        (TemporaryError("x"), 3),
        (Overloaded("x"), 3),
        (DeadlineExceeded("x"), 3),
        (PermanentError("x"), 1),
        (Bug("x"), 4),
        (ZeroDivisionError("x"), 4),
        (OSError(errno.ENOSPC, "no space left"), 3),
        (PermissionError(errno.EACCES, "no permission"), 2),
        (OSError(errno.EIO, "input/output error"), 4),
    ],
)
def test_every_error_has_its_exit_code(error: Exception, code: int) -> None:
    assert exit_code(error) == code


def test_no_error_of_ours_is_without_an_exit_code() -> None:
    def kinds(of: type[SynfireError]) -> list[type[SynfireError]]:
        return [of, *(deeper for each in of.__subclasses__() for deeper in kinds(each))]

    assert all(exit_code(kind.__new__(kind)) in (1, 2, 3, 4) for kind in kinds(SynfireError))


def test_an_error_in_json_is_one_line_with_its_code(run: Callable) -> None:
    ran = run("show", "no-such-model", "--json")
    assert (ran.code, ran.json["exit_code"], ran.json["kind"]) == (2, 2, "UnknownName")
    assert ran.err == ""


def test_an_error_for_people_names_what_is_known(run: Callable) -> None:
    ran = run("show", "no-such-model")
    assert ran.code == 2
    assert "error: there is no model, bundle folder or file named 'no-such-model'; known: " in ran.err


def test_a_wrong_option_is_the_users_mistake(run: Callable) -> None:
    ran = run("plan", "x", "--workers", "none")
    assert ran.code == 2
    assert "--workers" in ran.err


def test_a_full_disk_is_temporary_and_says_what_helps(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("synfire.cli.show.find_all", full)
    ran = run("show", "x", "--json")
    assert ran.code == ran.json["exit_code"] == 3
    assert "point SYNFIRE_HOME and SYNFIRE_CACHE at another disk" in ran.json["error"]


def test_a_full_disk_is_named(run: Callable, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    errors = iter([OSError(errno.ENOSPC, "No space left", "/full/x"), OSError(errno.ENOSPC, "No space left")])

    def full(*_: object) -> None:
        raise next(errors)

    monkeypatch.setattr("synfire.cli.plan.find_all", full)
    assert "(writing /full/x)" in run("plan", "x", "--json").json["error"]
    assert f"SYNFIRE_HOME is {home}, SYNFIRE_CACHE {paths.cache()}" in run("plan", "x", "--json").json["error"]


def test_a_bug_asks_to_be_reported(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("synfire.cli.show.find_all", broken)
    ran = run("show", "x")
    assert ran.code == 4
    assert "ZeroDivisionError" in ran.err
    assert "please report it" in ran.err


def test_ctrl_c_ends_a_verb_in_one_line(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("synfire.cli.show.find_all", interrupted)
    ran = run("show", "x")
    assert (ran.code, ran.out, ran.err) == (130, "", "interrupted\n")
    ran = run("show", "x", "--json")
    assert (ran.code, ran.json["exit_code"], ran.err) == (130, 130, "")


def test_sigterm_ends_a_verb_in_one_line(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("synfire.cli.show.find_all", lambda *_: signal.raise_signal(signal.SIGTERM))
    ran = run("show", "x")
    assert (ran.code, ran.out, ran.err) == (143, "", "terminated\n")
    ran = run("show", "x", "--json")
    assert (ran.code, ran.json["exit_code"], ran.err) == (143, 143, "")
    assert signal.getsignal(signal.SIGTERM) is before


LOST = """
import ctypes, os, signal, sys
import synfire.cli.show
from synfire.cli import main

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it

@ctypes.CFUNCTYPE(None)
def callback():
    os.kill(os.getpid(), signal.{signal})

def work(*_):
    callback()
    {after}

synfire.cli.show.find_all = work
main(["show", "x"])
"""
"""A verb in which a signal comes while compiled code calls back, as the compiler does: Python drops what a callback raises."""


@pytest.mark.parametrize("after", ["signal.pause()", "raise RuntimeError('no compiled object yet')"])
@pytest.mark.parametrize(("name", "code", "said"), [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "terminated")])
def test_a_signal_that_compiled_code_loses_ends_a_verb_in_one_line(name: str, code: int, said: str, after: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOST.format(signal=name, after=after)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "", f"{said}\n")


def test_ctrl_c_ends_a_verb_that_waits_for_an_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        command = [sys.executable, "-m", "synfire", "infer", "x", "--digit", "1", "--url", url]
        with (
            subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
            ) as process,
            silent.accept()[0],
        ):
            assert _press_ctrl_c(process) == ("", "interrupted\n")
    assert process.returncode == 130


def _press_ctrl_c(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What it said, until it ended. Pressed again as a user does: CPython sees a signal that comes between its last look for
    one and a blocking call only when that call returns."""
    for _ in range(6):
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=10)
    raise AssertionError("six times Ctrl-C, and it still waits")


def test_ctrl_c_while_the_verbs_are_loaded_ends_in_one_line() -> None:
    code = """
import sys
class CtrlC:
    def find_spec(self, name, *_):
        if name == "synfire.cli.app":
            raise KeyboardInterrupt
sys.meta_path.insert(0, CtrlC())
import synfire.cli
synfire.cli.main(["list"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_the_version_is_printed(run: Callable) -> None:
    assert run("--version").out.count(".") == 2


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_examples_and_json_in_its_help(run: Callable, verb: str) -> None:
    ran = run(verb, "--help")
    assert ran.code == 0
    assert f"synfire {verb}" in ran.out
    assert "Examples:" in ran.out
    assert "--json" in ran.out


def test_the_command_line_reference_is_current() -> None:
    assert (ROOT / "docs" / "cli.md").read_text() == reference(), "run: python -m synfire.cli.docs > docs/cli.md"


def test_completion_knows_the_verbs() -> None:
    script = {"_SYNFIRE_COMPLETE": "complete_bash", "COMP_WORDS": "synfire sh", "COMP_CWORD": "1", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-m", "synfire"], env=script, capture_output=True, text=True, timeout=60, check=False
    )
    assert {"show", "share"} <= set(done.stdout.split())
    assert "plan" not in done.stdout.split()


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m synfire list | head -c 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_verbs_are_those_of_the_application() -> None:
    assert {each.name for each in app.build().registered_commands} == set(VERBS)


def test_the_demos_table_fits_a_terminal_of_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CONSOLE, "width", 80)
    row = {"model": "stransformer-digits", "digits": 360, "accuracy": 0.983, "p50_s": 0.01234, "p95_s": 0.1234}
    _print([{**row, "stages": 36, "workers": 2, "hop_bytes": 1234.0}], as_json=False)
    _, head, line, *_ = capsys.readouterr().out.splitlines()
    assert head.split() == ["model", "accuracy", "p50", "p95", "stages", "workers", "bytes/hop"]
    assert line.split()[:2] == ["stransformer-digits", "98.3%"]
    assert line.endswith("1.2 kB")


def test_the_reference_says_what_a_choice_of_two_is_without_the_option() -> None:
    sections = (ROOT / "docs" / "cli.md").read_text().split("\n## synfire ")
    rows = {
        each.split()[0]: row
        for each in sections
        for row in each.splitlines()
        if row.startswith("| `--apart / --fused`")
    }
    assert rows["demo"].endswith("Default: --apart. |")
    assert rows["serve"].endswith("Default: --fused. |")
