"""`drain`, `rebalance`, `upgrade` and `--priority`, from the command line to real processes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from served import serving, tiny

from synfire.cli.infer import run_here
from synfire.wire.client import Client
from synfire.zoo import sample


@contextmanager
def asked(url: str) -> Iterator[list[bool]]:
    """Somebody asks without a pause meanwhile; whether each answer was right."""
    wanted, over, right = run_here(tiny(), sample(tiny()))["y"], threading.Event(), []

    def ask() -> None:
        with Client(url) as client:
            while not over.is_set():
                right.append(np.array_equal(client.infer("tiny", sample(tiny())).outputs["y"], wanted))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield right
    finally:
        over.set()
        asking.join(60)


@pytest.mark.slow
def test_workers_are_drained_and_replaced_and_no_call_notices(run: Callable, bundle: Path) -> None:
    options = ["--granularity", "operator", "--workers", "2", "--spares", "1", "--priority", "tiny=7"]
    with serving([str(bundle), *options]) as (_, line), asked(line["url"]) as right:
        told = run("drain", "worker-1", "--json").json
        assert (told["order"], told["ended"]) == ("drain", ["worker-1"])
        assert {(each["from"], each["to"]) for each in told["moved"]} == {("worker-1", "spare-0")}
        listed = run("ps", "--json").json["deployments"][0]
        assert listed["models"][0]["priority"] == 7
        told = run("upgrade", "--json").json
        assert set(told["ended"]) >= {"worker-0", "spare-0"}
        printed = run("rebalance").out
        assert "rebalance: 0 stages moved" in printed
        assert "predicted for a request of each model: " in printed
        assert "no move makes that better" in printed or "no other worker" in printed
        told = run("rebalance", "--json").json
        assert all(load_s > 0 for load_s in told["loads_s"].values())
        assert (len(told["loads_s"]), len(told["remarks"])) == (2, 1)
        info = httpx.get(f"{line['url']}/api/models").json()[0]
        assert (info["priority"], info["ready"], info["failure"]) == (7, True, "")
        assert not set(info["workers"]) & {"worker-0", "worker-1", "spare-0"}
        events = httpx.get(f"{line['url']}/api/events").json()
        assert "moved" in str(events)
        missing = run("drain", "worker-1")
        assert missing.code == 2
        assert "there is no worker named 'worker-1'; known: " in missing.err
    assert len(right) > 3
    assert all(right)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--priority", "tiny"], "is not MODEL=N, such as tiny=1"),
        (["--priority", "tiny=high"], "is not MODEL=N"),
        (["--priority", "net=1"], "there is no model named 'net'; known: tiny"),
        (["--priority", "tiny=1", "--priority", "tiny=2"], "names model tiny twice"),
        (["--spares", "3", "--most-workers", "2"], "more than --most-workers 2; allow"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_starts(
    run: Callable, bundle: Path, given: list[str], words: str
) -> None:
    refused = run("serve", str(bundle), *given)
    assert refused.code == 2
    assert words in refused.err.replace("\n", " ")


@pytest.mark.parametrize("command", [("drain", "worker-0"), ("rebalance",), ("upgrade",)])
def test_without_a_deployment_nothing_can_be_moved(run: Callable, command: tuple[str, ...]) -> None:
    refused = run(*command)
    assert refused.code == 2
    assert "no deployment is running" in refused.err
