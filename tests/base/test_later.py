"""Modules that are loaded when they are needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from synfire.base.later import Later

BELOW = "import sys, {module}; sys.exit('numba' in sys.modules)"


def test_a_module_is_loaded_with_the_first_thing_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "heavy_work.py").write_text("def twice(number):\n    return 2 * number\n")
    monkeypatch.syspath_prepend(tmp_path)
    heavy = Later("heavy_work")
    assert "heavy_work" not in sys.modules
    assert heavy.twice(4) == 8
    assert "heavy_work" in sys.modules
    monkeypatch.delitem(sys.modules, "heavy_work")
    (tmp_path / "heavy_work.py").unlink()
    assert heavy.twice(5) == 10, "it is not looked up again"
    with pytest.raises(AttributeError, match="thrice"):
        Later("json").thrice(1)


@pytest.mark.parametrize(
    "module",
    ["synfire.cli.worker", "synfire.cli.serve", "synfire.deploy.join.agent", "synfire.wire.messages"],
)
def test_what_sends_no_spikes_does_without_a_compiler(module: str) -> None:
    assert subprocess.run([sys.executable, "-c", BELOW.format(module=module)], check=False).returncode == 0


def test_who_only_plans_does_without_a_compiler() -> None:
    looks = "from synfire.devices import DEVICES; from synfire.engines import ENGINES; ENGINES['cpu'](); DEVICES['cpu'].describe()"
    code = f"{looks}; {BELOW.format(module='synfire.deploy.planning')}"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
