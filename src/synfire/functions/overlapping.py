"""Calls of a function that waits for others (`async def`): many are under way at a time, in one event loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from synfire.functions.messages import Conversation, Ended, Message
from synfire.functions.slot import Array

Answer = Callable[[str, Mapping[str, Array]], Coroutine[Any, Any, None]]
"""Computes the call of that name, and says what came of it."""


async def serve_overlapping(connection: socket.socket, talk: Conversation, answer: Answer) -> None:
    """Begin calls as they come, and end those that nobody waits for, until nobody asks any more."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    tasks: dict[str, asyncio.Task[None]] = {}
    connection.setblocking(False)

    def take(message: Message) -> None:
        if "cancel" in message.said:
            under_way = tasks.get(message.said["cancel"])
            if under_way is not None:
                under_way.cancel()
            return
        call = message.said["call"]
        tasks[call] = loop.create_task(answer(call, message.arrays))
        tasks[call].add_done_callback(lambda _: written(call))

    def written(call: str) -> None:
        tasks.pop(call, None)
        write()

    def write() -> None:
        talk.flush()
        if talk.unsent:
            loop.add_writer(connection, write)
        else:
            loop.remove_writer(connection)

    def read() -> None:
        try:
            for message in talk.come():
                take(message)
        except Ended:
            ended.set()

    loop.add_reader(connection, read)
    await ended.wait()
