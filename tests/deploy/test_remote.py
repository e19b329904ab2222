"""A controller and gateways that are elsewhere: what the one wants the others do, also those that come later or come back."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from synfire.base.errors import TemporaryError, UserError
from synfire.deploy.door import Door, ask
from synfire.deploy.ledger import Wanted
from synfire.deploy.remote import Course, RemoteGateways
from synfire.formats.bundle import store_graph
from synfire.gateway.call import Call
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.follower import Follower
from synfire.gateway.on_demand import OnDemand
from synfire.gateway.recoveries import ToldRecoveries
from synfire.gateway.routes import Routes
from synfire.graph import Graph
from synfire.plan import Plan
from synfire.store import BlobStore, ModelStore
from synfire.testing.examples import digits, image, stream
from synfire.wire.chain import ChainState
from synfire.wire.links import connect
from synfire.wire.links.watched import WatchedLink
from synfire.wire.messages import PROTOCOL, Attend, Hello, Ping, Standing, Unwanted, Uses, Want
from synfire.wire.stream import Packet
from synfire.wire.traffic import rule_of

GRAPH, PLAN = digits()
OTHER, OTHER_PLAN = stream()


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sf") as name:
        yield Path(name)


class Scene:
    """A controller's side behind a door, with two models in the store; gateways follow it."""

    def __init__(
        self,
        folder: Path,
        models: Mapping[str, tuple[Graph, Plan]] | None = None,
        on_demand: bool = False,
    ) -> None:
        self.on_demand = on_demand
        self.address = f"unix:{folder}/door.sock"
        self.store = BlobStore(folder / "blobs")
        wanted = {
            name: Wanted(
                name=name,
                version="3",
                source="here",
                digest=store_graph(graph, self.store),
                plan=plan,
                on_demand=on_demand,
            )
            for name, (graph, plan) in (models or {"digits": (GRAPH, PLAN), "stream": (OTHER, OTHER_PLAN)}).items()
        }
        self.gateways = RemoteGateways(wanted)
        self.door = Door(self.address, "d", self.gateways.attend, self.obey)
        self.door.open()

    async def obey(self, order: object) -> str:
        raise UserError(f"{type(order).__name__} is nothing that is done here")

    @asynccontextmanager
    async def follower(self, who: str = "g"):
        """A gateway that follows, once it knows everything."""
        plane, routes, told = DataPlane(), Routes(who, "d"), ToldRecoveries(lambda count: ())
        plane.on_demand = OnDemand(ModelStore(Path(self.store.root).parent)) if self.on_demand else None
        follower = Follower(self.address, "d", plane, routes, self.store, told)
        running = asyncio.create_task(follower.run())
        try:
            await follower.whole.wait()
            yield plane, routes, told
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            self.door.close()


async def until(holds: Callable[[], bool]) -> None:
    """Let others go on until it holds; the test's own time limit ends what never comes about."""
    while not holds():
        await asyncio.sleep(0)


def test_a_gateway_that_comes_later_is_told_everything(folder: Path) -> None:
    async def main():
        scene = Scene(folder)
        await scene.gateways.serve("digits", GRAPH, PLAN)
        scene.gateways.expect("stream", Course(OTHER_PLAN, 4, held=True))
        scene.gateways.stand(Standing(spares=1, spares_wanted=2, recoveries=(("exit", "recovered", 3),)))
        async with scene.follower() as (plane, routes, told):
            assert [(model.name, model.version) for model in plane.models] == [("digits", "3"), ("stream", "3")]
            assert [(route.epoch, route.open) for route in routes.by_model.values()] == [(0, True), (4, False)]
            assert routes.by_model["digits"].plan == PLAN
            assert plane.model("digits").route.graph.content_digest() == GRAPH.content_digest()
            await until(lambda: told.spares_wanted == 2)
            assert (told.spares, told.counts) == (1, {("exit", "recovered"): 3})

    asyncio.run(main())


