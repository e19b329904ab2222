"""Ollama's own Python client, unmodified, against `synfire serve` without a model: those of the store are loaded when they are called."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from synfire.bench.command import commanded
from synfire.hub.pull import pull
from synfire.hub.source import Into
from synfire.store import ModelName, ModelStore
from synfire.testing.language_models import TOOLS_TEMPLATE, write_tiny_language_model

pytestmark = pytest.mark.slow

BEGIN = """
import json, sys
import ollama
client = ollama.Client(sys.argv[1])
greedy = {"temperature": 0, "num_predict": 6}
chat = [{"role": "user", "content": "the king said"}]
"""


Ask = Callable[[str], Any]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A deployment of a store of its own, with a model for chats, `tiny:q8`, one without a template, and one for vectors."""
    pytest.importorskip("xllamacpp", reason="needs the extra `llama`")
    folder: Path = tmp_path_factory.mktemp("store")
    files = {
        "tiny:q8": write_tiny_language_model(folder / "tiny.gguf", TOOLS_TEMPLATE, 1024),
        "base": write_tiny_language_model(folder / "base.gguf", None),
        "vectors": write_tiny_language_model(folder / "vectors.gguf", None, more={"llama.pooling_type": 1}),
    }
    with commanded([]) as running:
        for name, file in files.items():  # while it runs
            pull(str(file), Into(ModelStore(running.home)), ModelName.parse(name))
        yield running.url


@pytest.fixture(scope="module")
def ask(store: str) -> Ask:
    """Runs a script in the clients' environment; what its last line says. Skips where the package is missing there."""
    python = os.environ.get("SYNFIRE_CLIENTS_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import ollama"], capture_output=True, check=False).returncode:
        pytest.skip("ollama is not installed; set SYNFIRE_CLIENTS_PYTHON to an interpreter that has it")

    def ask(script: str) -> Any:
        command = [python, "-c", BEGIN + script, store]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return ask


def test_models_are_listed_and_shown(ask: Ask) -> None:
    found = ask(
        """
shown = client.show("tiny:q8")
print(json.dumps({
    "names": [each.model for each in client.list().models], "family": shown.details.family, "capable": shown.capabilities,
    "architecture": shown.modelinfo["general.architecture"], "template": "tools" in shown.template,
}))
""",
    )
    assert found["names"][:3] == ["base:latest", "tiny:q8", "vectors:latest"]
    assert (found["family"], found["architecture"], found["template"]) == ("llama", "llama", True)
    assert found["capable"] == ["completion", "tools"]


def test_texts_and_chats_are_whole_and_in_pieces(ask: Ask) -> None:
    found = ask(
        """
whole = client.generate("tiny:q8", "the king", options=greedy)
parts = list(client.generate("tiny:q8", "the king", options=greedy, stream=True))
said = client.chat("tiny:q8", chat, options=greedy)
told = list(client.chat("tiny:q8", chat, options=greedy, stream=True))
print(json.dumps({
    "whole": whole.response, "parts": "".join(each.response for each in parts), "said": said.message.content,
    "told": "".join(each.message.content for each in told), "reason": whole.done_reason, "count": whole.eval_count,
    "durations": min(whole.total_duration, whole.prompt_eval_count), "last": parts[-1].done, "context": len(whole.context),
    "prompt": whole.prompt_eval_count,
}))
""",
    )
    assert found["whole"] == found["parts"] != ""
    assert found["said"] == found["told"] != ""
    assert (found["reason"], found["count"], found["last"]) == ("length", 6, True)
    assert found["durations"] > 0
    assert found["context"] == found["prompt"] + 6


def test_the_context_of_an_answer_goes_on(ask: Ask) -> None:
    found = ask(
        """
first = client.generate("base", "the king", options=greedy)
second = client.generate("base", " said", context=first.context, options=greedy)
at_once = client.generate("base", "the king" + first.response + " said", options=greedy, raw=True)
print(json.dumps([second.prompt_eval_count, first.prompt_eval_count, at_once.response, second.response]))
""",
    )
    assert found[0] > found[1] + 6
    assert found[3]


