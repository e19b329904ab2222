"""`examples/`: each chain is served as it stands, and the program beside it asks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from synfire.base import paths
from synfire.base.errors import UserError
from synfire.testing.language_models import write_tiny_language_model

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SYNFIRE_HOME", str(tmp_path / "home"))
    return tmp_path


@contextmanager
def served(chain: str, *models: str) -> Iterator[str]:
    """The URL of a deployment that serves an example's chain, with these models beside it."""
    command = [sys.executable, "-m", "synfire", "serve", str(EXAMPLES / chain / f"{chain}.toml"), *models]
    process = subprocess.Popen(
        [*command, "--port", "0", "--grpc-port", "-1", "--json"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.terminate()
        process.wait(60)


def program(name: str, *arguments: str) -> str:
    """What a program of the examples prints."""
    ran = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments], capture_output=True, text=True, timeout=100
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def data() -> Path:
    """The folder of public data; the test is skipped, with the reason, where there is none."""
    try:
        return paths.data()
    except UserError as error:
        pytest.skip(str(error))


def bard() -> str:
    """A small language model that was trained on Shakespeare."""
    pytest.importorskip("xllamacpp", reason="needs the extra `llama`")
    found = data().parent / "models" / "tinyshake-5m-chat-Q8_0.gguf"
    if not found.exists():
        pytest.skip(f"there is no {found}")
    return f"bard={found}"


def recordings() -> Sequence[tuple[Any, int]]:
    """Some recordings of N-MNIST's test split, with their digits."""
    with np.load(data() / "nmnist" / "nmnist.npz") as held:
        t, x, y, p = (held[f"test_{each}"] for each in ("t_us", "x", "y", "p"))
        ends, labels = held["test_offsets"], held["test_labels"]
    rows = np.stack([each.astype(np.int64) for each in (t, x, y, p)], 1)
    wanted = [int(np.flatnonzero(labels == digit)[0]) for digit in (0, 3, 8)]
    return [(rows[ends[place] : ends[place + 1]], int(labels[place])) for place in wanted]


@pytest.mark.slow
def test_an_event_cameras_recordings_become_decisions(tmp_path: Path) -> None:
    words = {0: "A 0: stop.", 3: "A 3: turn left.", 8: "A 8: turn right."}
    with served("event-camera") as url:
        for events, digit in recordings():
            np.save(tmp_path / "recording.npy", events)
            assert program("event-camera/ask.py", str(tmp_path / "recording.npy"), "--url", url) == words[digit]


@pytest.mark.slow
def test_the_http_node_of_the_n8n_workflow_is_answered_as_it_stands() -> None:
    workflow = json.loads((EXAMPLES / "n8n" / "workflow.json").read_text())
    names = {each["name"]: each for each in workflow["nodes"]}
    assert set(workflow["connections"]) | {"Decision"} == set(names)
    node = names["Ask synfire"]["parameters"]
    headers = {each["name"]: each["value"] for each in node["headerParameters"]["parameters"]}
    with served("event-camera") as url:
        asked = node["url"].replace("http://127.0.0.1:8000", url)
        answer = httpx.request(node["method"], asked, headers=headers | {"Content-Type": "application/json"}, content=node["jsonBody"], timeout=node["options"]["timeout"] / 1000)  # fmt: skip
    assert answer.status_code == 200, answer.text
    outputs = {each["name"]: each["data"] for each in answer.json()["outputs"]}
    assert outputs["decision"][0].startswith(f"A {outputs['digit'][0]}: ")


@pytest.mark.slow
def test_a_language_model_speaks_of_a_spoken_digit() -> None:
    model = bard()
    with served("spoken-digit", model) as url:
        sound = data() / "spoken-digits" / "recordings" / "7_jackson_0.wav"
        heard, text = program("spoken-digit/ask.py", str(sound), "--url", url).split(": ", 1)
    assert heard == "heard seven"
    assert len(text) > 10


@pytest.mark.slow
def test_a_question_is_answered_from_passages_that_belong_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETRIEVAL_FILE", str(tmp_path / "passages.db"))
    model = bard()
    embedder = write_tiny_language_model(tmp_path / "embedder.gguf", None, more={"llama.pooling_type": 1})
    with served("retrieval", model, f"embedder={embedder}") as url:
        built = program("retrieval/build.py", str(EXAMPLES / "retrieval" / "passages.txt"), "--url", url)
        assert built.startswith("12 passages in ")
        told = program("retrieval/ask.py", "What is a spare, and how is a recovery done?", "--url", url)
    titles, text = told.removeprefix("from ").split(": ", 1)
    assert {"spare", "recovery"} <= set(titles.split(", "))
    assert text
