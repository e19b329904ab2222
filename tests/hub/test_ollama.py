"""Models come out of an Ollama store on disk as they are there, and nothing there is changed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from synfire.base.errors import UnknownName, UserError
from synfire.hub import resolve
from synfire.hub.files import Message
from synfire.hub.pull import pull
from synfire.hub.source import Into
from synfire.store.incoming import WrongDigest
from synfire.testing.weights import language_model

KIND = "application/vnd.ollama.image."
LAYERS = {
    "model": language_model(),
    "template": b"{{ .System }} {{ .Prompt }}",
    "system": b"You are Shakespeare.",
    "params": b'{"stop": ["<|im_end|>"], "temperature": 0.5}',
    "messages": b'[{"role": "user", "content": "hello"}]',
    "license": b"MIT",
}
CONFIG = (
    b'{"model_format":"gguf","model_family":"llama","model_type":"5.2M","file_type":"Q8_0","rootfs":{"type":"layers"}}'
)


class Ollama:
    """An Ollama store in the making."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def blob(self, content: bytes, kind: str) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        path = self.root / "blobs" / f"sha256-{digest}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}

    def manifest(self) -> dict[str, Any]:
        return {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": self.blob(CONFIG, "application/vnd.docker.container.image.v1+json"),
            "layers": [self.blob(content, KIND + kind) for kind, content in LAYERS.items()],
        }

    def write(self, where: str, manifest: dict[str, Any]) -> bytes:
        path = self.root / "manifests" / where
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(manifest, indent=1))
        return path.read_bytes()


@pytest.fixture
def ollama(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ollama:
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    return Ollama(tmp_path / "ollama")


def test_a_model_is_as_it_is_there(ollama: Ollama, into: Into) -> None:
    content = ollama.write("registry.ollama.ai/library/shake/q8", ollama.manifest())
    before = sorted(ollama.root.rglob("*"))
    found = pull("ollama://shake:q8", into)
    assert (str(found.model.name), found.model.source) == ("shake:q8", "ollama://shake:q8")
    files = resolve("shake:q8")
    assert files.digest == hashlib.sha256(content).hexdigest(), "its manifest has the digest that `ollama list` shows"
    assert files.weights.read_bytes() == LAYERS["model"]
    assert (files.template, files.system) == (LAYERS["template"].decode(), "You are Shakespeare.")
    assert files.params == {"stop": ["<|im_end|>"], "temperature": 0.5}
    assert (files.messages, files.licenses) == ((Message("user", "hello"),), ("MIT",))
    assert (files.described.model_type, files.described.file_type) == ("5.2M", "Q8_0")
    assert sorted(ollama.root.rglob("*")) == before


@pytest.mark.parametrize(
    ("text", "where", "name"),
    [
        ("ollama://me/shake", "registry.ollama.ai/me/shake/latest", "me/shake:latest"),
        ("ollama://hf.co/me/shake:q8", "hf.co/me/shake/q8", "hf.co/me/shake:q8"),
        ("ollama://registry.ollama.ai/library/shake", "registry.ollama.ai/library/shake/latest", "shake:latest"),
    ],
)
def test_names_are_those_of_ollama(ollama: Ollama, into: Into, text: str, where: str, name: str) -> None:
    ollama.write(where, ollama.manifest())
    assert str(pull(text, into).model.name) == name


@pytest.mark.parametrize("inline", [True, False])
def test_of_several_manifests_that_for_llama_cpp_is_taken(ollama: Ollama, into: Into, inline: bool) -> None:
    own = ollama.manifest()
    blob = ollama.blob(json.dumps(own).encode(), "x")
    child = own if inline else {"mediaType": own["mediaType"], "digest": blob["digest"]}
    ollama.write(
        "registry.ollama.ai/library/shake/latest",
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.ollama.manifest.list.v2+json",
            "manifests": [{"mediaType": "x", "digest": "y", "runner": "mlx"}, {**child, "runner": "llamacpp"}],
        },
    )
    pull("ollama://shake", into)
    resolve("shake").verify()


def test_an_unknown_model_is_answered_with_the_known_ones(ollama: Ollama, into: Into) -> None:
    ollama.write("registry.ollama.ai/library/shake/q8", ollama.manifest())
    ollama.write("registry.ollama.ai/me/other/latest", ollama.manifest())
    with pytest.raises(UnknownName, match=r"OLLAMA_MODELS names another.*known: me/other:latest, shake:q8"):
        pull("ollama://shake", into)


def test_a_damaged_blob_there_is_named(ollama: Ollama, into: Into) -> None:
    manifest = ollama.manifest()
    ollama.write("registry.ollama.ai/library/shake/latest", manifest)
    path = ollama.root / "blobs" / manifest["layers"][0]["digest"].replace(":", "-")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(WrongDigest, match=f"{path.name} is damaged.*pull the model again with Ollama"):
        pull("ollama://shake", into)
    assert into.store.names() == []


def test_a_blob_that_is_gone_is_named(ollama: Ollama, into: Into) -> None:
    manifest = ollama.manifest()
    ollama.write("registry.ollama.ai/library/shake/latest", manifest)
    path = ollama.root / "blobs" / manifest["layers"][0]["digest"].replace(":", "-")
    path.unlink()
    with pytest.raises(UserError, match=path.name):
        pull("ollama://shake", into)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"schemaVersion": 2}', '{"mediaType": "application/vnd.ollama.manifest.list.v2+json"}']
)
def test_a_manifest_that_is_none_is_named(ollama: Ollama, into: Into, text: str) -> None:
    path = ollama.root / "manifests" / "registry.ollama.ai" / "library" / "shake" / "latest"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(UserError, match="shake"):
        pull("ollama://shake", into)


def test_a_digest_that_would_leave_the_store_is_refused(ollama: Ollama, into: Into) -> None:
    manifest = ollama.manifest()
    manifest["layers"][0]["digest"] = "sha256:../../../../etc/passwd"
    ollama.write("registry.ollama.ai/library/shake/latest", manifest)
    with pytest.raises(UserError, match="64 hexadecimal digits"):
        pull("ollama://shake", into)
