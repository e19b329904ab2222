"""What Pods are told to do on a real cluster reaches them from their first moment on."""

from __future__ import annotations

import pytest
from deployed import SERVING, SPARE, Deployment

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

FIRST = "print(open('/proc/1/comm').read())"
"""Says what the first process of a Pod's namespace is: from that one the kernel keeps each signal that it has not asked for."""


@pytest.mark.parametrize("pod", [SPARE, SERVING])
def test_synfire_is_not_the_first_process_of_its_pod_which_is_told_nothing_until_python_runs(
    deployment: Deployment, pod: str
) -> None:
    assert deployment.kubectl("exec", pod, "--", "python3", "-c", FIRST).strip() == "pause"
