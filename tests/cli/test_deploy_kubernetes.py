"""`synfire deploy kubernetes --render`, and that the commands in its containers are commands of ours."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from synfire.cli.app import build
from synfire.kubernetes.manifests import gateway, plugin, workers
from synfire.kubernetes.manifests.description import Description


def test_a_stream_of_documents_is_written(run: Callable) -> None:
    ran = run("deploy", "kubernetes", "svgg-digits", "--render", "--priority", "7", "--kubernetes", "1.20")
    found = list(yaml.safe_load_all(ran.out))
    assert [each["kind"] for each in found] == [
        *("ServiceAccount", "PriorityClass", "ConfigMap", "Secret", "NetworkPolicy", "NetworkPolicy", "NetworkPolicy"),
        *("Service", "Service", "Service", "StatefulSet", "StatefulSet", "PodDisruptionBudget"),
    ]
    assert found[-1]["apiVersion"] == "policy/v1beta1"
    assert "the Secret has new keys" in ran.err
    assert found[-2]["spec"]["template"]["spec"]["containers"][0]["image"].startswith("synfire:0.")


def test_the_same_documents_come_as_json(run: Callable) -> None:
    found = run("deploy", "kubernetes", "svgg-digits", "--render", "--secret", "mine", "--json").json["documents"]
    assert "Secret" not in [each["kind"] for each in found]
    assert found[-1]["apiVersion"] == "policy/v1"


def test_a_folder_is_written_and_written_again_with_the_same_keys(run: Callable, tmp_path: Path) -> None:
    arguments = ("deploy", "kubernetes", "svgg-digits", "--render", "--out", str(tmp_path / "m"))
    assert f"kubectl apply -k {tmp_path}/m/overlays/kubernetes-1.21" in run(*arguments).out
    secret = (tmp_path / "m" / "base" / "secret.yaml").read_text()
    written = run(*arguments, "--spares", "5", "--json").json["files"]
    assert {"base/secret.yaml", "overlays/one-node/kustomization.yaml"} <= set(written)
    assert (tmp_path / "m" / "base" / "secret.yaml").read_text() == secret
    assert "replicas: 5\n" in (tmp_path / "m" / "base" / "workers.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["kubernetes", "svgg-digits"], "add --render"),
        (["nomad", "svgg-digits", "--render"], "there is no target named 'nomad'; known: kubernetes"),
        (["kubernetes", "./net", "--render"], "import it into the store of the volume"),
        (["kubernetes", "net=/models/net", "--render"], "import it into the store of the volume"),
        (["kubernetes", "svgg-digits", "--render", "--memory", "10"], "--memory 10 is less than 1 MiB"),
        (["kubernetes", "svgg-digits", "--render", "--storage", "much"], "write it like 512MB or 2GiB"),
        (["kubernetes", "svgg-digits", "--render", "--kubernetes", "1.19"], "write it like 1.31"),
        (
            ["kubernetes", "svgg-digits", "--render", "--option", "--port=1"],
            "--option --port=1: the manifests set that",
        ),
        (["kubernetes", "svgg-digits", "--render", "--option", "'x"], "quote it as for a shell"),
        (["kubernetes", "svgg-digits", "--render", "--chips", "2"], "add --device darwin3, or --controller"),
        (
            ["kubernetes", "--controller", "--render", "--parts", "5"],
            "--parts 5: there is no device plugin without chips",
        ),
        (
            ["kubernetes", "--controller", "--render", "--chips", "1", "--parts", "5", "--least-cores", "116"],
            "5 devices of 116 cores do not fit a chip of 575; ask for fewer parts",
        ),
    ],
)
def test_bad_input_says_what_to_change(run: Callable, arguments: list[str], said: str) -> None:
    ran = run("deploy", *arguments)
    assert (ran.code, said in ran.err.replace("\n", " ")) == (2, True), ran.err


def test_without_the_library_it_says_what_to_install(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    ran = run("deploy", "kubernetes", "svgg-digits", "--render")
    assert (ran.code, "pip install 'synfire[kubernetes]'" in ran.err) == (2, True)


@pytest.mark.parametrize("words", [["--controller"], ["m", "--device", "darwin3"]], ids=["controller", "plain"])
def test_nodes_have_so_many_chips_as_are_said(run: Callable, words: list[str]) -> None:
    found = run("deploy", "kubernetes", *words, "--render", "--chips", "5", "--json").json["documents"]
    (daemon,) = (each for each in found if each["kind"] == "DaemonSet")
    assert daemon["spec"]["template"]["spec"]["containers"][0]["command"][-2:] == ["--chips", "5"]
    shares = ("--parts", "4", "--least-cores", "100", "--row", "5")
    found = run("deploy", "kubernetes", *words, "--render", "--chips", "5", *shares, "--json").json["documents"]
    (daemon,) = (each for each in found if each["kind"] == "DaemonSet")
    command = daemon["spec"]["template"]["spec"]["containers"][0]["command"]
    assert command[-8:] == ["--chips", "5", *shares]
    application: Any = typer.main.get_command(build())
    parsed = application.commands["device-plugin"].make_context("device-plugin", command[2:]).params
    assert (parsed["parts"], parsed["least_cores"], parsed["row"]) == (4, 100, 5)


@pytest.mark.parametrize("device", ["cpu", "darwin3"])
def test_the_containers_commands_are_commands_of_ours(device: str) -> None:
    description = Description(("svgg-digits",), "i", device=device, options=("--granularity", "operator"))
    application: Any = typer.main.get_command(build())
    daemon = plugin.daemon_set(description)["spec"]["template"]["spec"]["containers"][0]["command"]
    for command in (gateway.command(description), workers.command(description), daemon):
        program, verb, *rest = command
        assert program == "synfire"
        parsed = application.commands[verb].make_context(verb, list(rest)).params  # raises for an option that is none
        assert device == "cpu" or parsed.get("device", device) == device
    parsed = application.commands["serve"].make_context("serve", gateway.command(description)[2:]).params
    assert (parsed["models"], parsed["join"], parsed["spares"]) == (["svgg-digits"], "0.0.0.0:7000", 0)


def test_the_pages_commands_are_commands_of_ours() -> None:
    page = (Path(__file__).parents[2] / "docs" / "kubernetes.md").read_text()
    blocks = "".join(re.findall(r"```sh\n(.*?)```", page, re.DOTALL))
    said = [re.sub(r"^kubectl exec \S+ -- | [&#>|].*$", "", line) for line in blocks.splitlines()]
    commands = [shlex.split(each)[1:] for each in said if each.startswith("synfire ")]
    application: Any = typer.main.get_command(build())
    assert {verb for verb, *_ in commands} == {"deploy", "infer", "rebalance", "device-plugin"}
    for verb, *rest in commands:
        application.commands[verb].make_context(verb, rest)  # raises for an option that is none


def test_the_page_names_every_overlay(run: Callable, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "kubernetes.md").read_text()
    run("deploy", "kubernetes", "m", "--render", "--device", "darwin3", "--out", str(tmp_path / "m"))
    told = set(re.findall(r"^\| `overlays/([\w.-]+)/`", page, re.MULTILINE))
    assert told == {each.name for each in (tmp_path / "m" / "overlays").iterdir()}
