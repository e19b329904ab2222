"""What is written down of a running deployment, so that a controller can begin where the last one was killed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from synfire.base.errors import PermanentError, SynfireError
from synfire.base.log import LOGGER
from synfire.control.state import State
from synfire.deploy.network import Host
from synfire.deploy.settings import Settings
from synfire.plan import Plan
from synfire.store import Catalog
from synfire.wire.chain import ChainState
from synfire.wire.traffic import Rule
from synfire.wire.wish import Wish

AGAIN_S = 1.0
"""When a ledger that could not be written, on a full disk for instance, is tried again."""

KIND = "deployment"
"""Under which kind the catalog keeps ledgers."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A model that is to be served: the digest of its flat graph's blob, the plan that it began with, where it comes from.

    One that is `on_demand` was loaded because somebody called it, and is unloaded when nobody does. A `variant_of` another model goes where that one is
    when it comes, and not along its plan.
    """

    name: str
    version: str
    source: str
    digest: str
    plan: Plan
    services: dict[str, str] = {}
    priority: int = 0
    on_demand: bool = False
    variant_of: str = ""


class KeptWish(msgspec.Struct, frozen=True):
    """A wish of somebody's, and the model as it is served for it, where it was planned already."""

    wish: Wish
    wanted: Wanted | None = None


class KeptChain(msgspec.Struct, frozen=True):
    """A chain that somebody asked for by HTTP, as gateways were told it, and the models that are served because it brings them."""

    state: ChainState
    brings: tuple[str, ...] = ()


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment: what is wanted, what was until it was unloaded, and what its controller knew last.

    `rules` are those by which names answer that are more than a model's, `wishes` and `chains` what is served because somebody asked for it by HTTP. What it knew may be older than what there is: it is written after the fact. `hosts` are the emulated hosts, and `homes` those
    of the workers; `answers` are the known answers of stages, and `agreements` what is known of unlike engines, as
    `LocalDeployment` has them. `beginning` tells with what it was begun, and `times` how often it was begun again since; see
    `synfire.deploy.remains`. Whether all models are `told` counts where somebody says so.
    """

    deployment: str
    settings: Settings
    models: tuple[Wanted, ...]
    unloaded: tuple[Wanted, ...] = ()
    rules: tuple[Rule, ...] = ()
    state: State | None = None
    hosts: tuple[Host, ...] = ()
    homes: dict[str, Host] = {}
    answers: dict[tuple[str, str, str], str] = {}
    agreements: dict[tuple[str, str], float] = {}
    wishes: dict[str, KeptWish] = {}
    chains: dict[str, KeptChain] = {}
    beginning: str = ""
    times: int = 0
    told: bool = False


_DECODER = msgspec.msgpack.Decoder(Ledger)


def read_ledger(deployment: str, catalog: Catalog | None = None) -> Ledger:
    """The deployment's ledger. Raises `UnknownName` when there is none, `PermanentError` for one that cannot be read."""
    content = (catalog or Catalog()).current(KIND, deployment)
    try:
        return _DECODER.decode(content)
    except msgspec.MsgspecError as error:
        raise PermanentError(
            f"the ledger of deployment {deployment} cannot be read ({error}); it is damaged, or of another version of synfire: "
            "stop the deployment and start it again"
        ) from error


def write_ledger(ledger: Ledger, catalog: Catalog | None = None) -> None:
    """Write it down, in place of what was there before."""
    (catalog or Catalog()).keep(KIND, ledger.deployment, msgspec.msgpack.encode(ledger))


def drop_ledger(deployment: str, catalog: Catalog | None = None) -> None:
    """Forget it; one that is not there is no error."""
    (catalog or Catalog()).drop(KIND, deployment)


class Bookkeeper:
    """Writes the present down, in a thread: soon after it has changed, or at once for who waits. Made in an event loop."""

    def __init__(self, present: Callable[[], Ledger]) -> None:
        self._present = present
        self._changed = asyncio.Event()
        self._turn = asyncio.Lock()

    def note(self) -> None:
        """Something has changed."""
        self._changed.set()

    async def write(self) -> None:
        """Write down how it is now. Raises what stands against it."""
        async with self._turn:
            await asyncio.to_thread(write_ledger, self._present())

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self.write()
            except SynfireError as error:
                LOGGER.error("the deployment's ledger cannot be written: %s", error)
                await asyncio.sleep(AGAIN_S)
                self._changed.set()
