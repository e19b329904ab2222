"""Two replicas of a language model: answers are shared out, and one that loses its replica goes on at the other."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from synfire.cli.replicas import replicated
from synfire.deploy.listening import Listening
from synfire.deploy.planning import plan_models
from synfire.deploy.serving import Serving, serving
from synfire.gateway.replicas import Replicas
from synfire.testing.language_models import write_tiny_language_model
from synfire.zoo import find

pytest.importorskip("xllamacpp", reason="needs the extra `llama`")
pytestmark = pytest.mark.slow

TOKENS = 600


@dataclass
class Deployment:
    running: Serving
    portal: BlockingPortal

    @property
    def replicas(self) -> Replicas:
        route = self.running.plane.model("tiny").route
        assert isinstance(route, Replicas)
        return route

    def home(self, replica: str) -> str:
        """The worker of a replica now."""
        return self.running.deployment.routes[replica].plan.workers[0]

    def busy(self) -> str:
        """The replica that has a call."""
        return max(self.replicas._calls, key=lambda name: self.replicas._calls[name])

    def kill_busy(self) -> str:
        name = self.busy()
        os.kill(self.running.deployment.workers[self.home(name)].process.pid, signal.SIGKILL)
        return name

    def answer(self, kill_at: int = 0) -> tuple[str, int, float]:
        """The text of a streamed answer, its tokens, and the longest time between two events; with `kill_at` the worker of the replica
        that answers is killed behind so many events."""
        body = {"model": "tiny", "prompt": "the king said", "max_tokens": TOKENS, "ignore_eos": True, "temperature": 0}
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        text, tokens, events, longest_s, last_s = "", 0, 0, 0.0, 0.0
        with httpx.stream("POST", f"{self.running.addresses.url}/v1/completions", json=body, timeout=60) as response:
            for line in response.iter_lines():
                if not line.startswith("data: {"):
                    continue
                event = json.loads(line.removeprefix("data: "))
                assert "error" not in event, event
                text += "".join(choice["text"] for choice in event["choices"])
                tokens = event["usage"]["completion_tokens"] if event["usage"] else tokens
                events += 1
                now_s = time.monotonic()
                longest_s, last_s = max(longest_s, now_s - last_s if last_s else 0.0), now_s
                if kill_at and events == kill_at:
                    self.portal.call(self.kill_busy)
        return text, tokens, longest_s


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The tiny model twice, each on a worker of its own, with no spare."""
    folder: Path = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch, start_blocking_portal() as portal:
        for name in ("home", "cache"):
            patch.setenv(f"SYNFIRE_{name.upper()}", str(folder / name))
        path = write_tiny_language_model(folder / "tiny.gguf", context=2048)
        planned = plan_models(replicated([find(str(path))], ["2"]), "auto", 2)
        with portal.wrap_async_context_manager(serving(planned, Listening())) as running:
            yield Deployment(running, portal)


def test_replicas_have_workers_of_their_own_and_answers_are_shared_out(deployment: Deployment) -> None:
    assert deployment.home("tiny#1") != deployment.home("tiny#2")
    with ThreadPoolExecutor(4) as threads:
        answers = set(threads.map(lambda _: deployment.answer()[:2], range(8)))
    assert len(answers) == 1
    jobs = {
        worker: sum(stage.jobs for stage in said.stages)
        for worker, said in deployment.portal.call(deployment.running.deployment.describe).items()
    }
    assert min(jobs.values()) > 0


def test_an_answer_whose_worker_is_killed_goes_on_at_the_other_replica(deployment: Deployment) -> None:
    wanted = deployment.answer()[:2]
    deployment.portal.call(deployment.running.deployment.until_warm)
    before = deployment.replicas.moved
    text, tokens, _ = deployment.answer(kill_at=10)
    assert (text, tokens) == wanted
    assert tokens == TOKENS
    assert deployment.replicas.moved == before + 1, "it was not killed in the midst of the answer"


def test_one_replica_is_drained_while_the_other_answers(deployment: Deployment) -> None:
    deployment.portal.call(deployment.running.deployment.until_warm)
    wanted = deployment.answer()[:2]
    left = deployment.home("tiny#2")
    with ThreadPoolExecutor(3) as threads:
        asking = [threads.submit(deployment.answer) for _ in range(6)]
        deployment.portal.call(deployment.running.deployment.drain, left)
        answers = {each.result()[:2] for each in asking}
    assert answers == {wanted}
    assert deployment.home("tiny#2") != left