def test_a_gateway_goes_by_what_it_knows_until_the_controller_knows_how_things_stand(folder: Path) -> None:
    async def main():
        scene = Scene(folder)
        async with scene.follower() as (_, _, told):
            await scene.gateways.caught_up(1, 60)
            assert told.awaited  # nobody has said that there is no other model
            scene.gateways.stand(Standing(spares=1, awaited=True))
            await until(lambda: told.spares == 1)
            assert told.awaited
            scene.gateways.stand(Standing())
            await until(lambda: not told.awaited)

    asyncio.run(main())


def test_gateways_are_told_by_which_rules_names_answer_also_those_that_come_later(folder: Path) -> None:
    async def main():
        scene, rule = Scene(folder), rule_of("prod", ["digits=90", "stream=10"])
        scene.gateways.begin_traffic([rule])
        async with scene.follower() as (plane, _, _):
            assert plane.traffic.rules == {"prod": rule}
            await scene.gateways.caught_up(1, 60)
            await scene.gateways.steer([rule_of("prod", ["digits"])])
            assert plane.traffic.rules["prod"].words == "digits=100"
            await scene.gateways.steer([])
            assert plane.traffic.rules == {}

    asyncio.run(main())


def test_gateways_are_told_chains_that_were_asked_for_also_those_that_come_later(folder: Path) -> None:
    async def main():
        scene, waiting = Scene(folder), ChainState("early", b"{}", missing=("none",))
        await scene.gateways.chain(waiting)
        async with scene.follower() as (plane, _, _):
            assert plane.asked_chains == {"early": waiting}
            await scene.gateways.caught_up(1, 60)
            later = ChainState("late", b"{}", failure="it does not fit")
            await scene.gateways.chain(later)
            assert plane.asked_chains == {"early": waiting, "late": later}
            await scene.gateways.chain(ChainState("early"))
            assert plane.asked_chains == {"late": later}

    asyncio.run(main())


def test_versions_of_one_name_are_models_of_their_own_that_share_it(folder: Path) -> None:
    async def main():
        scene = Scene(folder, {"digits@1": (GRAPH, PLAN), "digits@2": (OTHER, OTHER_PLAN)})
        for model, graph, plan in (("digits@2", OTHER, OTHER_PLAN), ("digits@1", GRAPH, PLAN)):
            await scene.gateways.serve(model, graph, plan)
        async with scene.follower() as (plane, routes, _):
            await scene.gateways.caught_up(1, 60)
            assert [(model.name, model.version) for model in plane.models] == [("digits", "2"), ("digits", "1")]
            assert plane.model("digits").route is routes.by_model["digits@2"]
            assert plane.model("digits", "1").route is routes.by_model["digits@1"]
            await scene.gateways.remove("digits@2")
            assert plane.versions("digits") == ("1",)

    asyncio.run(main())


def test_what_the_controller_wants_is_done_when_it_returns(folder: Path) -> None:
    async def main():
        scene = Scene(folder)
        await scene.gateways.serve("digits", GRAPH, PLAN)
        async with scene.follower() as (plane, routes, _):
            await scene.gateways.caught_up(1, 60)
            route = routes.by_model["digits"]
            await scene.gateways.suspend("digits", 1)
            assert not route.open
            assert await scene.gateways.resume("digits", PLAN, 1) == (0, 0)
            assert (route.open, route.epoch) == (True, 1)
            await scene.gateways.fail("digits", 2, TemporaryError("it is stopped", 7.0))
            with pytest.raises(TemporaryError, match="it is stopped") as failed:
                await anext(route.answer(Call("1", "digits", image(1))))
            assert failed.value.retry_after_s == 7.0
            await scene.gateways.remove("digits")
            assert (plane.models, routes.by_model) == ((), {})

    asyncio.run(main())


def test_a_worker_that_a_gateway_cannot_reach_is_told(folder: Path) -> None:
    async def main():
        scene, told = Scene(folder), []
        scene.gateways.on_cut(lambda *what: told.append(what))
        await scene.gateways.reach("w0", f"unix:{folder}/nobody.sock")
        async with scene.follower():
            await until(lambda: told)
            assert ("w0", "", 0.0) in told

    asyncio.run(main())


