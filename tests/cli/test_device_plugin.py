"""`synfire device-plugin` on a node that is made here."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "kubernetes"))

from kubelet import Kubelet  # beside the plugin's own tests, which are imported by their path


def test_it_serves_until_sigterm_and_leaves_no_socket(tmp_path: Path) -> None:
    (sockets := tmp_path / "s").mkdir()
    options = ["--chips", "2", "--socket-dir", str(sockets), "--chips-dir", str(tmp_path / "chips"), "--json"]

    async def story() -> str:
        kubelet = await Kubelet(sockets).start()
        command = [sys.executable, "-m", "synfire", "device-plugin", *options]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            async with await kubelet.plugin() as plugin:
                assert await plugin.watch().next() == {"darwin3-0": "Healthy", "darwin3-1": "Healthy"}
            assert process.stdout is not None
            said = await asyncio.to_thread(process.stdout.readline)
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 60) == 0
        await kubelet.stop()
        return said

    said = json.loads(asyncio.run(story()))
    assert said == {
        "resource": "zj.com/darwin3",
        "chips": [{"chip": "darwin3-0", "cores": 575}, {"chip": "darwin3-1", "cores": 575}],
    }
    assert not (sockets / "zj.com-darwin3.sock").exists()


def test_labels_are_printed_as_a_command(run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_NAME", "n1")
    options = ("device-plugin", "--labels", "--chips-dir", str(tmp_path))
    said = run(*options).out
    assert said.startswith("kubectl label node n1 --overwrite zj.com/darwin3.chips=1 zj.com/darwin3.chips-alive=1 ")
    assert run(*options, "--json").json["labels"]["zj.com/darwin3.cores-big"] == "287"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--resource", "darwin3"], "write DOMAIN/NAME, such as zj.com/darwin3"),
        (["--socket-dir", "/nowhere"], "name it with --socket-dir"),
        (["--parts", "3", "--least-cores", "200"], "ask for fewer parts or fewer cores each"),
        (["--test-every", "10ms"], "--test-every 10ms is less than a second"),
        (["--chips-dir", "/proc/chips"], "name another with --chips-dir"),
    ],
)
def test_bad_input_says_what_to_change(run: Callable, tmp_path: Path, options: list[str], said: str) -> None:
    ran = run("device-plugin", "--chips-dir", str(tmp_path / "chips"), "--socket-dir", str(tmp_path), *options)
    assert (ran.code, said in ran.err.replace("\n", " ")) == (2, True), ran.err
