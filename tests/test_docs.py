"""The pages `docs/add-a-….md` run as they are printed, each in a process of its own: registries are for good."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from synfire.base import paths
from synfire.cli.infer import run_here
from synfire.devices import DEVICES
from synfire.engines import ENGINES
from synfire.formats import FORMATS
from synfire.gateway.api import APIS
from synfire.graph import flatten
from synfire.graph.passes import simplify
from synfire.ops import OPERATORS
from synfire.wire.oip import InferResponse, build_infer_response, parse_infer_request
from synfire.zoo import load

DOCS = Path(__file__).parents[1] / "docs"


def code(page: str) -> str:
    """The page's Python, from top to bottom."""
    blocks: list[str] = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    assert blocks, f"{page} shows no code"
    return "\n".join(blocks)


def run(*parts: str, folder: Path) -> str:
    """Run code as one program; what it printed."""
    program = folder / "program.py"
    program.write_text("\n".join(parts))
    numba = os.environ.get("NUMBA_CACHE_DIR") or str(paths.cache() / "numba")
    environment = {**os.environ, "SYNFIRE_HOME": str(folder), "NUMBA_CACHE_DIR": numba}
    command = [sys.executable, str(program)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_operator_of_the_page_passes_the_suite_and_its_kernel_has_its_bits(tmp_path: Path) -> None:
    check = """
from synfire.engines import ENGINES
from synfire.graph import Graph, Synapse
from synfire.ops import Clock, Signal
from synfire.testing.engines import check_engine
from synfire.testing.operators import check_operator

signal = Signal((5,), clock=Clock.STEP)
check_operator(Rectify(0.25), signal, rng=np.random.default_rng(0))
graph = Graph({"r": Rectify(0.25)}, (Synapse("x", "r"),), {"x": signal}, {"y": "r"})
check_engine(ENGINES["cpu"](), graph, {"x": np.random.default_rng(1).normal(size=(6, 3, 5)).astype(np.float32)}, 6)
from synfire.engines.cpu.step import STEPS
print(STEPS[Rectify].__name__)
"""
    assert run(code("add-an-operator.md"), code("add-a-kernel.md"), check, folder=tmp_path) == "RectifyStep\n"


def test_the_format_of_the_page_is_read_with_its_options(tmp_path: Path) -> None:
    check = """
from synfire.formats import load

rng = np.random.default_rng(0)
np.savez("net.dense.npz", *(rng.normal(size=s).astype(np.float32) for s in ((8, 4), (3, 8))))
graph = load("net.dense.npz", steps=5)
assert graph.steps == 5 and list(graph.operators) == ["encode", "fc0", "lif0", "fc1", "lif1", "rate"]
for options, said in (({"dt_s": 1}, "its options: steps"), ({}, "should hold matrices")):
    try:
        if not options:
            np.savez("net.dense.npz", np.zeros(3))
        load("net.dense.npz", **options)
    except UserError as error:
        assert said in str(error), error
        print(said)
"""
    assert run(code("add-a-format.md"), check, folder=tmp_path) == "its options: steps\nshould hold matrices\n"


def test_the_protocol_of_the_page_answers_over_http(tmp_path: Path) -> None:
    check = """
import asyncio
import httpx
from synfire.gateway.app import build_app
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.echo import EchoRoute, echo_graph


class Four(EchoRoute):
    def __init__(self):
        super().__init__()
        self.graph = echo_graph((4,))


async def main():
    plane = DataPlane()
    plane.add("echo", Four())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(build_app(plane)), base_url="http://here") as http:
        print((await http.get("/names")).json())
        print((await http.post("/label/echo", json={"values": [0, 1, 7, 2]})).json())
        print((await http.post("/label/echo", json={"values": [0]})).status_code)
        print("/label/{model}" in (await http.get("/openapi.json")).json()["paths"])


asyncio.run(main())
"""
    said = run(code("add-a-protocol.md"), check, folder=tmp_path).splitlines()
    assert said == ["['echo']", "{'label': 2}", "400", "True"]


def test_the_device_of_the_page_describes_itself_or_says_why_not(tmp_path: Path) -> None:
    check = """
from synfire.engines import ENGINES

try:
    DEVICES["crossbar"].describe()
except PermanentError as error:
    print(str(error).rpartition("; ")[2])
Crossbar.place = Path("crossbar")
Crossbar.place.write_text("X1 64")
print(DEVICES["crossbar"].describe().memory_bytes)
"""
    assert run(code("add-a-device.md"), check, folder=tmp_path) == "load its driver, or use cpu\n4194304\n"


def test_the_link_of_the_page_passes_the_suite(tmp_path: Path) -> None:
    run(code("add-a-link.md"), folder=tmp_path)


@pytest.mark.slow
def test_the_workers_of_the_page_answer(tmp_path: Path) -> None:
    assert run(code("add-a-deployment-target.md"), folder=tmp_path).startswith("{'")


def test_every_registry_has_a_page_that_names_its_entry_points() -> None:
    pages = "".join(page.read_text() for page in DOCS.glob("add-a*.md"))
    for registry in (OPERATORS, FORMATS, DEVICES, ENGINES, APIS):
        assert registry._group in pages, f"no page tells of the entry point group {registry._group}"


def test_the_readmes_curl_line_has_the_answer_that_stands_below_it() -> None:
    asked, answered = re.findall(
        r"/v2/models/svgg-digits/infer -d '(.*?)'\n(\{.*?),…\n", (DOCS.parent / "README.md").read_text(), re.DOTALL
    )[0]
    graph = simplify(flatten(load("svgg-digits")))
    output = run_here(graph, parse_infer_request(asked.encode()).inputs)["output"]
    said = build_infer_response(InferResponse("svgg-digits", {"output": output}))[0].decode()
    assert said.startswith(answered)
    assert int(output[0].argmax()) == 3
