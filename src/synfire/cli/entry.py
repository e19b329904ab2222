"""Where the command line begins, and where Ctrl-C ends it: in one line, also while the rest is still being loaded."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

INTERRUPTED = 130
"""The shell's own exit code for Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with one of `synfire.cli.app.EXIT_CODES`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        from synfire.cli.app import run  # not above: loading it takes long enough for Ctrl-C to come meanwhile

        code = run(given)
    except KeyboardInterrupt:
        code = INTERRUPTED
    if code == INTERRUPTED:
        _tell("--json" in given)
    sys.exit(code)


def _tell(as_json: bool) -> None:
    if as_json:
        print(json.dumps({"error": "interrupted", "kind": "KeyboardInterrupt", "exit_code": INTERRUPTED}), flush=True)
    else:
        print("interrupted", file=sys.stderr)
