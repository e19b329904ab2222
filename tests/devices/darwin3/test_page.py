"""The page `docs/darwin3.md` runs as it is printed, and its table is that of `chips.json`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from synfire.devices.darwin3.limits import ChipLimits, chip, chips

PAGE = (Path(__file__).parents[3] / "docs" / "darwin3.md").read_text()
OTHER = ("fan_in", "inputs", "outputs", "kernel", "channels", "map", "synapses_per_core", "reach")


def test_the_code_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    scope: dict[str, Any] = {}
    exec(compile(code, "darwin3.md", "exec"), scope)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "0 [] [[6, 4], [6, 4]]",
        "1 [(0, (0, 0), 7, 0)] [[0, 6], [3, 2]]",
        "2 [] [[6, 7], [1, 1]]",
        "1040 [6 2] True",
        "((3, 2),)",
    ]


@pytest.mark.parametrize("name", chips())
def test_the_limits_of_the_page_are_those_of_the_data(name: str) -> None:
    table = PAGE.split("<!-- limits -->")[1].split("<!-- /limits -->")[0]
    assert _row(chip(name)) in table.splitlines()
    assert len(table.strip().splitlines()) == len(chips()) + 2


def _row(limits: ChipLimits) -> str:
    other = [f"{each} {getattr(limits, each)}" for each in OTHER if getattr(limits, each) is not None]
    bits = ", ".join(map(str, limits.weight_bits or ()))
    columns = (limits.cores, limits.neurons, limits.neurons_per_core, limits.synapses, bits, ", ".join(sorted(other)))
    cells = [limits.name, *(str(each) if each else "–" for each in columns)]
    return f"| {' | '.join(cells)} |"
