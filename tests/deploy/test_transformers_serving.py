"""Directories and adapters behind a gateway, on one model in memory; and what real ones say."""

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
from anyio.from_thread import start_blocking_portal

from synfire.base import paths
from synfire.base.errors import SynfireError
from synfire.deploy.listening import Listening
from synfire.deploy.planning import plan_models
from synfire.deploy.serving import Serving, serving
from synfire.deploy.settings import Settings
from synfire.engines.language.transformers import ENVIRONMENT
from synfire.testing.language_folders import write_tiny_adapter, write_tiny_folder
from synfire.zoo import find

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(ENVIRONMENT.missing()),
        reason=f"needs torch and transformers, here or in the environment that {ENVIRONMENT.variable} names",
    ),
]

TOKENS = 300


@dataclass
class Deployment:
    running: Serving

    def ask(self, model: str, prompt: str, **fields: Any) -> str:
        body = {"model": model, "prompt": prompt, "max_tokens": 24, "temperature": 0, **fields}
        answer = httpx.post(f"{self.running.addresses.url}/v1/completions", json=body, timeout=120).json()
        return str(answer["choices"][0]["text"])

    def chat(self, model: str, question: str, tokens: int = 24) -> str:
        messages = [{"role": "user", "content": question}]
        body = {"model": model, "messages": messages, "max_tokens": tokens, "temperature": 0}
        answer = httpx.post(f"{self.running.addresses.url}/v1/chat/completions", json=body, timeout=120).json()
        return str(answer["choices"][0]["message"]["content"])

    def processes(self) -> list[int]:
        """The engines' processes: the children of workers."""
        workers = self.running.deployment.workers.values()
        tasks = [task for each in workers for task in Path(f"/proc/{each.process.pid}/task").glob("*/children")]
        return [int(each) for task in tasks for each in task.read_text().split()]


def deployed(references: list[str], folder: Path, **options: Any) -> Iterator[Deployment]:
    with pytest.MonkeyPatch.context() as patch, start_blocking_portal() as portal:
        for name in ("home", "cache"):
            patch.setenv(f"SYNFIRE_{name.upper()}", str(folder / name))
        planned = plan_models([find(each, options) for each in references], "auto", 2)
        with portal.wrap_async_context_manager(serving(planned, Listening(), settings=Settings())) as running:
            yield Deployment(running)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A model with two adapters."""
    folder = tmp_path_factory.mktemp("models")
    write_tiny_folder(folder / "tiny", context=512)
    for seed, name in enumerate(("bard", "clerk")):
        write_tiny_adapter(folder / name, "tiny", seed=seed)
    yield from deployed([str(folder / name) for name in ("tiny", "bard", "clerk")], folder)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The shared trained models."""
    try:
        models = paths.data().parent / "models"
    except SynfireError as error:
        pytest.skip(str(error))
    if not (models / "tinyshake-5m-chat").is_dir():
        pytest.skip(f"no tinyshake-5m-chat in {models}")
    names = ("tinyshake-5m-chat", "tinyshake-5m-lora")
    yield from deployed([str(models / name) for name in names], tmp_path_factory.mktemp("real"))


def test_a_model_and_its_adapters_are_served_each_under_its_name_from_one_process(tiny: Deployment) -> None:
    texts = {name: tiny.ask(name, "the king said", ignore_eos=True) for name in ("tiny", "bard", "clerk")}
    assert len(set(texts.values())) == 3
    assert len(tiny.processes()) == 1
    assert {name: tiny.ask(name, "the king said", ignore_eos=True) for name in reversed(texts)} == texts


def test_a_chat_is_rendered_by_the_directorys_template(tiny: Deployment) -> None:
    assert tiny.chat("bard", "the king", 8) == tiny.ask("bard", "[user] the king\n[assistant]", max_tokens=8)


def test_what_the_engine_cannot_do_is_refused_by_name(tiny: Deployment) -> None:
    body = {"model": "tiny", "input": "the king"}
    answer = httpx.post(f"{tiny.running.addresses.url}/v1/embeddings", json=body, timeout=60)
    assert answer.status_code == 400
    assert "embed" in answer.json()["error"]["message"]


def test_an_engine_that_is_killed_in_the_midst_of_answers_of_all_its_models_is_not_noticed(tiny: Deployment) -> None:
    fields = {"max_tokens": TOKENS, "ignore_eos": True}
    wanted = {name: tiny.ask(name, "the queen", **fields) for name in ("tiny", "bard")}
    (victim,) = tiny.processes()
    body = {"model": "bard", "prompt": "the queen", "temperature": 0, "stream": True, **fields}
    text, killed = "", False
    with httpx.stream("POST", f"{tiny.running.addresses.url}/v1/completions", json=body, timeout=120) as response:
        for line in response.iter_lines():
            if line.startswith("data: {"):
                text += "".join(each["text"] for each in json.loads(line.removeprefix("data: "))["choices"])
                if text and not killed:
                    os.kill(victim, signal.SIGKILL)
                    killed = True
    assert text == wanted["bard"]
    assert tiny.ask("tiny", "the queen", **fields) == wanted["tiny"]


def test_trained_models_say_what_they_were_trained_to(real: Deployment) -> None:
    """The prefix is that on which five engines agree."""
    assert real.chat("tinyshake-5m-chat", "Speak, what news?").startswith("I'll be a pub'd, and")
    assert real.chat("tinyshake-5m-lora", "Speak, what news?").startswith("Forsooth, quoth the adapter")
