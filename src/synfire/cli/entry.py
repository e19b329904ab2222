"""Where the command line begins, and where Ctrl-C and SIGTERM end it: in one line, also while the rest is still being loaded."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from synfire.base import garbage
from synfire.cli import early

INTERRUPTED = 130
"""The shell's own exit code for Ctrl-C."""

TERMINATED = 143
"""The shell's own exit code for SIGTERM."""


class Terminated(BaseException):
    """Raised where the main thread is at SIGTERM, as `KeyboardInterrupt` is at Ctrl-C, so that blocks are left in order."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with one of `synfire.cli.app.EXIT_CODES`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with _terminable(), heard():
            early.begin(given)
            with garbage.loading():
                from synfire.cli.app import run  # not above: loading it takes long enough for Ctrl-C to come meanwhile

            code = run(given)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Terminated:
        code = TERMINATED
    finally:
        early.end()
    if code in _WORDS:
        _tell(code, "--json" in given)
    sys.exit(code)


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM raises `Terminated` in the block; only a process's main thread may ask for that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _terminate(number: int, frame: object) -> NoReturn:
    raise Terminated


_unheard: list[type[BaseException]] = []


@contextmanager
def heard() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the block also where they come up in a callback of compiled code, such as the compiler's, which loses them.

    They are sent again until the block hears them.
    """
    before, ended = sys.unraisablehook, threading.Event()

    def note(lost: sys.UnraisableHookArgs) -> None:
        number = _SIGNALS.get(lost.exc_type)
        if number is None:
            before(lost)
            return
        _unheard.append(lost.exc_type)
        threading.Thread(target=_send_again, args=(number, ended), daemon=True).start()

    sys.unraisablehook = note
    try:
        yield
    finally:
        ended.set()
        sys.unraisablehook = before
        _unheard.clear()


def _send_again(number: int, ended: threading.Event) -> None:
    if not ended.wait(AGAIN_S):
        os.kill(os.getpid(), number)


def raise_unheard() -> None:
    """Raise Ctrl-C or SIGTERM where a callback lost it: what went wrong since is no more than what came of that."""
    if _unheard:
        raise _unheard[0]


AGAIN_S = 0.05
"""After how long a signal that was lost is sent again: by then the callback has been left."""


def _tell(code: int, as_json: bool) -> None:
    said, kind = _WORDS[code]
    if as_json:
        print(json.dumps({"error": said, "kind": kind.__name__, "exit_code": code}), flush=True)
    else:
        print(said, file=sys.stderr)


_SIGNALS: dict[type[BaseException] | None, int] = {KeyboardInterrupt: signal.SIGINT, Terminated: signal.SIGTERM}

_WORDS: dict[int, tuple[str, type[BaseException]]] = {
    INTERRUPTED: ("interrupted", KeyboardInterrupt),
    TERMINATED: ("terminated", Terminated),
}
