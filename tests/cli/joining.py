"""A deployment whose workers all join, and such workers, as processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from served import serving

TOKEN = "0123456789abcdef" * 4


@contextmanager
def deployment(*arguments: str) -> Iterator[tuple[str, str]]:
    """A deployment without workers of its own: its URL, and its door."""
    with serving([*arguments, "--workers", "0", "--join", "127.0.0.1:0"]) as (_, said):
        assert said["workers"] == []
        yield said["url"], said["join"]["address"]


@contextmanager
def worker(door: str, name: str, *more: str) -> Iterator[subprocess.Popen[str]]:
    """`synfire worker`, once it has joined; `pid_of` tells the worker's own process."""
    command = [sys.executable, "-m", "synfire", "worker", "--join", door, "--json", "--name", name, "--group", name]
    process = subprocess.Popen([*command, *more], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=60)


def joined(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What it says when it has joined; waits for that."""
    assert process.stdout is not None
    said: dict[str, Any] = json.loads(process.stdout.readline())
    return said