def test_models_are_loaded_told_and_unloaded(ask: Ask) -> None:
    found = ask(
        """
client.generate("base", keep_alive=-1)
until = {each.model: each.expires_at.year for each in client.ps().models}
reason = client.generate("base", keep_alive=0).done_reason
import time
end = time.monotonic() + 60
while "base:latest" in [each.model for each in client.ps().models] and time.monotonic() < end:
    time.sleep(0.1)
print(json.dumps([until["base:latest"], reason, [each.model for each in client.ps().models]]))
""",
    )
    assert found[0] > 2100
    assert found[1] == "unload"
    assert "base:latest" not in found[2]


def test_models_are_made_copied_and_removed(ask: Ask, tmp_path: Path) -> None:
    file = write_tiny_language_model(tmp_path / "other.gguf", None)
    found = ask(
        f"""
client.create("bard", from_="tiny:q8", system="Be brief.", parameters={{"temperature": 0, "stop": ["x", "y"]}})
shown = client.show("bard")
digest = client.create_blob({str(file)!r})
steps = [each.status for each in client.create("other", files={{"other.gguf": digest}}, stream=True)]
client.copy("other", "copied")
answered = client.generate("copied", "the king", options=greedy).eval_count
client.generate("copied", keep_alive=0)
client.delete("other")
print(json.dumps([shown.parameters, steps[-1], answered, [each.model for each in client.list().models]]))
""",
    )
    assert found[0].split() == ["temperature", "0.0", "stop", '"x"', "stop", '"y"']
    assert (found[1], found[2]) == ("success", 6)
    assert "bard:latest" in found[3]
    assert "copied:latest" in found[3]
    assert "other:latest" not in found[3]


def test_json_tools_and_vectors(ask: Ask) -> None:
    found = ask(
        """
schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 9}}, "required": ["n"], "additionalProperties": False}
held = client.generate("tiny:q8", "a number", format=schema, options={"num_predict": 40, "temperature": 0}).response
vectors = client.embed("vectors", ["the king", "a queen"]).embeddings
old = client.embeddings("vectors", "the king").embedding
def add(a: int, b: int) -> int:
    '''Add.'''
    return a + b
said = client.chat("tiny:q8", chat, tools=[add], options=greedy).message
print(json.dumps([held, [len(each) for each in vectors], abs(sum(x * x for x in vectors[0]) - 1) < 1e-3, max(abs(a - b) for a, b in zip(old, vectors[0])) < 1e-4, said.role]))
""",
    )
    assert found[0].startswith("{")
    assert len(set(found[1])) == 1
    assert found[2:] == [True, True, "assistant"]


def test_what_is_wrong_is_told_in_ollamas_way(ask: Ask) -> None:
    found = ask(
        """
said = []
def refused(call):
    try:
        call()
    except ollama.ResponseError as error:
        said.append([error.status_code, error.error])
refused(lambda: client.generate("nothing", "x"))
refused(lambda: client.generate("base", "x", options={"temprature": 1}))
refused(lambda: client.generate("base", "x", options={"num_ctx": 10**6}))
refused(lambda: client.chat("base", chat))
refused(lambda: client.pull("/etc/hosts"))
refused(lambda: client.delete("nothing"))
refused(lambda: client.generate("base", "x", images=["aGk="]))
print(json.dumps(said))
""",
    )
    assert [status for status, _ in found] == [404, 400, 400, 400, 400, 404, 400]
    texts = [text for _, text in found]
    assert "model 'nothing' not found, try pulling it first" in texts[0]
    assert "did you mean 'temperature'?" in texts[1]
    assert "PARAMETER num_ctx in its Modelfile" in texts[2]
    assert "chat_template" in texts[3]
    assert "reads no files for its callers" in texts[4]
    assert "leave images out" in texts[6]


def test_changes_are_for_callers_of_this_machine_alone(store: str) -> None:
    import httpx

    assert os.environ.get("SYNFIRE_API_KEY") is None
    with httpx.Client(base_url=store, trust_env=False) as client:
        body = {"source": "base", "destination": "stolen"}
        for headers in ({"origin": "https://elsewhere.example"}, {"host": "elsewhere.example"}):
            answer = client.post("/api/copy", json=body, headers=headers)
            assert (answer.status_code, "or call it from its own machine" in answer.text) == (400, True)
        assert client.head("/").status_code == 200
        assert client.head(f"/api/blobs/sha256:{'0' * 64}").status_code == 404
