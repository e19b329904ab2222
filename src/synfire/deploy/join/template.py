"""The template of workers that join: a machine that has nothing but these does without what controllers and gateways take to load."""

from __future__ import annotations

import sys

from synfire.deploy.forking import main
from synfire.worker import __main__ as worker
from synfire.worker import http

WORKER = {"synfire.worker": worker.live}

_LOADED = (http,)
"""Imported for what is forked, which asks for it only when it needs it."""

if __name__ == "__main__":
    sys.exit(main(WORKER))
