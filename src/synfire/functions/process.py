"""The process of a function: it takes calls, and answers each by arrays or by what went wrong."""

from __future__ import annotations

import asyncio
import fcntl
import inspect
import os
import socket
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

from synfire.base.errors import UserError
from synfire.functions.messages import Conversation, Ended, Message
from synfire.functions.overlapping import Answer, serve_overlapping
from synfire.functions.signature import signature_of
from synfire.functions.slot import Array
from synfire.functions.source import chosen, told
from synfire.functions.triton.running import triton_runner

Outcome = dict[str, Array] | BaseException
"""What a call gave: arrays by the names of outputs, or what went wrong."""

_HUNGRY = "500"
"""Of a thousand: as if it took half of the machine's memory beside its own."""

Run = Callable[[Sequence[Mapping[str, Array]]], Iterable[Outcome]]
"""Computes a company of calls, arrays by the names of inputs, and gives an outcome for each."""

Serve = Callable[[], None]
"""Computes calls until nobody asks any more, or raises `Ended` then."""


def main(order: dict[str, Any]) -> None:
    """Serve the function that the order names, until whoever ordered it is gone: `talk` and `lifeline` are sockets, the other end of
    which it holds; `cores` those that may be used."""
    _end_with(order["lifeline"])
    os.dup2(2, 1)  # what it prints goes where its errors go: to the log
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.sched_setaffinity(0, order["cores"])
    _be_first_to_go()
    connection = socket.socket(fileno=order["talk"])
    talk = Conversation(connection)
    try:
        with ExitStack() as at_end, suppress(Ended, OSError):
            serve = _loaded(order, connection, talk, at_end)
            talk.send({"ready": True})
            serve()
    except UserError as error:
        talk.send({"error": str(error)})


def _loaded(order: dict[str, Any], connection: socket.socket, talk: Conversation, at_end: ExitStack) -> Serve:
    """What serves the function of the order. Raises `UserError` where that cannot be loaded."""
    path = Path(order["path"])
    if order["triton"]:
        return partial(_serve, talk, triton_runner(path, order["triton"], at_end), path.parent)
    function = chosen(path, order["function"])
    if inspect.iscoroutinefunction(function):
        answer = _answering(talk, function, path.parent)
        return lambda: asyncio.run(serve_overlapping(connection, talk, answer))
    return partial(_serve, talk, runner(function), path.parent)


def runner(function: Callable[..., Any]) -> Run:
    """What computes calls of the function, one after the other."""
    signature = signature_of(function)

    def outcome(arrays: Mapping[str, Array]) -> Outcome:
        axes: dict[str, int] = {}
        try:
            return signature.outputs(function(**signature.arguments(arrays, axes)), axes)
        except BaseException as error:  # whatever it was, also an exit: it is this call's alone
            return error

    return lambda company: map(outcome, company)


def _answering(talk: Conversation, function: Callable[..., Any], folder: Path) -> Answer:
    """What computes a call of the function, while others are under way."""
    signature = signature_of(function)

    async def answer(call: str, arrays: Mapping[str, Array]) -> None:
        axes: dict[str, int] = {}
        try:
            outcome: Outcome = signature.outputs(await function(**signature.arguments(arrays, axes)), axes)
        except asyncio.CancelledError:
            outcome = UserError("nobody waits for this call any more")
        except BaseException as error:  # as above
            outcome = error
        _tell(talk, call, outcome, folder)

    return answer


def _serve(talk: Conversation, run: Run, folder: Path) -> None:
    """Compute companies of calls as they come. Raises `Ended` when nobody asks any more."""
    company: list[Message] = []
    while True:
        for message in talk.come():
            if "cancel" in message.said:
                continue  # that call is over
            company.append(message)
            if not message.said["more"]:
                for one, outcome in zip(company, run([each.arrays for each in company]), strict=True):
                    _tell(talk, one.said["call"], outcome, folder)
                company.clear()


def _tell(talk: Conversation, call: str, outcome: Outcome, folder: Path) -> None:
    if isinstance(outcome, UserError):
        talk.send({"call": call, "refused": str(outcome)})
    elif isinstance(outcome, BaseException):
        traceback.print_exception(outcome)
        talk.send({"call": call, "failed": told(outcome, folder)})
    else:
        talk.send({"call": call}, outcome)


def _end_with(lifeline: int) -> None:
    """Have the kernel end this process and those that it has begun when the other end of the lifeline is closed, whatever they do."""
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC | os.O_NONBLOCK)
    with suppress(BlockingIOError):  # nobody says anything there
        os.read(lifeline, 1)
        os._exit(0)  # it was closed before


def _be_first_to_go() -> None:
    """Where memory runs out, have the kernel end this process, and not one that serves others."""
    with suppress(OSError):  # a system without such marks
        Path("/proc/self/oom_score_adj").write_text(_HUNGRY)
