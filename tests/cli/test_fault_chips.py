"""`synfire fault` breaks emulated chips under a served model, while clients ask without a pause."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import numpy as np
import pytest
from served import serving

from synfire import zoo
from synfire.ops import Array
from synfire.wire.client import Client

MODEL = "svgg-digits"


def digits() -> Array:
    """A few held-out digits, as one request."""
    images, _ = zoo.held_out_digits()
    signals = zoo.load(MODEL).inputs
    return np.concatenate([zoo.picture_inputs(signals, image)["input"] for image in images[:4]])


class Asking(threading.Thread):
    """Asks again and again, and keeps every answer."""

    def __init__(self, url: str, inputs: Array) -> None:
        super().__init__(daemon=True)
        self.url = url
        self.inputs = {"input": inputs}
        self.answers: list[bytes] = []
        self.errors: list[Exception] = []
        self.over = threading.Event()
        self.counted = threading.Condition()

    def run(self) -> None:
        with Client(self.url) as client:
            while not self.over.is_set():
                try:
                    answer = client.infer(MODEL, self.inputs).outputs["output"].tobytes()
                except Exception as error:
                    self.errors.append(error)
                    self.over.set()
                    return
                with self.counted:
                    self.answers.append(answer)
                    self.counted.notify_all()

    def more(self, count: int) -> int:
        """Wait for so many more answers; how many there are then."""
        with self.counted:
            wanted = len(self.answers) + count
            assert self.counted.wait_for(lambda: len(self.answers) >= wanted or self.over.is_set(), 60)
            return len(self.answers)


@contextmanager
def asked(url: str) -> Iterator[list[Asking]]:
    inputs = digits()
    clients = [Asking(url, inputs) for _ in range(3)]
    for each in clients:
        each.start()
    try:
        yield clients
    finally:
        for each in clients:
            each.over.set()
            each.join(60)


@pytest.mark.slow
def test_chips_break_under_load_and_answers_stay_right_as_long_as_there_is_a_chip(run: Callable) -> None:
    with (
        serving([MODEL, "--device", "darwin3", "--spares", "1"]) as (_, ready),
        asked(ready["url"]) as clients,
    ):
        for seed in range(3):
            for each in clients:
                each.more(3)
            broken = run("fault", "core-dead", "worker-1", "--seed", str(seed), "--json")
            assert broken.code == 0
            assert broken.json["acts"][0]["target"] == f"worker-1/{MODEL}.features.3..head"
        wrong = run("fault", "weight-bit", "worker-9")
        assert (wrong.code, "known: spare-0, worker-0, worker-1" in wrong.err) == (2, True)
        for each in clients:
            each.more(3)
        assert run("fault", "chip-dead", "worker-1").code == 0
        before = [each.more(5) for each in clients]
        assert run("fault", "chip-dead", "spare-0").code == 0
        for each in clients:
            each.more(5)
        assert not any(each.errors for each in clients)
        shown = run("ps").out
        assert "degraded" in shown
        assert f"{MODEL}: {MODEL}.features.3..head runs on cpu in place of darwin3, whose spikes agree to 99" in shown
        (model,) = httpx.get(f"{ready['url']}/api/models").json()
        assert (model["status"], model["ready"]) == ("degraded", True)
        assert 0.9 < model["substituted"][0]["agreement"] <= 1
        assert "features.3..head stays on cpu: no worker that has a darwin3 can take it" in run("rebalance").out
    of_chips = {answer for each, count in zip(clients, before, strict=True) for answer in each.answers[:count]}
    assert len(of_chips) == 1
    events = run("events", "--json").json["events"]
    *cores, chip, last = [each for each in events if each["cause"]["kind"] != "rebalance"]
    assert [(each["cause"]["kind"], each["outcome"]) for each in cores] == [("core dead", "recovered")] * 3
    assert all(each["bytes_moved"] > 0 and "moved from" in each["cause"]["detail"] for each in cores)
    assert (chip["cause"]["kind"], chip["worker"], chip["spare"], chip["outcome"]) == (
        "chip dead",
        "worker-1",
        "spare-0",
        "recovered",
    )
    assert (last["cause"]["kind"], last["worker"], last["outcome"]) == ("chip dead", "spare-0", "degraded")
    (unlike,) = last["substituted"]
    assert (unlike["planned"], unlike["engine"]) == ("darwin3", "cpu")
    assert 0.9 < unlike["agreement"] <= 1
    assert "runs on cpu in place of darwin3, whose spikes agree to 99" in run("events").out
