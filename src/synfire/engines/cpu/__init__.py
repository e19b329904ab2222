"""The compiled engines for processors."""

from synfire.engines.cpu.bf16 import Bf16Engine
from synfire.engines.cpu.engine import CpuEngine
from synfire.engines.cpu.int8 import Int8Engine
from synfire.engines.engine import ENGINES

for made in (CpuEngine, Int8Engine, Bf16Engine):
    ENGINES.add(made.name, made)
