"""`synfire serve` as a user starts it: a command in a process of its own, with a folder of its own for what it keeps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from synfire.base import paths
from synfire.base.errors import PermanentError
from synfire.bench.soak.processes import census

STOP_S = 60.0
"""How long a deployment may take to stop on a busy machine."""


@dataclass(frozen=True)
class Commanded:
    """A deployment that answers. `begun_s` is when its command was started, `ready_s` when it said that it is ready, both on the
    clock of `time.perf_counter`; `home` is its SYNFIRE_HOME."""

    url: str
    begun_s: float
    ready_s: float
    home: Path

    def memory_bytes(self) -> int:
        """What all its processes hold: pages that several map are counted by shares, so that the sum counts each page once."""
        return sum(_share_bytes(each.pid) for each in census(self.home))


@contextmanager
def commanded(words: Sequence[str]) -> Iterator[Commanded]:
    """`synfire serve` with these words, for as long as the block lasts; compiled kernels and measured costs are this process's.

    Raises `PermanentError` with what it said when it does not come to serve.
    """
    with tempfile.TemporaryDirectory(prefix="sf-", ignore_cleanup_errors=True) as folder, _log(folder) as log:
        environment = {**os.environ, "SYNFIRE_HOME": folder, "SYNFIRE_CACHE": str(paths.cache().absolute())}
        command = [sys.executable, "-m", "synfire", "serve", *words, "--port", "0", "--grpc-port", "-1", "--json"]
        begun_s = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, process_group=0)
        try:
            url = _url(process, Path(folder) / "log")
            yield Commanded(url, begun_s, time.perf_counter(), Path(folder))
        finally:
            _end(process)


@contextmanager
def _log(folder: str) -> Iterator[int]:
    descriptor = os.open(Path(folder) / "log", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _url(process: subprocess.Popen[bytes], log: Path) -> str:
    assert process.stdout is not None
    said = process.stdout.readline()
    try:
        return str(json.loads(said)["url"])
    except (ValueError, KeyError):
        raise PermanentError(
            f"synfire serve did not come to serve: {said.decode(errors='replace')}{log.read_text()[-2000:]}"
        ) from None


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert process.stdout is not None
    process.stdout.close()


def _share_bytes(pid: int) -> int:
    """The process's proportional set size, see proc_pid_smaps(5); 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
