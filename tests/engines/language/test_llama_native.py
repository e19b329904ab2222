"""llama.cpp compiled for the processor that is here: found by its content, compiled once, and as good as the wheel's.

The conformance suite needs one that was compiled before, by `synfire build` with SYNFIRE_LLAMA_SOURCE, and lies under SYNFIRE_CACHE.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from synfire.base import paths
from synfire.base.errors import PermanentError, UserError
from synfire.deploy.whole import engine_of
from synfire.engines import ENGINES
from synfire.engines.language import llama_build
from synfire.engines.language.llama_native import NAME, arguments
from synfire.engines.profiles.offers import whole_engines
from synfire.engines.streaming import StreamingProgram
from synfire.formats import load
from synfire.graph import Graph
from synfire.ops.language_model import Generation
from synfire.plan.plan import stage_graph
from synfire.testing.language_engines import CHECKS, answer, gives_vectors, text_of
from synfire.testing.language_models import write_tiny_language_model

COMPILED = paths.cache() / "llama.cpp"
"""Where it is, while tests have a SYNFIRE_CACHE of their own."""

ORDER = {"model": "/m.gguf", "adapters": [], "context": 100, "streams": 8, "pooling": ""}

CMAKE = """#!{python}
import os, pathlib, sys
words = sys.argv[1:]
with open(os.environ["CMAKE_LOG"], "a") as log:
    print(*words, file=log)
if "-B" in words:
    sys.exit()
folder = pathlib.Path(words[words.index("--build") + 1])
print("[ 50%] Building\\n[3/4] Linking", flush=True)
if os.environ.get("CMAKE_FAILS"):
    sys.exit("no space left")
server = folder / "bin" / "llama-server"
server.parent.mkdir()
server.write_text(os.environ.get("SERVER", ""))
server.chmod(0o755)
"""
"""Says what it was asked, how far it is, and makes a server of what `SERVER` says."""

SERVER = f"""#!{sys.executable}
import socketserver, sys
from http.server import BaseHTTPRequestHandler

class Handler(BaseHTTPRequestHandler):
    def address_string(self): return "somebody"
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

