"""The examples of docs/formats-spikingjelly.md run as they are printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.parity
pytest.importorskip("spikingjelly", reason="needs the parity environment: torch and SpikingJelly")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "formats-spikingjelly.md"


def test_the_examples_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), scope)
    assert len(blocks) == 3
    assert (tmp_path / "digits" / "graph.json").exists()
    assert "5.weight" in scope["state"]  # type: ignore[operator]
