"""What did not hold in some runs, by their reports: `python -m synfire.bench.unheld FILE…` exits with 1 where there is any of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from synfire.bench.benchmark import Report


def unheld(file: Path) -> Iterator[str]:
    """The floors that do not hold; a benchmark that came to no end wrote no report."""
    if not file.exists():
        yield f"{file.stem}: ended without a report"
        return
    found = msgspec.json.decode(file.read_bytes(), type=Report)
    for each in found.floors:
        if not each.holds:
            yield f"{found.benchmark}: {each.name} {each.value:.3g} {each.op} {each.limit:g}"


def main(files: list[Path]) -> int:
    found = [line for file in files for line in unheld(file)]
    for line in found:
        print(f"DOES NOT HOLD: {line}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main([Path(name) for name in sys.argv[1:]]))
