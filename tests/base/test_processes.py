"""Processes that end with the one that began them."""

import os
import select
import subprocess
import sys

PARENT = """
import subprocess, sys
from synfire.base.processes import end_with_parent
child = subprocess.Popen(["sleep", "300"], preexec_fn=end_with_parent)
print(child.pid, flush=True)
child.wait()
"""


def test_a_child_ends_with_a_parent_that_was_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        try:
            parent.kill()
            assert select.select([child], [], [], 30.0)[0]
        finally:
            os.close(child)
