"""Every engine for language models keeps the promises of its contract."""

from __future__ import annotations

import pytest

from synfire.engines.streaming import StreamingProgram
from synfire.testing.language_engines import CHECKS


@pytest.mark.parametrize("check", CHECKS)
def test_llama_cpp_conforms(check: str, program: StreamingProgram) -> None:
    CHECKS[check](program)
