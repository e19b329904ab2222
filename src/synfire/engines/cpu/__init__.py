"""The compiled engines for processors."""

from synfire.engines.cpu.engine import CpuEngine
from synfire.engines.cpu.int8 import Int8Engine
from synfire.engines.engine import ENGINES

ENGINES.add(CpuEngine.name, CpuEngine)
ENGINES.add(Int8Engine.name, Int8Engine)
