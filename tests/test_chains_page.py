"""docs/chains.md: its chain is served as it stands there, and answers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from synfire.chains import read_chain
from synfire.cli.chains import chains_among, joined
from synfire.deploy.planning import plan_models
from synfire.deploy.serving import serving_in_background
from synfire.wire.client import Client
from synfire.zoo import find
from synfire.zoo.digits import held_out_digits
from synfire.zoo.samples import digit_inputs

PAGE = Path(__file__).parent.parent / "docs" / "chains.md"


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's chain as a file."""
    monkeypatch.setenv("SYNFIRE_HOME", str(tmp_path / "home"))
    found = re.search(r"```toml\n(.*?)```", PAGE.read_text(), re.S)
    assert found is not None
    (tmp_path / "read-digit.toml").write_text(found[1])
    return tmp_path / "read-digit.toml"


def test_the_chain_of_the_page_reads_digits(chain: Path) -> None:
    chains, models, _ = chains_among([str(chain)])
    found = [find(each) for each in models]
    with (
        serving_in_background(plan_models(found, "auto", 1), chains=joined(chains, found)) as running,
        Client(running.addresses.url) as client,
    ):
        digits, labels = held_out_digits()
        for digit, said in ((3, b"This is a 3."), (0, b"Nothing to see.")):
            (picture,) = digit_inputs(found[0].graph.inputs, digits[labels == digit][0]).values()
            assert client.infer("read-digit", {"picture": picture}).outputs["text"].tolist() == [said]
    assert read_chain(chain).name == "read-digit"
