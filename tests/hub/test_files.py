"""A name or a path leads to a model's files, and what is wrong with them is told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from synfire.base.errors import PermanentError, UnknownName, UserError
from synfire.formats.modelfile import parse_modelfile
from synfire.hub import ModelFiles, resolve
from synfire.hub.create import create
from synfire.hub.files import is_weights
from synfire.hub.pull import pull
from synfire.hub.source import Into
from synfire.store import ModelName
from synfire.store.layers import GGUF, PARAMS, SAFETENSORS, decode_manifest, encode_manifest, layer_of, manifest_of
from synfire.testing.weights import TEMPLATE, adapter, language_model, write_adapter_folder, write_folder

PAGE = Path(__file__).parents[2] / "docs" / "models.md"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "shake.gguf"
    path.write_bytes(language_model())
    return path


def test_the_page_says_what_is_so(file: Path, into: Into) -> None:
    """The page's code runs as it is printed."""
    pull(str(file), into, ModelName.parse("shake:q8"))
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, object] = {}
    exec(code, names)  # what it runs is a page of this repository
    files = names["files"]
    assert isinstance(files, ModelFiles)
    assert (files.name, files.is_gguf, files.is_adapter, files.chat_template) == ("shake:q8", True, False, TEMPLATE)


def test_a_file_is_found_by_its_path_and_left_where_it_is(file: Path, into: Into) -> None:
    files = resolve(file)
    assert (files.name, files.weights, files.paths) == ("shake", file, {GGUF: (file,)})
    assert (files.chat_template, files.system, dict(files.params), files.messages) == (TEMPLATE, None, {}, ())
    assert not into.store.home.exists()
    files.verify()


def test_a_directory_is_found_by_its_path_and_left_where_it_is(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "Shake-1.5")
    files = resolve(str(folder))
    assert (files.name, files.weights, files.is_gguf) == ("Shake-1.5", folder, False)
    assert files.paths[SAFETENSORS] == (folder / "model.safetensors",)
    files.verify()


def test_an_adapter_is_found_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "lora.gguf").write_bytes(adapter())
    folder = write_adapter_folder(tmp_path / "peft")
    assert resolve(tmp_path / "lora.gguf").adapters == (tmp_path / "lora.gguf",)
    assert resolve(folder).adapters == (folder,)
    assert all(resolve(each).is_adapter for each in (tmp_path / "lora.gguf", folder))


def test_a_name_comes_before_a_path_and_a_path_with_a_dot_is_one(
    file: Path, tmp_path: Path, into: Into, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull(str(file), into)
    write_folder(tmp_path / "shake")
    monkeypatch.chdir(tmp_path)
    assert resolve("shake").is_gguf
    assert not resolve("./shake").is_gguf


def test_a_model_without_template_has_none(file: Path, tmp_path: Path) -> None:
    file.write_bytes(language_model(template=None))
    assert resolve(file).chat_template is None
    assert resolve(write_folder(tmp_path / "base", template=None)).chat_template is None


def test_what_is_no_model_is_told(tmp_path: Path, into: Into, file: Path) -> None:
    pull(str(file), into)
    (tmp_path / "text").write_text("no model")
    with pytest.raises(UserError, match="is no model of weights: neither"):
        resolve(tmp_path / "text")
    with pytest.raises(UnknownName, match="known: shake:latest"):
        resolve("nothing")


def test_whether_it_is_one_can_be_asked(file: Path, tmp_path: Path, into: Into) -> None:
    pull(str(file), into)
    write_folder(tmp_path / "folder")
    assert all(is_weights(each) for each in ("shake", "shake:latest", str(file), str(tmp_path / "folder")))
    assert not any(is_weights(each) for each in ("svgg-digits", "shake:q8", str(tmp_path), "./none", "a b"))


def test_a_changed_file_is_another_model(file: Path) -> None:
    before = resolve(file)
    file.write_bytes(language_model(seed=1))
    assert resolve(file).digest != before.digest
    with pytest.raises(UserError, match=r"shake\.gguf of shake is damaged"):
        before.verify()


@pytest.mark.parametrize("damage", ["gone", "cut off"])
def test_a_blob_that_is_gone_is_told_with_where_to_get_it(file: Path, into: Into, damage: str) -> None:
    pull(str(file), into)
    weights = resolve("shake").weights
    weights.unlink() if damage == "gone" else weights.write_bytes(b"short")
    with pytest.raises(UserError, match=r"shake:latest is not whole.*synfire pull .*shake\.gguf"):
        resolve("shake")
    pull("shake", into)
    resolve("shake").verify()


def test_a_blob_with_other_bytes_is_found_by_reading_all(file: Path, into: Into) -> None:
    pull(str(file), into)
    weights = resolve("shake").weights
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match=r"of shake:latest is damaged.*pull it again"):
        resolve("shake").verify()
    pull("shake", into)
    resolve("shake").verify()


def test_a_damaged_manifest_is_cured_by_pulling(file: Path, into: Into) -> None:
    manifest = into.store.blobs.path(pull(str(file), into).model.manifest)
    manifest.write_bytes(b"damaged")
    with pytest.raises(PermanentError, match="is corrupted"):
        resolve("shake")
    pull("shake", into)
    resolve("shake").verify()


def test_damaged_parameters_are_told(file: Path, tmp_path: Path) -> None:
    (tmp_path / "params").write_bytes(b"[1, 2")
    files = resolve(file)
    broken = ModelFiles("x", "0" * 64, files.manifest, {PARAMS: (tmp_path / "params",)}, files.described)
    with pytest.raises(UserError, match=f"the layer {PARAMS} of x is damaged"):
        broken.params  # noqa: B018


def test_a_stored_directory_is_laid_out_once_and_by_two_at_once(tmp_path: Path, into: Into) -> None:
    pull(str(write_folder(tmp_path / "base", shards=2)), into)
    first, second = resolve("base"), resolve("base")
    assert first.weights == second.weights
    assert sorted(each.name for each in first.weights.parent.iterdir()) == ["model"]


def test_a_manifest_of_another_place_cannot_lead_out_of_its_directory() -> None:
    layer = layer_of(SAFETENSORS, b"x", "../../escaped")
    with pytest.raises(UserError, match="does not stay in its folder"):
        decode_manifest(encode_manifest(manifest_of(layer_of("x", b""), [layer])), "there")


def test_a_created_models_adapter_goes_with_it(file: Path, tmp_path: Path, into: Into) -> None:
    (tmp_path / "lora.gguf").write_bytes(adapter())
    create(ModelName("bard"), parse_modelfile("FROM shake.gguf\nADAPTER lora.gguf"), tmp_path, into)
    files = resolve("bard")
    assert (len(files.adapters), files.is_adapter, files.is_gguf) == (1, False, True)
