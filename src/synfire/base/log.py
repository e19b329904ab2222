"""Logging to standard error: lines for people, or JSON for machines, by `SYNFIRE_LOG`."""

from __future__ import annotations

import json
import logging
import os
import sys

LOGGER = logging.getLogger("synfire")


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"time_s": record.created, "level": record.levelname, "name": record.name, "text": record.getMessage()}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure_logging() -> None:
    """Read `SYNFIRE_LOG`: a level name such as `debug`, or `json` (level info). The default is `warning`."""
    wanted = os.environ.get("SYNFIRE_LOG", "warning").lower()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _JsonFormatter() if wanted == "json" else logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    LOGGER.handlers[:] = [handler]
    LOGGER.propagate = False
    level = logging.INFO if wanted == "json" else logging.getLevelNamesMapping().get(wanted.upper(), logging.WARNING)
    LOGGER.setLevel(level)
