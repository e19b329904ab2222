"""Brings a cluster up, says how to reach it, and ends it with Ctrl-C or SIGTERM. Builds Kubernetes first, where that was not done."""

from __future__ import annotations

import signal
import sys
import threading
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from synfire.base.errors import SynfireError, UserError
from synfire.testing.kubernetes import binaries
from synfire.testing.kubernetes.cluster import Cluster, impossible


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 when the cluster was up until it was told to end."""
    parser = ArgumentParser(prog="python -m synfire.testing.kubernetes", description=__doc__)
    parser.add_argument("--nodes", type=int, default=2, help="how many; with 0 there is an API server alone")
    parser.add_argument(
        "--image", type=Path, action="append", default=[], help="an OCI archive that all nodes are given"
    )
    parser.add_argument("--kubeconfig", type=Path, help="write it there, too")
    parser.add_argument("--build", action="store_true", help="only build Kubernetes' programs, where they are missing")
    parser.add_argument("--install", action="store_true", help="as root, install the Debian packages that are missing")
    parser.add_argument(
        "--possible",
        action="store_true",
        help="as --build, and where no cluster can be had here say why, and end with 3 or 2",
    )
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if given.install:
            binaries.install()
        if given.possible and (reason := impossible()):
            print(reason, file=sys.stderr)
            return 3
        if given.build or given.possible:
            print(binaries.build())
            return 0
        with Cluster(given.nodes) as cluster:
            for each in given.image:
                cluster.load(each)
            if given.kubeconfig is not None:
                given.kubeconfig.write_bytes(cluster.kubeconfig.read_bytes())
            print(f"export KUBECONFIG={given.kubeconfig or cluster.kubeconfig}", flush=True)
            print(f"export PATH=$PATH:{binaries.folder()}", flush=True)
            print(f"logs of all programs: {cluster.folder}/*/*.log; Ctrl-C ends the cluster", flush=True)
            threading.Event().wait()
    except KeyboardInterrupt:
        return 0
    except SynfireError as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, UserError) else 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
