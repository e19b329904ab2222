"""The device plugin against a kubelet that is made here, over a Unix socket."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from kubelet import Containers, Kubelet  # beside this file, which is imported by its path

from synfire.base.errors import PermanentError, UserError
from synfire.base.protobuf import compile_proto
from synfire.kubernetes.device_plugin.emulated import EmulatedChips
from synfire.kubernetes.device_plugin.plugin import Plugin, Settings
from synfire.kubernetes.device_plugin.proto.__main__ import SOURCES
from synfire.kubernetes.device_plugin.report import Sharing
from synfire.kubernetes.device_plugin.taken import Taken


class Node:
    """A node's folders, and a plugin that looks often."""

    def __init__(self, folder: Path) -> None:
        self.sockets, self.chips, self.features = folder / "s", folder / "chips", folder / "features.d" / "darwin3"
        self.sockets.mkdir()

    def settings(self, **changed: Any) -> Settings:
        return Settings(**{"sockets": self.sockets, "features": self.features, "look_every_s": 0.01, **changed})

    def break_chip(self, name: str, faults: str) -> None:
        """As a user does it; renamed, since the plugin may read at any moment."""
        draft = self.chips / name / "draft"
        draft.write_text(faults)
        draft.replace(self.chips / name / "faults")

    @asynccontextmanager
    async def plugin(self, count: int = 1, **changed: Any) -> AsyncIterator[asyncio.Task[None]]:
        plugin = Plugin(EmulatedChips(count, self.chips, row=2), self.settings(**changed))
        running = asyncio.create_task(plugin.run())
        try:
            yield running
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError, PermanentError, UserError):
                await running


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(story())


