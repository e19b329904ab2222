"""Load from wrk, a generator in C that takes little of the cores which it shares with what it measures."""

from __future__ import annotations

import math
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from synfire.base.errors import PermanentError, UserError
from synfire.bench.machine import busy_s, children_busy_s

MARGIN_S = 30.0
"""Beyond the seconds that are measured: requests that take long on a busy machine."""

_SCRIPT = """\
local requests, at = {}, 0
function init(files)
  for i, name in ipairs(files) do
    local file = assert(io.open(name, "rb"))
    requests[i] = file:read("*a")
    file:close()
  end
end
function request()
  at = at % #requests + 1
  return requests[at]
end
function done(summary, latency)
  local failed = summary.errors
  io.write(string.format(
    '\\n{"p50_s": %.9f, "p99_s": %.9f, "answers": %d, "seconds": %.6f, "refused": %d, "broken": %d}\\n',
    latency:percentile(50) / 1e6, latency:percentile(99) / 1e6, summary.requests, summary.duration / 1e6,
    failed.status, failed.connect + failed.read + failed.write + failed.timeout))
end
"""
"""Sends the requests in turns, as they are; each connection sends its next one when its last is answered."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What one run saw. `refused` counts answers with another status than 200, `broken` those that never came whole.

    `busy_s` is for how long the machine's cores were busy in it, all together, and `own_s` what of that wrk took itself.
    """

    p50_s: float
    p99_s: float
    answers: int
    seconds: float
    refused: int
    broken: int
    busy_s: float = math.nan
    own_s: float = math.nan

    @property
    def requests_s(self) -> float:
        return self.answers / self.seconds


def installed() -> bool:
    return shutil.which("wrk") is not None


def require() -> None:
    """Raise `UserError` that says where wrk comes from when it is not there."""
    if not installed():
        raise UserError("this benchmark needs wrk as its load generator; on Debian and Ubuntu: apt install wrk")


def whole_request(path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """A POST as it goes over the wire."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def load(url: str, requests: Sequence[bytes], concurrency: int, seconds: float) -> Load:
    """Send whole HTTP `requests`, in turns, over so many connections for so many seconds.

    Raises `PermanentError` when wrk does not run, and when any request was not answered by status 200: a server that
    refuses is fast.
    """
    with tempfile.TemporaryDirectory(prefix="synfire-wrk-") as folder:
        script = Path(folder, "requests.lua")
        script.write_text(_SCRIPT)
        files = [Path(folder, f"{number}.http") for number in range(len(requests))]
        for file, request in zip(files, requests, strict=True):
            file.write_bytes(request)
        before_s, own_before_s = busy_s(), children_busy_s()
        command = ["wrk", "-t1", f"-c{concurrency}", f"-d{max(1, round(seconds))}s", "-s", str(script), url, "--"]
        done = subprocess.run(
            [*command, *map(str, files)], capture_output=True, timeout=seconds + MARGIN_S, check=False
        )
        spent_s, own_s = busy_s() - before_s, children_busy_s() - own_before_s
    return msgspec.structs.replace(_found(done), busy_s=spent_s, own_s=own_s)


def _found(done: subprocess.CompletedProcess[bytes]) -> Load:
    try:
        found = msgspec.json.decode(done.stdout.strip().rpartition(b"\n")[2], type=Load)
    except msgspec.DecodeError as error:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()[-2000:]
        raise PermanentError(f"wrk left with exit code {done.returncode} and said: {said}") from error
    if found.refused or found.broken or not found.answers:
        raise PermanentError(
            f"of {found.answers} requests {found.refused} were refused and {found.broken} not answered; what is measured "
            "must answer all of them"
        )
    return found
