"""What hops and requests cost on this machine: small models are served for a moment, and asked in several cuts, in turns.

With two workers, and n neuron layers that have next to nothing to do:

    request_s      = uncut − its program
    local_s        = (n stages on one worker − uncut) / (n − 1) − call_s
    frame_s        = cut once between the workers − uncut − call_s
    work_s         = (that in frames of one step − that) / (further frames) − their program, shared by the receiver's two hops
    byte_s         = what a wide signal adds to the cut, per encoded byte
    local_byte_s   = what wide signals add to the stages on one worker, per byte of their arrays
    request_byte_s = what a wide input adds uncut, without its program, per byte

Times are medians, as a caller in another process sees them: all is in it, encoding, wake-ups on caches that others have filled,
Python.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec
import numpy as np

from synfire import __version__
from synfire.base import paths
from synfire.base.errors import PermanentError, SynfireError
from synfire.base.keys import authorization
from synfire.base.later import Later
from synfire.base.log import LOGGER
from synfire.base.telling import tell
from synfire.deploy.planned import Planned
from synfire.devices import DEVICES
from synfire.engines.engine import ENGINES, PROCESSOR
from synfire.engines.measure import measure as measure_operators
from synfire.engines.profiles.cache import keep, recalled
from synfire.graph import Graph, Synapse
from synfire.ops import Array, Clock, Kind, Signal
from synfire.ops.constant_current import ConstantCurrent
from synfire.ops.if_ import IF
from synfire.ops.linear import Linear
from synfire.ops.mean_rate import MeanRate
from synfire.ops.operator import Operator
from synfire.plan import GATEWAY, Costs, Demand, Hop, plan_model, rooms
from synfire.wire import oip
from synfire.zoo import Model

served = Later("synfire.deploy.serving")
"""What trials are served by. That loads a gateway, and who recalls the prices does without."""

METHOD = "the least of 3 medians of 16"
"""Prices that were found in another way are measured again."""
ROUNDS = 48
SPELLS = 3
STEPS = 8
LAYERS = 8
NARROW, WIDE = 64, 8192
LEAST_S, LEAST_BYTE_S = 1e-6, 1e-11
"""No price is less: a difference of two medians may be anything on a busy machine."""
ANSWER_S = 60.0

_WORK = "measuring this machine, once"


def prices(again: bool = False) -> Hop:
    """What hops cost on this machine: measured once, and then remembered in `SYNFIRE_CACHE`.

    Where it cannot be measured the defaults stand in, with a warning. `again` measures anew.
    """
    device = DEVICES[PROCESSOR].describe()
    key = "\n".join([METHOD, device.model, str(device.cores), __version__])
    file = paths.cache() / "costs" / f"hops-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    known = None if again else recalled(file, Hop)
    if known is not None:
        return known
    tell(_WORK, "what a hop costs")
    try:
        found = measure_prices()
    except (SynfireError, OSError, subprocess.TimeoutExpired) as error:
        LOGGER.warning("what hops cost could not be measured (%s); plans use the defaults", error)
        return Hop()
    finally:
        tell(_WORK, "measured", 1.0)
    keep(file, found)
    return found


def measure_prices(rounds: int = ROUNDS) -> Hop:
    """Serve the trials, ask each of them `rounds` times in turns, and tell the prices from the differences.

    Raises what serving raises.
    """
    trials = trials_of(load_of(NARROW), load_of(WIDE))
    with served.serving_in_background([each.planned for each in trials.values()]) as running:
        return prices_of(_ask(running.addresses.url, trials, rounds), trials)


CUTS = {
    "uncut": ("model", 1, False, STEPS),
    "apart": ("operator", 1, True, STEPS),
    "cut": ("operator", 2, False, STEPS),
    "frames": ("operator", 2, False, 1),
}
"""Granularity, workers, whether all stages are kept apart, and time steps in a frame."""


@dataclass(frozen=True)
class Load:
    """A chain of neuron layers, and its measured costs."""

    graph: Graph
    inputs: dict[str, Array]
    costs: Costs


@dataclass(frozen=True)
class Trial:
    """A load, as one cut serves it."""

    load: Load
    planned: Planned

    @property
    def input_bytes(self) -> int:
        return sum(array.nbytes for array in self.load.inputs.values())

    @property
    def crossing_bytes(self) -> float:
        """Encoded bytes of a request between the two workers."""
        inner = [link for link in self.planned.plan.links if GATEWAY not in (link.sender, link.receiver)]
        return STEPS * sum(link.bytes_per_step for link in inner)


def load_of(width: int) -> Load:
    """So many neurons a layer, half of which spike; measured."""
    operators: dict[str, Operator] = {"encoder": ConstantCurrent(STEPS)}
    operators |= {f"if{i}": IF() for i in range(LAYERS)}
    operators |= {"head": Linear(np.zeros((10, width), np.float32), np.zeros(10, np.float32)), "rate": MeanRate()}
    synapses = tuple(itertools.starmap(Synapse, itertools.pairwise(["x", *operators])))
    graph = Graph(operators, synapses, {"x": Signal((width,), Kind.VALUE, Clock.REQUEST)}, {"y": "rate"})
    inputs = {"x": np.linspace(0, 1, width, dtype=np.float32)[None]}
    return Load(graph, inputs, measure_operators(graph, ENGINES[PROCESSOR](), inputs))


def trials_of(narrow: Load, wide: Load) -> dict[str, Trial]:
    """What is asked in turns, by name."""
    trials = {name: _trial(name, narrow, *each) for name, each in CUTS.items()}
    return trials | {f"wide-{name}": _trial(f"wide-{name}", wide, *CUTS[name]) for name in ("uncut", "apart", "cut")}


def _trial(name: str, load: Load, granularity: str, workers: int, apart: bool, frame_steps: int) -> Trial:
    even = msgspec.structs.replace(load.costs, operator_s=dict.fromkeys(load.graph.order(), 1.0))
    plan = plan_model(Demand(name, load.graph, even, granularity, apart=apart), rooms(workers))
    plan = msgspec.structs.replace(plan, frame_steps=frame_steps)
    return Trial(load, Planned(Model(name, load.graph, "trial"), load.graph, load.costs, plan))


def _ask(url: str, trials: Mapping[str, Trial], rounds: int) -> dict[str, float]:
    """The seconds of each trial's request, asked from a process of its own.

    Raises `PermanentError` with what that process said.
    """
    where = urlsplit(url)
    whole = {name: _request(where.netloc, name, each.load.inputs) for name, each in trials.items()}
    requests = {name: base64.b64encode(each).decode() for name, each in whole.items()}
    job = {"host": where.hostname, "port": where.port, "rounds": rounds, "requests": requests}
    done = subprocess.run(
        [sys.executable, "-m", "synfire.deploy.asking"],
        input=json.dumps(job).encode(),
        capture_output=True,
        timeout=ANSWER_S,
        check=False,
    )
    if done.returncode:
        raise PermanentError(f"the trial caller failed: {done.stderr.decode(errors='replace').strip()[-500:]}")
    return {name: quiet(seconds) for name, seconds in json.loads(done.stdout).items()}


def quiet(seconds: Sequence[float]) -> float:
    """The median of the quietest spell: what disturbs a machine comes and goes."""
    length = max(len(seconds) // SPELLS, 1)
    return min(statistics.median(seconds[i : i + length]) for i in range(0, len(seconds) - length + 1, length))


def _request(host: str, model: str, inputs: Mapping[str, Array]) -> bytes:
    body, length = oip.build_infer_request(inputs)
    fields = {"Host": host, "Content-Length": len(body), oip.HEADER_LENGTH: length, **authorization()}
    head = [f"POST /v2/models/{model}/infer HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*head, "", ""]).encode() + body


def prices_of(s: Mapping[str, float], trials: Mapping[str, Trial]) -> Hop:
    """The prices for the seconds of each trial; see the equations at the top."""
    narrow, wide = trials["uncut"], trials["wide-uncut"]
    call_s, own_s = narrow.load.costs.call_s, sum(narrow.load.costs.operator_s.values())
    wider_s = sum(wide.load.costs.operator_s.values()) - own_s
    hops, further = len(trials["apart"].planned.plan.stages) - 1, STEPS - 1
    wider_bytes = trials["wide-cut"].crossing_bytes - trials["cut"].crossing_bytes
    wider_array_bytes = STEPS * LAYERS * (WIDE - NARROW)  # a byte a spike, behind every layer
    found = {
        "request_s": s["uncut"] - own_s - call_s,
        "local_s": (s["apart"] - s["uncut"]) / hops - call_s,
        "frame_s": s["cut"] - s["uncut"] - call_s,
        "work_s": ((s["frames"] - s["cut"] + own_s / 2) / further - call_s) / 2,
        "byte_s": (s["wide-cut"] - s["wide-uncut"] - s["cut"] + s["uncut"]) / wider_bytes,
        "local_byte_s": (s["wide-apart"] - s["wide-uncut"] - s["apart"] + s["uncut"]) / wider_array_bytes,
        "request_byte_s": (s["wide-uncut"] - s["uncut"] - wider_s) / (wide.input_bytes - narrow.input_bytes),
    }
    return Hop(
        **{name: max(price, LEAST_BYTE_S if name.endswith("byte_s") else LEAST_S) for name, price in found.items()}
    )
