"""Clients that users have already, unmodified, against `synfire serve` as a user starts it.

They live in an environment of their own, and each runs in a process of its own: what these packages bring does not fit beside each other's
for long. A test hands one a script, which is given the deployment's URL and prints what it got as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from synfire.bench.command import commanded
from synfire.testing.language_models import TOOLS_TEMPLATE, write_tiny_language_model

PYTHON = os.environ.get("SYNFIRE_CLIENTS_PYTHON", sys.executable)
"""An interpreter that has the clients; `make test` makes one."""

CONTEXT = 1024

Run = Callable[[str, str], Any]


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a model for chats and functions, `tiny`, is served, one for vectors, and one that ranks."""
    pytest.importorskip("xllamacpp", reason="needs the extra `llama`")
    folder: Path = tmp_path_factory.mktemp("models")
    paths = [
        write_tiny_language_model(folder / "tiny.gguf", TOOLS_TEMPLATE, CONTEXT),
        write_tiny_language_model(folder / "vectors.gguf", None, more={"llama.pooling_type": 1}),
        write_tiny_language_model(folder / "ranks.gguf", None, more={"llama.pooling_type": 4}),
    ]
    with commanded([str(path) for path in paths]) as running:
        yield running.url


@pytest.fixture(scope="session")
def run(url: str) -> Run:
    """Runs a script in the clients' environment; what its last line says. Skips where the package is missing there."""

    def run(package: str, script: str) -> Any:
        found = subprocess.run([PYTHON, "-c", f"import {package}"], capture_output=True, check=False)
        if found.returncode:
            pytest.skip(f"{package} is not installed; set SYNFIRE_CLIENTS_PYTHON to an interpreter that has it")
        done = subprocess.run([PYTHON, "-c", script, url], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run
