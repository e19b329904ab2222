"""Tells what a function takes and gives, by loading its file: a process of its own, so that nothing in it can do harm elsewhere."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synfire.base.errors import UserError
from synfire.functions.signature import signature_of
from synfire.functions.slot import Slot
from synfire.functions.source import beside, chosen

BEGIN = Path(__file__).parent / "begin.py"
VARIABLE = "SYNFIRE_FUNCTIONS_PYTHON"
"""Names the Python of another environment than synfire's, which functions are run by."""

_PATIENCE_S = 300.0
_LAST_WORDS = 2000


def interpreter() -> str:
    """The Python that functions are run by."""
    return os.environ.get(VARIABLE) or sys.executable


def described(order: Mapping[str, Any]) -> dict[str, Any]:
    """What a process says that is given the order. Raises `UserError` for what it refuses, and where it does not get to that."""
    where = order["path"]
    command = [interpreter(), "-P", str(BEGIN), json.dumps(dict(order))]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"{where} is not loaded after {_PATIENCE_S:.0f} s; do at the first call what takes so long"
        ) from error
    except OSError as error:
        raise UserError(
            f"{where} cannot be loaded by {command[0]}: {error}; {VARIABLE} names the Python to take"
        ) from error
    if done.returncode:
        words = done.stderr.decode(errors="replace")[-_LAST_WORDS:].strip()
        raise UserError(f"{where} ends the process that loads it (code {done.returncode}): {words or 'without a word'}")
    said: dict[str, Any] = json.loads(done.stdout)
    if "error" in said:
        raise UserError(said["error"])
    return said


def main(order: dict[str, Any]) -> None:
    """Print what the function takes and gives, and which files it is made of; or why that cannot be told."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the file prints is no part of it
    path = Path(order["path"])
    try:
        function = chosen(path, order["function"])
        signature = signature_of(function)
        told: dict[str, Any] = {
            "function": function.__name__,
            "takes": [_told(each) for each in signature.takes],
            "gives": [_told(each) for each in signature.gives],
            "overlapping": inspect.iscoroutinefunction(function),
            "files": [str(each) for each in beside(path.parent)],
        }
    except UserError as error:
        told = {"error": str(error)}
    json.dump(told, out)
    out.flush()
    os._exit(0)  # whatever threads the file has begun


def _told(slot: Slot) -> tuple[str, str, tuple[int, ...]]:
    return slot.name, slot.kind, slot.sizes
