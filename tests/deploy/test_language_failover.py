"""A language model's engine, or its worker, is killed in the midst of an answer: the caller reads on."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from synfire.deploy.listening import Listening
from synfire.deploy.planning import plan_models
from synfire.deploy.serving import Serving, serving
from synfire.deploy.settings import Settings
from synfire.testing.language_models import write_tiny_language_model
from synfire.zoo import find

pytest.importorskip("xllamacpp", reason="needs the extra `llama`")
pytestmark = pytest.mark.slow

TOKENS = 1200


@dataclass
class Deployment:
    running: Serving
    portal: BlockingPortal

    @property
    def replays(self) -> int:
        return self.running.deployment.routes["tiny"].replays

    def until_warm(self) -> None:
        self.portal.call(self.running.deployment.until_warm)

    def worker(self) -> int:
        """The process of the worker that hosts the model now."""
        plan = self.running.deployment.routes["tiny"].plan
        return self.running.deployment.workers[plan.workers[0]].process.pid

    def engine(self) -> int:
        """The process of its engine: the only child that the worker has."""
        tasks = Path(f"/proc/{self.worker()}/task").glob("*/children")
        (child,) = [int(each) for task in tasks for each in task.read_text().split()]
        return child

    def answer(self, kill: Any = None, at: int = 0, **fields: Any) -> tuple[str, int]:
        """The text of a streamed answer and its tokens; `kill` names the process that is killed behind the event `at`."""
        body = {"model": "tiny", "prompt": "the king said", "max_tokens": TOKENS, "ignore_eos": True, "temperature": 0}
        body |= {"stream": True, "stream_options": {"include_usage": True}, **fields}
        victim = kill() if kill else 0
        text, tokens, events = "", 0, 0
        with httpx.stream("POST", f"{self.running.addresses.url}/v1/completions", json=body, timeout=60) as response:
            for line in response.iter_lines():
                if not line.startswith("data: {"):
                    continue
                event = json.loads(line.removeprefix("data: "))
                assert "error" not in event, event
                text += "".join(choice["text"] for choice in event["choices"])
                tokens = event["usage"]["completion_tokens"] if event["usage"] else tokens
                events += 1
                if victim and events == at:
                    os.kill(victim, signal.SIGKILL)
        return text, tokens


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The tiny model, with a spare beside its worker."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch, start_blocking_portal() as portal:
        for name in ("home", "cache"):
            patch.setenv(f"SYNFIRE_{name.upper()}", str(folder / name))
        path = write_tiny_language_model(folder / "tiny.gguf", context=2048)
        planned = plan_models([find(str(path))], "auto", 2)
        context = serving(planned, Listening(), settings=Settings(spares=1))
        with portal.wrap_async_context_manager(context) as running:
            yield Deployment(running, portal)


@pytest.fixture
def calm(deployment: Deployment) -> Deployment:
    """The deployment, with its spare prepared."""
    deployment.until_warm()
    return deployment


@pytest.mark.parametrize("sampling", [{}, {"temperature": 1.2, "seed": 5}], ids=["greedy", "seeded"])
@pytest.mark.parametrize("at", [1, 40])
def test_an_engine_that_is_killed_in_the_midst_of_an_answer_is_not_noticed(calm, sampling, at):
    wanted, before = calm.answer(**sampling), calm.replays
    assert calm.answer(kill=calm.engine, at=at, **sampling) == wanted
    assert wanted[1] == TOKENS
    assert calm.replays == before + 1, "it was not killed in the midst of the answer"


def test_a_worker_that_is_killed_in_the_midst_of_an_answer_is_not_noticed(calm):
    wanted, before = calm.answer(), calm.replays
    assert calm.answer(kill=calm.worker, at=10) == wanted
    assert calm.replays == before + 1


def test_an_answer_by_chance_goes_on_from_the_tokens_that_were_sent(calm):
    before = calm.replays
    text, tokens = calm.answer(kill=calm.engine, at=10, temperature=1.0)
    assert tokens == TOKENS
    assert text
    assert calm.replays == before + 1


def test_json_by_chance_is_whole_although_its_engine_is_killed(calm):
    digits = {
        "type": "array",
        "items": {"type": "integer", "minimum": 0, "maximum": 9},
        "minItems": 400,
        "maxItems": 400,
    }
    form = {"type": "json_schema", "json_schema": {"name": "digits", "schema": digits}}
    before = calm.replays
    fields = {"response_format": form, "temperature": 1.0, "ignore_eos": False, "max_tokens": 1900}
    text, _ = calm.answer(kill=calm.engine, at=5, **fields)
    found = json.loads(text)
    assert len(found) == 400
    assert set(found) <= set(range(10))
    assert calm.replays == before + 1


def test_an_engine_that_is_killed_while_nothing_is_asked_is_replaced(calm):
    wanted = calm.answer()
    os.kill(calm.engine(), signal.SIGKILL)
    assert calm.answer() == wanted


def test_several_answers_at_a_time_outlive_their_engine(calm):
    """Side by side, engines add in another order, so texts may differ from those alone; but none breaks off, or has a gap."""
    text, tokens = calm.answer(kill=calm.engine, at=60, n=4, max_tokens=200, temperature=1.0, seed=3)
    assert tokens == 4 * 200
    assert text