@pytest.mark.parametrize("source", SOURCES, ids=lambda each: each.stem)
def test_the_compiled_messages_are_current(source: Path, tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed")
    assert compile_proto(source, tmp_path / "fresh") == 0
    assert (tmp_path / "fresh").read_bytes() == source.with_suffix(".binpb").read_bytes()


def test_it_registers_and_tells_each_chip(node: Node) -> None:
    async def story() -> None:
        kubelet = await Kubelet(node.sockets).start()
        async with node.plugin(2), await kubelet.plugin() as plugin:
            request = plugin.request
            assert (request.version, request.resource_name, request.endpoint) == (
                "v1beta1",
                "zj.com/darwin3",
                "zj.com-darwin3.sock",
            )
            assert request.options.get_preferred_allocation_available
            assert await plugin.call("GetDevicePluginOptions") == request.options
            assert await plugin.watch().next() == {"darwin3-0": "Healthy", "darwin3-1": "Healthy"}
            assert "zj.com/darwin3.cores-big=574\n" in node.features.read_text()
        await kubelet.stop()

    run(story)


def test_it_registers_again_when_the_kubelet_restarts(node: Node) -> None:
    async def story() -> None:
        first = await Kubelet(node.sockets).start()
        async with node.plugin():
            async with await first.plugin() as plugin:
                watch = plugin.watch()
                assert await watch.next() == {"darwin3-0": "Healthy"}
                await first.stop()
                second = await Kubelet(node.sockets).start()
                assert await watch.next() is None
            async with await second.plugin() as plugin:
                assert await plugin.watch().next() == {"darwin3-0": "Healthy"}
            assert second.registered.empty()
        await second.stop()
        assert not (node.sockets / "zj.com-darwin3.sock").exists()

    run(story)


def test_labels_tell_which_cores_no_container_has(node: Node) -> None:
    def labelled(line: str) -> bool:
        return node.features.is_file() and f"{line}\n" in node.features.read_text()

    async def story() -> None:
        kubelet = await Kubelet(node.sockets).start()
        async with node.plugin(2), await kubelet.plugin():
            while not labelled("zj.com/darwin3.cores-big=574"):
                await asyncio.sleep(0)
            assert "-free=" not in node.features.read_text()
            containers = await Containers(node.sockets.parent / "pod-resources").start()
            while not labelled("zj.com/darwin3.cores-big-free=574"):
                await asyncio.sleep(0)
            containers.given = {"zj.com/darwin3": ["darwin3-1"], "nvidia.com/gpu": ["darwin3-0"]}
            while not labelled("zj.com/darwin3.cores-big-free=287"):
                await asyncio.sleep(0)
            assert labelled("zj.com/darwin3.cores-big=574")
            await containers.stop()
            while "-free=" in node.features.read_text():
                await asyncio.sleep(0)
        await kubelet.stop()

    run(story)


def test_the_kubelet_is_asked_along_one_channel_until_it_fails_or_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened: list[str] = []
    channel = grpc.aio.insecure_channel

    def counted(target: str, *more: Any) -> Any:
        opened.append(target)
        return channel(target, *more)

    monkeypatch.setattr(grpc.aio, "insecure_channel", counted)

    async def story() -> None:
        folder = tmp_path / "pod-resources"
        taken = Taken(folder / "kubelet.sock", "zj.com/darwin3")
        assert await taken.look() is None
        containers = await Containers(folder).start()
        containers.given = {"zj.com/darwin3": ["darwin3-1"]}
        assert [await taken.look() for _ in range(20)] == [frozenset({"darwin3-1"})] * 20
        assert len(opened) == 1
        (folder / "kubelet.sock").rename(tmp_path / "old.sock")  # the one before lives on: who asks it is told what was
        other = Containers(folder)
        other.given = {"zj.com/darwin3": ["darwin3-2"]}
        await other.start()
        assert [await taken.look() for _ in range(3)] == [frozenset({"darwin3-2"})] * 3
        assert len(opened) == 2
        await other.stop()
        (folder / "kubelet.sock").touch()
        assert [await taken.look() for _ in range(2)] == [None, None]
        (folder / "kubelet.sock").unlink()
        await other.start()
        assert await taken.look() == frozenset({"darwin3-2"})
        await taken.close()
        await taken.close()
        await other.stop()
        await containers.stop()

    run(story)
    assert len([each for each in caplog.records if "does not tell" in each.getMessage()]) == 2


def test_it_waits_for_a_kubelet_that_comes_later(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with node.plugin() as running:
            while not caplog.records:
                await asyncio.sleep(0)
            assert not running.done()
            kubelet = await Kubelet(node.sockets).start()
            async with await kubelet.plugin() as plugin:
                assert await plugin.watch().next() == {"darwin3-0": "Healthy"}
        await kubelet.stop()

    run(story)
    assert [each.getMessage() for each in caplog.records if "waiting" in each.getMessage()] == [
        f"waiting for a kubelet at {node.sockets / 'kubelet.sock'}: there is none"
    ]


def test_a_chip_turns_unhealthy_when_it_dies_and_healthy_when_it_is_mended(node: Node) -> None:
    async def story() -> None:
        kubelet = await Kubelet(node.sockets).start()
        async with node.plugin(2), await kubelet.plugin() as plugin:
            watch = plugin.watch()
            await watch.next()
            node.break_chip("darwin3-1", "chip-dead")
            assert await watch.next() == {"darwin3-0": "Healthy", "darwin3-1": "Unhealthy"}
            with pytest.raises(grpc.aio.AioRpcError, match="'darwin3-1' did not pass its test") as refused:
                await plugin.allocate(["darwin3-1"])
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            node.break_chip("darwin3-1", "")
            assert await watch.next() == {"darwin3-0": "Healthy", "darwin3-1": "Healthy"}
        await kubelet.stop()

    run(story)


def test_each_part_of_a_chip_that_dead_cores_take_away_turns_unhealthy(node: Node) -> None:
    async def story() -> None:
        kubelet = await Kubelet(node.sockets).start()
        async with node.plugin(sharing=Sharing(parts=5)), await kubelet.plugin() as plugin:
            watch = plugin.watch()
            assert (await watch.next()) == {f"darwin3-0.{n}": "Healthy" for n in range(5)}
            node.break_chip("darwin3-0", "core-dead 3,2\n")  # 574 usable, and five parts of 115 take 575
            assert [name for name, health in (await watch.next()).items() if health != "Healthy"] == ["darwin3-0.4"]
            assert "zj.com/darwin3.cores-little=287\n" in node.features.read_text()
            node.break_chip("darwin3-0", "".join(f"core-dead {x},{y}\n" for x in range(1, 24) for y in range(6)))
            assert sum(health == "Healthy" for health in (await watch.next()).values()) == 3  # 437 usable
        await kubelet.stop()

    run(story)


def test_a_container_is_given_its_chips_by_variables_and_mounts(node: Node) -> None:
    async def story() -> None:
        kubelet = await Kubelet(node.sockets).start()
        async with node.plugin(3), await kubelet.plugin() as plugin:
            one, two = await plugin.allocate(["darwin3-0", "darwin3-2"], ["darwin3-1"])
            envs, reports = dict(one.envs), (node.chips / f"darwin3-{n}" / "chip.json" for n in (0, 2))
            took = sum(json.loads(each.read_bytes())["events_per_s"] for each in reports)
            assert 0 < int(envs.pop("SYNFIRE_DARWIN3_KEPS")) <= took / 1000
            assert envs == {
                "SYNFIRE_DARWIN3_CHIPS": "darwin3-0,darwin3-2",
                "SYNFIRE_DARWIN3_CORES": "1034",
                "SYNFIRE_DARWIN3_EMULATED": "true",
            }
            assert [(each.container_path, each.host_path, each.read_only) for each in two.mounts] == [
                ("/run/synfire/darwin3/darwin3-1", str(node.chips / "darwin3-1"), True)
            ]
            assert b'"emulated":true' in (node.chips / "darwin3-1" / "chip.json").read_bytes()
            await plugin.call("PreStartContainer", devices_ids=["darwin3-0"])
        await kubelet.stop()

    run(story)


def test_chips_that_are_near_each_other_are_preferred(node: Node) -> None:
    async def story() -> None:
        kubelet = await Kubelet(node.sockets).start()
        async with node.plugin(4), await kubelet.plugin() as plugin:  # two rows of two
            everything = [f"darwin3-{n}" for n in range(4)]
            assert await plugin.prefer(everything[1:], [], 2) == ["darwin3-1", "darwin3-3"]
            assert await plugin.prefer(everything, ["darwin3-2"], 2) == ["darwin3-2", "darwin3-0"]
        await kubelet.stop()

    run(story)


def test_what_is_not_there_is_refused(node: Node) -> None:
    async def story() -> None:
        kubelet = await Kubelet(node.sockets).start()
        async with node.plugin(), await kubelet.plugin() as plugin:
            with pytest.raises(grpc.aio.AioRpcError, match=r"no device 'x' here; there are darwin3-0"):
                await plugin.allocate(["x"])
            with pytest.raises(grpc.aio.AioRpcError, match="ask for as many as are available"):
                await plugin.prefer(["darwin3-0"], [], 2)
        await kubelet.stop()

    run(story)


def test_a_refused_registration_ends_it(node: Node) -> None:
    async def story() -> None:
        kubelet = await Kubelet(node.sockets, refusal="the ResourceName is invalid").start()
        async with node.plugin() as running:
            with pytest.raises(
                PermanentError, match=r"the kubelet refuses zj.com/darwin3: the ResourceName is invalid"
            ):
                await asyncio.wait_for(running, 60)
        await kubelet.stop()

    run(story)


def test_a_file_of_faults_that_makes_no_sense_changes_nothing(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    chips = EmulatedChips(1, node.chips)
    assert chips.test()[0].usable == 575
    for faults, said in (
        ("core-dead 3,2\ncore-alive 1,1", "line 2, 'core-alive 1,1': write core-dead X,Y"),
        ("core-dead 30,2", "hosts no neurons at (30, 2)"),
        ("bit-stuck 3,2@9999999.0", "words"),
    ):
        node.break_chip("darwin3-0", faults)
        assert not chips.reported()
        assert said in caplog.records[-1].getMessage()
    assert chips.test()[0].usable == 575


def test_a_stuck_bit_is_found_by_the_test_and_mended_by_taking_it_out(node: Node) -> None:
    chips = EmulatedChips(1, node.chips)
    node.break_chip("darwin3-0", "bit-stuck 3,2@1.47  # the sign of a weight")
    assert chips.reported()
    assert not chips.reported()
    (report,) = chips.test()
    assert (report.usable, report.wrong) == (574, ((3, 2),))
    node.break_chip("darwin3-0", "")
    assert chips.reported()
    assert chips.test()[0].usable == 575


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"resource": "darwin3"}, "write DOMAIN/NAME, such as zj.com/darwin3"),
        ({"resource": "kubernetes.io/darwin3"}, "write one of your own"),
        ({"sockets": Path("/nowhere")}, "name it with --socket-dir"),
        ({"resource": f"{'d' * 90}.com/darwin3"}, "name a shorter folder or resource"),
    ],
)
def test_settings_that_cannot_be_are_refused(node: Node, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Plugin(EmulatedChips(1, node.chips), node.settings(**changed))
