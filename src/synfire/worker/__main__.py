"""`python -m synfire.worker`: one worker process. Deployments start it; people rarely need to."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec

from synfire.base import garbage, turns
from synfire.base.errors import SynfireError, UserError
from synfire.base.log import LOGGER, configure_logging
from synfire.wire import gaps
from synfire.wire.links.tls import Credential, hold
from synfire.worker.settings import Settings
from synfire.worker.worker import Worker

_LAST_RESORT_S = 5.0


def main(arguments: list[str] | None = None) -> int:
    """Run a worker until it is drained. Exit codes as the command line's: 0 done, 2 the user's mistake."""
    configure_logging()
    turns.take_short()
    given = _parser().parse_args(arguments)
    try:
        settings = Settings.of(_decode_settings(given.settings))
        if given.credential:
            hold(Credential.read(given.credential))
        worker = Worker(given.name, given.deployment, given.listen, settings, devices=given.device)
        door = _open_door(worker, given.http) if given.http else None
    except SynfireError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    sys.setswitchinterval(0.0005)  # the builder and HTTP threads hold the compute thread up for less
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.post(worker.drain))
    signal.set_wakeup_fd(worker.wake_socket.fileno(), warn_on_full_buffer=False)
    gaps.warm()
    garbage.look_seldom()
    _announce(given.lifeline, worker, door)
    code = worker.run()
    if door is not None:
        door.close()
    return code


def live() -> int:
    """Be a worker's process, as `main` is. What is still being built when the worker has left, for a minute perhaps, is not waited for."""
    code = main()
    last = threading.Timer(_LAST_RESORT_S, os._exit, (code,))
    last.daemon = True
    last.start()
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("synfire.worker", description="Host stages on this machine's CPU.")
    parser.add_argument("--name", required=True, help="the worker's name in plans, e.g. w0")
    parser.add_argument("--deployment", default="", help="refuse peers of any other deployment")
    parser.add_argument(
        "--listen",
        action="append",
        required=True,
        help="unix:/path, tcp://host:port or tls://host:port (port 0: any); may repeat",
    )
    parser.add_argument("--http", default="", help="host:port (port 0: any) to answer the Open Inference Protocol at")
    parser.add_argument("--settings", default="{}", help="worker settings as JSON, see synfire.worker.settings")
    parser.add_argument(
        "--device",
        action="append",
        help="a device that it has beside the processor; may repeat. Default: all there are",
    )
    parser.add_argument("--credential", type=Path, help="key and certificate, in PEM, for tls: addresses")
    parser.add_argument("--lifeline", type=int, default=-1, help="a socket's descriptor; leave when it closes")
    return parser


def _decode_settings(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise UserError(f"--settings is no JSON object: {error}") from error


def _open_door(worker: Worker, where: str) -> Any:
    from synfire.worker.http import Door  # only here: it imports a web server

    return Door.open(worker, where)


def _announce(lifeline: int, worker: Worker, door: Any) -> None:
    """Say that the worker is ready, to the parent or on standard output, and watch the parent's life."""
    ready = {
        "name": worker.name,
        "pid": os.getpid(),
        "addresses": worker.addresses,
        "http": door.url if door is not None else "",
    }
    line = json.dumps(ready) + "\n"
    if lifeline < 0:
        print(line, end="", flush=True)
        return
    parent = socket.socket(fileno=lifeline)
    parent.sendall(line.encode())
    threading.Thread(target=_watch_parent, args=(parent, worker), daemon=True, name="lifeline").start()


def _watch_parent(parent: socket.socket, worker: Worker) -> None:
    """Leave when the parent is gone: nobody is left to answer to. By force when the worker's own way out hangs."""
    try:
        while parent.recv(1):
            pass
    except OSError as error:
        LOGGER.info("%s: the parent's end of the lifeline: %s", worker.name, error)
    worker.post(worker.stop)
    threading.Timer(_LAST_RESORT_S, lambda: os._exit(1)).start()


if __name__ == "__main__":
    sys.exit(live())
