"""Stand in for the one function of torchvision that SpikingJelly's model files import.

`spikingjelly.activation_based.model.sew_resnet` and `spiking_vgg` take `load_state_dict_from_url` from torchvision, which
itself has it from `torch.hub`. torchvision's PyPI wheel does not import beside a CPU build of torch, and nothing else of
it is needed. Import this module before those. A torchvision that does import is left alone.
"""

import sys
from types import ModuleType

from torch.hub import load_state_dict_from_url

try:
    import torchvision  # noqa: F401
except (ImportError, RuntimeError):
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    package = ModuleType("torchvision")
    package.__path__ = []
    internal = ModuleType("torchvision._internally_replaced_utils")
    internal.load_state_dict_from_url = load_state_dict_from_url  # type: ignore[attr-defined]
    sys.modules[package.__name__] = package
    sys.modules[internal.__name__] = internal
