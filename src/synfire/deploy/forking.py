"""A template: the process that others are forked from. It has loaded what they need, machine code included.

`synfire.deploy.template` runs it. It has one thread and no event loop, opens no connection and holds nothing of any model, so that a fork finds everything as a
new interpreter would. What it loaded is memory that all of them share. What can be forked its module says: `synfire.deploy.roles.template`
for all processes of a deployment, `synfire.deploy.join.template` for workers alone.
"""

from __future__ import annotations

import fcntl
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from ctypes import memmove
from pathlib import Path

import msgspec
import numpy as np

from synfire.base.children import LONGEST_BYTES, MOST_DESCRIPTORS, READY, Begun, Order
from synfire.engines import ENGINES
from synfire.engines.engine import PROCESSOR
from synfire.graph import Graph, Synapse
from synfire.ops import Clock, Kind, Signal
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.wire import gaps

Roles = Mapping[str, Callable[[], int | None]]
"""What can be forked: modules, and what each does as a process, whose exit code it gives."""


def main(roles: Roles) -> int | None:
    """Fork whatever is ordered until the other end of the link is closed; in a fork, be what was ordered."""
    link = socket.socket(fileno=int(sys.argv[1]))
    try:
        ordered = serve(link)
    except ConnectionError:  # who ordered has died
        return 0
    finally:
        link.close()
    return become(*ordered, roles) if ordered is not None else 0


def serve(link: socket.socket) -> tuple[Order, Sequence[int]] | None:
    """Carry out the orders that come; None at their end. In a fork, the order and the descriptors that came with it."""
    link.send(READY)
    while True:
        data, descriptors, _, _ = socket.recv_fds(link, LONGEST_BYTES, MOST_DESCRIPTORS)
        if not data:
            return None
        try:
            pid = forked()
        except OSError as error:
            link.send(msgspec.json.encode(Begun(0, str(error))))
        else:
            if not pid:
                return msgspec.json.decode(data, type=Order), descriptors
            link.send(msgspec.json.encode(Begun(pid)))
        for each in descriptors:
            os.close(each)


def load() -> None:
    """Compile, or load from the cache, what workers and gateways would otherwise wait for."""
    gaps.warm()
    ENGINES[PROCESSOR]().build(_smallest()).warm()


def forked() -> int:
    """A process of the same content: its number, and 0 in itself. Not this one's child, but its nearest subreaper's.

    Raises `OSError` when the machine has no room for it.
    """
    reading, writing = os.pipe()
    between = os.fork()
    if not between:
        os.close(reading)
        return _forked_twice(writing)
    os.close(writing)
    with open(reading, "rb") as news:
        said = news.read()
    os.waitpid(between, 0)
    if not said.isdigit():
        raise OSError(said.decode() or "a process died while it was forked")
    return int(said)


def become(order: Order, descriptors: Sequence[int], roles: Roles) -> int | None:
    """Be the process that was ordered, with its standard error, its descriptors and its command line; its exit code."""
    os.setpgid(0, 0)
    stderr, *given = descriptors
    os.dup2(stderr, sys.stderr.fileno())
    os.close(stderr)
    _renumber(given, order.numbers)
    _show(order.words)
    _, _, module, *arguments = order.words
    sys.argv = [module, *arguments]
    return roles[module]()


def _forked_twice(writing: int) -> int:
    """In the process between the two: fork, tell the number, and end, which hands the new process on."""
    try:
        pid = os.fork()
    except OSError as error:
        os.write(writing, str(error).encode())
        os._exit(1)
    if pid:
        os.write(writing, str(pid).encode())
        os._exit(0)
    os.close(writing)
    return 0


def _renumber(given: Sequence[int], numbers: Sequence[int]) -> None:
    """Give descriptors the numbers that the command line calls them by; each may be taken by another one of them."""
    above = max((*given, *numbers), default=0) + 1
    moved = [fcntl.fcntl(each, fcntl.F_DUPFD, above) for each in given]
    for each in given:
        os.close(each)
    for each, number in zip(moved, numbers, strict=True):
        os.dup2(each, number)
        os.close(each)


def _show(words: Sequence[str]) -> None:
    """Have the process listed under its own command line, which the kernel reads where it put it at the start."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begin, end = int(fields[45]), int(fields[46])
    text = b"\0".join(os.fsencode(each) for each in words)[: end - begin - 1]
    memmove(begin, text.ljust(end - begin, b"\0"), end - begin)


def _smallest() -> Graph:
    """A stage of one synapse and one neuron: all stages run by the same machine code."""
    return Graph(
        {"synapse": Linear(np.ones((1, 1)), np.zeros(1)), "neuron": LIF()},
        (Synapse("input", "synapse"), Synapse("synapse", "neuron")),
        {"input": Signal((1,), Kind.SPIKE, Clock.STEP)},
        {"neuron": "neuron"},
    )
