"""A GGUF file as a graph of one operator."""

from __future__ import annotations

import hashlib

import pytest

from synfire.base.errors import UserError
from synfire.formats import load, options_of
from synfire.formats.bundle import read_bundle, write_bundle
from synfire.formats.weights import digest_of, located
from synfire.ops import Clock, Kind, Signal
from synfire.ops.language_model import LanguageModel
from synfire.testing.language_models import TEMPLATE, TINY, write_tiny_language_model


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SYNFIRE_HOME", str(tmp_path / "home"))


@pytest.fixture
def tiny(tmp_path):
    return write_tiny_language_model(tmp_path / "tiny.gguf")


def test_a_file_is_one_operator_by_the_digest_of_its_content(tiny):
    graph = load(tiny)
    (model,) = graph.operators.values()
    assert isinstance(model, LanguageModel)
    assert model.weights == (("tiny.gguf", hashlib.sha256(tiny.read_bytes()).hexdigest()),)
    assert (model.context, model.streams, model.weight_bytes) == (256, 8, tiny.stat().st_size)
    assert model.token_bytes == 2 * TINY.layers * TINY.width * 2
    assert graph.open_ended
    assert graph.output_signals() == {"pieces": Signal((), Kind.BYTES, Clock.STEP)}


def test_the_card_holds_what_it_takes_to_render_a_chat(tiny):
    card = load(tiny).metadata["language"]
    assert (card["chat_template"], card["bos_token"], card["eos_token"]) == (TEMPLATE, "<s>", "</s>")
    assert (card["architecture"], card["precision"], card["trained_context"]) == ("llama", "F32", 256)


def test_a_graph_of_it_goes_into_a_bundle_and_back(tiny, tmp_path):
    write_bundle(load(tiny), tmp_path / "bundle")
    again = read_bundle(tmp_path / "bundle")
    assert again.content_digest() == load(tiny).content_digest()
    assert again.metadata == load(tiny).metadata


def test_context_and_streams_are_options(tiny):
    assert options_of(tiny) == ("context", "streams")
    (model,) = load(tiny, context=64, streams=2).operators.values()
    assert (model.context, model.streams) == (64, 2)
    with pytest.raises(UserError, match="trained for 256 tokens"):
        load(tiny, context=512)
    with pytest.raises(UserError, match="streams 0"):
        load(tiny, streams=0)


def test_what_is_no_whole_language_model_is_refused_with_the_way_on(tmp_path, tiny):
    content = tiny.read_bytes()
    other = tmp_path / "other.gguf"
    with pytest.raises(UserError, match="is an adapter"):
        load(write_tiny_language_model(other, more={"general.type": "adapter"}))
    with pytest.raises(UserError, match="part 2 of 3; name the first one"):
        load(write_tiny_language_model(other, more={"split.no": 1, "split.count": 3}))
    other.write_bytes(content.replace(b"tokenizer.ggml.model", b"tokenizer.ggml.modem"))
    with pytest.raises(UserError, match="no tokenizer, so it is no language model"):
        load(other)
    other.write_bytes(content[:-100])
    with pytest.raises(UserError, match="cut off"):
        load(other)


def test_a_file_is_read_once_as_long_as_it_stays_as_it_is(tiny, monkeypatch):
    digest = digest_of(tiny)
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("it was read again"))
    assert digest_of(tiny) == digest
    assert located(digest) == tiny


def test_content_that_nobody_has_seen_is_not_found():
    with pytest.raises(UserError, match="serve the model from its path again"):
        located("0" * 64)
