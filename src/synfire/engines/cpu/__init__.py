"""The compiled engine for processors."""

from synfire.engines.cpu.engine import CpuEngine
from synfire.engines.engine import ENGINES

ENGINES.add(CpuEngine.name, CpuEngine)
