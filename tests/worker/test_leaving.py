"""How a worker's process ends."""

from __future__ import annotations

import subprocess
import sys

BUILDS = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from synfire.worker import __main__ as worker

def main():
    ThreadPoolExecutor(1).submit(threading.Event().wait)  # as the builder's, in the midst of a compilation
    return 3

worker.main, worker._LAST_RESORT_S = main, 0.1
sys.exit(worker.live())
"""


def test_what_is_still_being_built_holds_up_no_worker_that_has_left() -> None:
    assert subprocess.run([sys.executable, "-c", BUILDS], timeout=60).returncode == 3
