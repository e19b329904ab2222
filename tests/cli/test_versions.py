"""Several versions of one name, served by real processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from served import serving, tiny

from synfire.cli.infer import run_here
from synfire.formats import write_bundle
from synfire.wire.client import Client
from synfire.zoo import sample


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A deployment of two versions of one name."""
    folder = tmp_path_factory.mktemp("versions")
    for seed in (1, 2):
        write_bundle(tiny(seed), folder / f"v{seed}")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SYNFIRE_HOME", str(folder / "home"))
        with serving([f"net@1={folder / 'v1'}", f"net@2={folder / 'v2'}"]) as (_, line):
            yield line


def test_each_version_answers_by_its_number_and_the_highest_without_one(served: dict[str, Any]) -> None:
    inputs = sample(tiny())
    with Client(served["url"]) as client:
        answers = {name: client.infer(name, inputs).outputs["y"] for name in ("net", "net@1", "net@2")}
        answers["by path"] = client.infer("net/versions/1", inputs).outputs["y"]
    np.testing.assert_array_equal(answers["net@1"], run_here(tiny(1), inputs)["y"])
    np.testing.assert_array_equal(answers["net@2"], run_here(tiny(2), inputs)["y"])
    np.testing.assert_array_equal(answers["net"], answers["net@2"])
    np.testing.assert_array_equal(answers["by path"], answers["net@1"])


def test_the_versions_are_told(served: dict[str, Any]) -> None:
    with httpx.Client(base_url=served["url"]) as http:
        assert http.get("/v2/models/net").json()["versions"] == ["1", "2"]
        index = http.post("/v2/repository/index", json={}).json()
        assert [(each["name"], each["version"], each["state"]) for each in index] == [
            ("net", "1", "READY"),
            ("net", "2", "READY"),
        ]
        assert httpx.get(f"{served['url']}/v2/models/net/versions/3").status_code == 404


def test_versions_are_unloaded_by_their_number_or_all_at_once(served: dict[str, Any]) -> None:
    with httpx.Client(base_url=served["url"], timeout=30) as http:

        def served_now() -> list[str]:
            return [each["version"] for each in http.post("/v2/repository/index", json={}).json()]

        assert http.post("/v2/repository/models/net@2/unload").status_code == 200
        assert (served_now(), http.get("/v2/models/net").json()["versions"]) == (["1"], ["1"])
        assert http.post("/v2/repository/models/net@2/load").status_code == 200
        assert sorted(served_now()) == ["1", "2"]
        assert http.post("/v2/repository/models/net/unload").status_code == 200
        assert served_now() == []
        assert http.post("/v2/repository/models/net/load").status_code == 200
        assert sorted(served_now()) == ["1", "2"]
