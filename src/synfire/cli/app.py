"""The application: its verbs, and how an error becomes a message and an exit code."""

from __future__ import annotations

import errno
import importlib
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from typing import Annotated, Any

import typer

from synfire.base import garbage, paths
from synfire.base.errors import Bug, DeadlineExceeded, PermanentError, SynfireError, TemporaryError, UserError
from synfire.base.log import configure_logging
from synfire.cli.entry import INTERRUPTED, TERMINATED, raise_unheard
from synfire.cli.output import ERRORS, print_json
from synfire.cli.working import tasks_shown

DONE, DID_NOT_HOLD, USER_MISTAKE, TEMPORARY, OURS = range(5)

EXIT_CODES = {
    DONE: "done",
    DID_NOT_HOLD: "the thing asked for did not hold, or this deployment cannot do it",
    USER_MISTAKE: "the user's mistake: the message says what to change",
    TEMPORARY: "a temporary failure: try again",
    OURS: "a bug of synfire: please report it",
    INTERRUPTED: "interrupted by Ctrl-C; `serve`, once it serves, ends in good order instead, with 0",
    TERMINATED: "ended by SIGTERM, with nothing left behind; `serve`, once it serves, as at Ctrl-C",
}

VERBS: dict[str, str] = {
    "demo": "demo:demo",
    "serve": "serve:serve",
    "worker": "worker:worker",
    "infer": "infer:infer",
    "run": "run:run",
    "list": "listing:list_models",
    "show": "show:show",
    "share": "share:share",
    "plan": "plan:plan",
    "profiles": "profiles:profiles",
    "build": "profiles:build",
    "spares": "spares:spares",
    "import": "imports:import_model",
    "pull": "pull:pull",
    "push": "pull:push",
    "create": "create:create",
    "quantize": "quantize:quantize",
    "cp": "naming:cp",
    "rm": "naming:rm",
    "bundle": "bundles:bundle",
    "unbundle": "bundles:unbundle",
    "ps": "ps:ps",
    "traffic": "traffic:traffic",
    "events": "events:events",
    "fault": "fault:fault",
    "drain": "moves:drain",
    "rebalance": "moves:rebalance",
    "upgrade": "moves:upgrade",
    "stop": "stop:stop",
    "deploy": "deploy_kubernetes:deploy",
    "device-plugin": "device_plugin:device_plugin",
    "controller": "controller:controller",
    "bench": "bench:bench",
    "soak": "soak:soak",
}
"""Where each verb's function is, as `file:name` in this folder."""

_USAGE_ERROR: Any = typer.BadParameter.__mro__[1]
"""What typer raises for a wrong command line; it is not exported by name in every version."""

_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (UserError, USER_MISTAKE),
    (_USAGE_ERROR, USER_MISTAKE),
    (TemporaryError, TEMPORARY),
    (DeadlineExceeded, TEMPORARY),
    (PermanentError, DID_NOT_HOLD),
    (Bug, OURS),
    (SynfireError, DID_NOT_HOLD),
)

_USER_ERRNOS = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.EADDRINUSE, errno.EISDIR, errno.ENOTDIR, errno.EROFS)


def verb(name: str) -> Callable[..., None]:
    """A verb's function. Its file is loaded now: what all of them import takes longer than most of them run."""
    file, _, function = VERBS[name].partition(":")
    loaded: Callable[..., None] = getattr(importlib.import_module(f"synfire.cli.{file}"), function)
    return loaded


def command_of(name: str) -> Any:
    """The class of a verb's command, where its file has one: what is told of it is not known before somebody asks."""
    return getattr(sys.modules[verb(name).__module__], "Command", None)


def build(rich: bool = True, verbs: Iterable[str] = VERBS) -> typer.Typer:
    """The application, with these verbs; `rich=False` gives help in plain text, as the documentation quotes it."""
    app = typer.Typer(
        name="synfire",
        help="Serves spiking neural networks operator by operator, spike for spike.\n\n\b\nExit codes:\n"
        + "\n".join(f"  {code}  {meaning}" for code, meaning in EXIT_CODES.items()),
        rich_markup_mode="rich" if rich else None,
        pretty_exceptions_enable=False,
        no_args_is_help=True,
    )
    app.callback()(_options)
    for name in verbs:
        app.command(name, cls=command_of(name))(verb(name))
    return app


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return one of `EXIT_CODES`; typer turns Ctrl-C into `INTERRUPTED`."""
    configure_logging()
    try:
        verbs = [name for name in arguments[:1] if name in VERBS] or VERBS
        with garbage.loading():
            app = build(verbs=verbs)
        with tasks_shown("--json" in arguments):
            code: int | None = app(list(arguments), prog_name="synfire", standalone_mode=False)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = DONE
    except Exception as error:
        raise_unheard()
        code = exit_code(error)
        _report(error, code, "--json" in arguments)
    return code or DONE


def exit_code(error: BaseException) -> int:
    """Which of `EXIT_CODES` an error ends with."""
    if isinstance(error, OSError) and not isinstance(error, SynfireError):
        if error.errno == errno.ENOSPC:
            return TEMPORARY
        return USER_MISTAKE if error.errno in _USER_ERRNOS else OURS
    return next((code for kind, code in _CODES if isinstance(error, kind)), OURS)


def _report(error: Exception, code: int, as_json: bool) -> None:
    """The error for people on standard error, or as JSON on standard output."""
    message = _message(error)
    if code == OURS:
        ERRORS.print("".join(traceback.format_exception(error)), markup=False, soft_wrap=True)
    if as_json:
        print_json({"error": message, "kind": type(error).__name__, "exit_code": code})
        return
    ERRORS.print(f"[red]error:[/red] {_escaped(message)}", soft_wrap=True)
    if code == OURS:
        ERRORS.print("This is a bug of synfire: please report it with the lines above (CONTRIBUTING.md says where).")
    elif isinstance(error, _USAGE_ERROR):
        ERRORS.print("Run the command with --help to see what it takes.")


def _message(error: Exception) -> str:
    if isinstance(error, _USAGE_ERROR):
        return str(error.format_message())
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"{error} ({_full(error)}); free some, or point SYNFIRE_HOME and SYNFIRE_CACHE at another disk"
    return str(error) or type(error).__name__


def _full(error: OSError) -> str:
    """The file of a full disk; where the error does not name it, where synfire writes."""
    if error.filename is not None:
        return f"writing {os.fsdecode(error.filename)}"
    return (
        f"SYNFIRE_HOME is {paths.home()}, SYNFIRE_CACHE {paths.cache()}, temporary files go to {tempfile.gettempdir()}"
    )


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("synfire"))
        raise typer.Exit


def _options(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """What may stand before the verb."""