def test_a_gateway_follows_the_next_controller_and_tells_it_its_epochs(folder: Path) -> None:
    async def main():
        first = Scene(folder)
        await first.gateways.serve("digits", GRAPH, PLAN, 5)
        await first.gateways.serve("stream", OTHER, OTHER_PLAN)
        async with first.follower() as (plane, routes, _):
            route = routes.by_model["digits"]
            first.door.close()
            second, epochs = Scene(folder), []
            second.gateways.on_epochs(epochs.append)
            second.gateways.expect("digits", Course(PLAN, 5))
            await second.gateways.caught_up(1, 60)
            assert epochs == [{"digits": 5, "stream": 0}]
            assert routes.by_model == {"digits": route}  # it is the same one, and what nobody wants is gone
            assert [model.name for model in plane.models] == ["digits"]
            second.door.close()

    asyncio.run(main())


def test_a_gateway_that_does_not_answer_is_not_waited_for(folder: Path) -> None:
    async def main():
        scene = Scene(folder)
        await scene.gateways.serve("digits", GRAPH, PLAN)
        async with scene.follower():
            await scene.gateways.caught_up(1, 60)
            (attendant,) = scene.gateways.attending.values()
            attendant._visitor.take = lambda message: None  # what it answers is not heard
            began_s = time.monotonic()
            await scene.gateways.suspend("digits", 1)
            assert 0.2 < time.monotonic() - began_s < 20
            assert attendant not in scene.gateways.attending.values()
            await scene.gateways.caught_up(1, 60)  # it has come back, and knows
            assert await scene.gateways.resume("digits", PLAN, 1) == (0, 0)

    asyncio.run(main())


def test_a_model_rests_when_no_gateway_is_called_for_it_and_else_all_serve_it_on(folder: Path) -> None:
    async def main():
        scene, heard = Scene(folder, on_demand=True), []
        scene.gateways.on_calls(lambda who, message: heard.append((who.partition("-")[0], message)))
        await scene.gateways.serve("digits", GRAPH, PLAN)
        async with scene.follower("one") as (plane, _, _), scene.follower("two") as (other, _, _):
            await scene.gateways.caught_up(2, 60)
            other.on_demand.begun("digits")
            assert not await scene.gateways.rest("digits", 0.0)
            assert [model.name for model in (*plane.models, *other.models)] == ["digits", "digits"]
            other.on_demand.ended("digits")
            assert not await scene.gateways.rest("digits", 3600.0)
            assert await scene.gateways.rest("digits", 0.0)
            assert (plane.models, other.models) == ((), ())
            waiting = asyncio.create_task(plane.on_demand.load("digits"))
            await until(lambda: ("one", Want("digits")) in heard)
            scene.gateways.refuse(Unwanted("digits", "TemporaryError", "not now", 7.0))
            with pytest.raises(TemporaryError, match="not now"):
                await waiting
        assert ("one", Uses()) in heard  # it uses nothing any more

    asyncio.run(main())


def test_strangers_and_senseless_orders_are_refused_with_the_reason(folder: Path) -> None:
    async def main():
        scene = Scene(folder)
        with pytest.raises(UserError, match="Ping is nothing that is done here"):
            await asyncio.to_thread(ask, scene.address, "d", Ping(1), 60)
        with pytest.raises(UserError, match="belongs to deployment"):
            await asyncio.to_thread(ask, scene.address, "another", Ping(1), 60)
        scene.door.close()
        with pytest.raises(TemporaryError, match="cannot reach the controller"):
            await asyncio.to_thread(ask, scene.address, "d", Ping(1), 60)

    asyncio.run(main())


def test_last_words_are_heard_by_who_finds_the_link_broken(folder: Path) -> None:
    async def main():
        heard, lost = [], []
        scene = Scene(folder)
        link = WatchedLink(connect(scene.address, "the door"), lambda packet: heard.append(packet.message), lost.append)
        link.send(Packet(Hello(PROTOCOL, "another", "me")))
        for _ in range(50):
            await asyncio.sleep(0)
        link.tell(Packet(Attend({})))
        await until(lambda: bool(lost))
        assert [type(each).__name__ for each in heard] == ["Hello", "Failure"]
        assert not link.open
        scene.door.close()

    asyncio.run(main())
