"""Waiting for the signals that end a server."""

from __future__ import annotations

import asyncio
import signal


async def until_signal() -> None:
    """Return at the first SIGTERM or SIGINT; a second one then kills, as is usual."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, told.set)
    await told.wait()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(each)
