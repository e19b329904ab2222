"""`synfire run` at a terminal, with a text, and with a deployment of its own; `stop` and `ps` of what it has loaded."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from served import serving

from synfire.testing.language_models import write_tiny_language_model

pytest.importorskip("xllamacpp", reason="needs the extra `llama`")
pytestmark = pytest.mark.slow

WAIT_S = 60


@pytest.fixture(autouse=True)
def model(run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model in the store, `tiny:q8`, and its file."""
    monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path / "cache"))
    file = write_tiny_language_model(tmp_path / "tiny.gguf")
    run("pull", str(file), "--name", "tiny:q8")
    return file


def ran(*words: str, text: str = "") -> str:
    """What `synfire run` prints, given a text on standard input."""
    command = [sys.executable, "-m", "synfire", "run", *words]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=WAIT_S * 2, check=True).stdout


class Terminal:
    """`synfire run` at a terminal."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def until(self, mark: str) -> str:
        """What is shown up to and with `mark`."""
        shown = b""
        while mark.encode() not in shown:
            assert select.select([self._descriptor], [], [], WAIT_S)[0], shown
            shown += os.read(self._descriptor, 4096)
        return shown.decode(errors="replace")

    def types(self, line: str, mark: str = ">>> ") -> str:
        os.write(self._descriptor, line.encode() + b"\n")
        return self.until(mark)


@contextmanager
def terminal(*words: str) -> Iterator[Terminal]:
    pid, descriptor = pty.fork()
    if not pid:
        os.execv(sys.executable, [sys.executable, "-m", "synfire", "run", *words])
    try:
        yield Terminal(descriptor)
        os.write(descriptor, b"/bye\n")
        assert os.waitpid(pid, 0)[1] == 0
    finally:
        os.close(descriptor)


def test_a_deployment_that_runs_is_asked_told_of_and_its_model_unloaded(run: Callable) -> None:
    with serving([]) as (_, line):
        said = ran("tiny:q8", "--url", line["url"], "--system", "Be brief.", "the king", text="and the queen")
        assert said.strip()
        answer = json.loads(ran("tiny:q8", "--json", text="the king"))
        assert (answer["model"], bool(answer["response"])) == ("tiny:q8", True)
        assert "tiny:q8" in run("ps").out.split("unloaded in")[1]
        (told,) = run("ps", "--json").json["deployments"]
        assert [(each["name"], each["bytes"] > 0, each["left_s"] > 0) for each in told["loaded"]] == [
            ("tiny:q8", True, True)
        ]
        assert run("stop", "tiny:q8", "--json").json["unloaded"] == "tiny:q8"
        (told,) = run("ps", "--json").json["deployments"]
        assert told["loaded"] == []


def test_a_conversation_at_a_terminal() -> None:
    with serving([]) as _, terminal("tiny:q8") as shown:
        shown.until(">>> ")
        assert "set" in shown.types("/set parameter num_predict 5")
        assert shown.types("the king").strip()
        shown.types('"""one', "... ")
        shown.types('two"""')
        assert "num_predict 5" in shown.types("/show parameters")
        assert "there is no command /nothing" in shown.types("/nothing")


def test_without_a_deployment_one_is_started_and_ended(run: Callable, model: Path) -> None:
    assert json.loads(ran(str(model), "--json", "the king"))["response"]
    assert run("ps", "--json").json["deployments"] == []
    missing = run("run", "nothing", "hi")
    assert (missing.code, "get it with synfire pull" in missing.err) == (2, True)