socketserver.UnixStreamServer(sys.argv[sys.argv.index("--host") + 1], Handler).serve_forever()
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sources, and a cmake that compiles nothing."""
    folder = tmp_path / "llama.cpp"
    (folder / "tools" / "server").mkdir(parents=True)
    (folder / "CMakeLists.txt").write_text("project(llama)")
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "cmake").write_text(CMAKE.format(python=sys.executable))
    (tools / "cmake").chmod(0o755)
    (tools / "c++").symlink_to(tools / "cmake")
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    monkeypatch.setenv("CMAKE_LOG", str(tmp_path / "asked"))
    monkeypatch.setattr(llama_build, "_home", lambda: tmp_path / "compiled")
    monkeypatch.setenv(llama_build.SOURCE, str(folder))
    llama_build._content.cache_clear()
    return folder


@pytest.fixture
def told() -> list[tuple[str, float]]:
    return []


def compiled(told: list[tuple[str, float]]) -> Path:
    llama_build._content.cache_clear()
    return llama_build.build(lambda *each: told.append(each))


def test_it_is_compiled_once_for_its_sources(source: Path, told: list[tuple[str, float]], tmp_path: Path) -> None:
    assert llama_build.built() is None
    server = compiled(told)
    assert [share for _, share in told] == [0.0, 0.5, 0.75, 1.0]
    assert os.access(server, os.X_OK)
    assert compiled(told) == server == llama_build.built()
    asked = (tmp_path / "asked").read_text().splitlines()
    assert len(asked) == 2
    assert "-DGGML_NATIVE=ON" in asked[0]
    (source / "tools" / "server" / "more.cpp").write_text("int more;")
    assert compiled(told) != server
    assert len((tmp_path / "asked").read_text().splitlines()) == 4
    assert sorted(each.name for each in server.parents[1].iterdir()) == sorted(
        each.name for each in server.parents[1].iterdir() if (each / llama_build.SERVER).is_file()
    ), "nothing else is left behind"


def test_what_was_compiled_is_found_without_its_sources_on_this_processor_alone(
    source: Path, told: list[tuple[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = compiled(told)
    monkeypatch.delenv(llama_build.SOURCE)
    assert llama_build.built() == server
    monkeypatch.setattr(llama_build, "_processor", lambda: "another")
    assert llama_build.built() is None
    assert f"name llama.cpp's sources in {llama_build.SOURCE}" in llama_build.refusal()
    with pytest.raises(UserError, match="cannot be compiled here: none is compiled for this processor"):
        compiled(told)


def test_a_compiler_that_fails_is_quoted_and_leaves_nothing(
    source: Path, told: list[tuple[str, float]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CMAKE_FAILS", "1")
    with pytest.raises(UserError, match=r"(?s)cannot be compiled; the last words of cmake:.*no space left"):
        compiled(told)
    assert list((tmp_path / "compiled").iterdir()) == []


def test_missing_tools_and_sources_that_are_none_are_named(
    source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert "cmake and a C++ compiler cannot be found" in llama_build.refusal()
    monkeypatch.setenv(llama_build.SOURCE, str(tmp_path))
    with pytest.raises(UserError, match=r"set it to llama\.cpp's sources"):
        llama_build.refusal()


def test_once_it_is_compiled_it_goes_before_the_wheel(
    source: Path, told: list[tuple[str, float]], graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synfire.engines.language.llama.LlamaEngine.missing", classmethod(lambda cls: ""))
    names = [each.name for each in whole_engines()]
    assert names.index("llama.cpp") < names.index(NAME)
    assert engine_of(graph) == "llama.cpp"
    ENGINES[NAME].build_ahead(graph, lambda *_: None)  # type: ignore[attr-defined]
    assert engine_of(graph) == NAME


def test_a_server_that_was_compiled_is_begun_at_a_socket_and_ended(
    source: Path, told: list[tuple[str, float]], graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVER", SERVER)
    made = native(graph)
    with pytest.raises(PermanentError, match=f"--profile {NAME} makes it again"):
        made.warm()
    server = compiled(told)
    made.warm()
    pid = made.pid  # type: ignore[attr-defined]
    assert stat.S_ISSOCK(Path(made.address).stat().st_mode)  # type: ignore[attr-defined]
    made.rest()
    assert not Path(f"/proc/{pid}").exists()
    server.write_text(f"#!{sys.executable}\nraise SystemExit('unknown architecture')")
    with pytest.raises(PermanentError, match=r"(?s)llama-server has ended with code 1|unknown architecture"):
        made.warm()


def test_what_the_server_is_started_with_says_what_the_wheel_is_told() -> None:
    plain = list(arguments(ORDER, 3))
    assert plain[plain.index("--ctx-size") + 1] == 800
    assert not {"--lora", "--embedding"} & set(plain)
    whole = list(arguments({**ORDER, "adapters": ["/a", "/b"], "pooling": "mean"}, 3))
    assert whole[whole.index("--lora") + 1] == "/a,/b"
    assert whole[whole.index("--ubatch-size") + 1] == 104, "streams divide a batch"


def native(graph: Graph) -> StreamingProgram:
    made = ENGINES[NAME].program(graph, graph.operator("model"))  # type: ignore[attr-defined]
    assert isinstance(made, StreamingProgram)
    return made


@pytest.fixture(scope="module")
def real(graph: Graph) -> Iterator[StreamingProgram]:
    """The tiny model on a llama.cpp that was compiled here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(llama_build, "_home", lambda: COMPILED)
        if llama_build.built() is None:
            pytest.skip(f"needs a llama.cpp that was compiled: {llama_build.refusal() or 'synfire build'}")
        made = native(stage_graph(graph, graph.order()))
        yield made
        made.rest()


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
def test_a_compiled_llama_cpp_conforms(check: str, real: StreamingProgram) -> None:
    CHECKS[check](real)


@pytest.mark.slow
def test_a_compiled_llama_cpp_answers_as_the_wheel(real: StreamingProgram, program: StreamingProgram) -> None:
    asked = Generation("the king said", 12, 0.0)
    assert text_of(answer(real, asked)) == text_of(answer(program, asked))


@pytest.mark.slow
def test_a_compiled_llama_cpp_gives_vectors(real: StreamingProgram, tmp_path: Path) -> None:
    vectors = load(write_tiny_language_model(tmp_path / "tiny.gguf", None, more={"llama.pooling_type": 1}), streams=3)
    made = native(stage_graph(vectors, vectors.order()))
    try:
        gives_vectors(made)
    finally:
        made.rest()
