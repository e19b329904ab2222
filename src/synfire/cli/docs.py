"""The reference of the command line, made from its help: `python -m synfire.cli.docs > docs/cli.md`.

Options are laid out here and not by typer, whose layout changes with its version.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from enum import Enum
from typing import Any

import typer

from synfire.cli.app import EXIT_CODES, VERBS, build
from synfire.cli.app import verb as function_of
from synfire.cli.bench import Command as Bench

HEAD = """# Command line

Made from the help text by `python -m synfire.cli.docs > docs/cli.md`; a test keeps it current. Every command takes
`--json` (`bench` takes `--json FILE`), and an error is then one line of JSON too: `error`, `kind`, `exit_code`.
Completion for your shell: `synfire --install-completion`.

| exit code | meaning |
|---|---|
"""


def reference() -> str:
    """The page, in Markdown."""
    application: Any = typer.main.get_command(build(rich=False))
    codes = "".join(f"| {code} | {meaning} |\n" for code, meaning in EXIT_CODES.items())
    return HEAD + codes + "".join(_section(verb, application.commands[verb]) for verb in VERBS)


def _section(verb: str, command: Any) -> str:
    text, _, examples = inspect.cleandoc(function_of(verb).__doc__ or "").partition("\b\nExamples:\n")
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    usage = " ".join(["synfire", verb, *(_argument(each) for each in arguments), "[OPTIONS]"])
    if isinstance(command, Bench):
        command.tell()
    rows = "".join(_rows(command))
    return (
        f"\n## synfire {verb}\n\n`{usage}`\n\n{text.strip()}\n\n| argument or option | |\n|---|---|\n{rows}\n"
        f"```sh\n{inspect.cleandoc(examples)}\n```\n"
    )


def _argument(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    return name if parameter.required or name.startswith("[") else f"[{name}]"


def _rows(command: Any) -> Iterator[str]:
    for each in command.params:
        if each.param_type_name == "argument":
            yield f"| `{_argument(each)}` | {each.help} |\n"
        elif each.name != "help":
            value = f" {each.metavar}" if each.metavar else ""
            other = "".join(f" / {name}" for name in each.secondary_opts)
            yield f"| `{', '.join(each.opts)}{value}{other}` | {each.help}{_default(each)} |\n"


def _default(parameter: Any) -> str:
    default = parameter.default
    if parameter.secondary_opts:  # a choice of two has a default either way
        return f" Default: {(parameter.opts if default else parameter.secondary_opts)[0]}."
    if default is None or default is False or default == []:
        return ""
    return f" Default: {default.value if isinstance(default, Enum) else default}."


if __name__ == "__main__":
    sys.stdout.write(reference())
