from __future__ import annotations

import numpy as np
import pytest

from synfire.base.errors import UserError
from synfire.devices.darwin3.chip import Chip, Events
from synfire.devices.darwin3.limits import chip
from synfire.devices.darwin3.neurons import SECTION, Model, Register, Reset, State, program
from synfire.devices.darwin3.words import (
    Block,
    Coordinate,
    CoreImage,
    Kind,
    Memory,
    Words,
    axon_entries,
    axon_heads,
    dendrite_heads,
    pack_list,
    pack_values,
    pack_weights,
)


def registers(neurons: int, bits: int = 8, **values: int) -> Words:
    words = np.zeros(48, np.int64)
    words[Register.NEURONS], words[Register.WEIGHT_BITS] = neurons, bits
    for name, value in values.items():
        words[Register[name]] = value
    return pack_values(words)


def core(
    weights: list[int], targets: list[tuple[int, int, int]], model: Model = Model.IF, level: int = 10, **values: int
) -> CoreImage:
    """One dendrite that adds `weights`, a neuron each; every neuron sends to all `targets` (dx, dy, dendrite)."""
    n = len(weights)
    axon = np.zeros(0, np.uint64)
    if targets:
        last = np.arange(len(targets)) == len(targets) - 1
        axon = np.concatenate(
            [axon_heads(np.full(n, n), np.arange(n)), axon_entries(*zip(*targets, strict=True), last)]
        )
    dendrite = np.concatenate([dendrite_heads(Kind.RANGE, n, 0, 1), pack_weights(weights, 8)])
    return CoreImage(
        dendrite,
        axon,
        program(model),
        registers(n, **values),
        (Block(Memory.STATE, SECTION, pack_values([level] * n)),),
    )


def running(images: dict[Coordinate, CoreImage], batch: int = 1) -> Chip:
    made = Chip(chip())
    for at, image in images.items():
        made.load(at, image)
    made.begin(batch)
    return made


A, B = (1, 0), (4, 2)
TO_B, OUT = (3, 2, 0), (-1, 0, 5)


def test_a_spike_reaches_the_next_core_one_step_after_it_was_fired() -> None:
    two = running({A: core([10, 3], [TO_B]), B: core([4], [])})
    two.step(Events.at(A, 0))
    assert two.read_state(A).tolist() == [[0, 3]]
    assert two.read_state(B).tolist() == [[0]]
    two.step()
    assert two.read_state(B).tolist() == [[4]]


def test_what_is_addressed_to_the_data_port_or_off_the_mesh_leaves_when_it_is_fired() -> None:
    for sink, name in (((-1, 0, 5), (0, 0)), ((-2, 0, 5), (-1, 0)), ((0, -1, 5), (1, -1))):
        one = running({A: core([10, 10], [sink])})
        assert list(one.step(Events.at(A, 0))) == [(0, name, 5, 0), (0, name, 5, 1)]
        assert list(one.step()) == []


def test_a_relay_sends_on_within_the_same_step() -> None:
    relay = CoreImage(
        dendrite_heads(Kind.RELAY, 1, 0, 1),
        np.concatenate([axon_heads([0]), axon_entries([2], [2], [0], [True])]),
        program(Model.IF),
        registers(1),
        (Block(Memory.STATE, SECTION, pack_values([100])),),
    )
    three = running({A: core([10], [(1, 0, 0)]), (2, 0): relay, B: core([7], [])})
    three.step(Events.at(A, 0))
    three.step()
    assert three.read_state(B).tolist() == [[7]]
    assert three.activity().lost.tolist() == [0]


def test_relays_in_a_circle_lose_the_spike_and_say_so() -> None:
    def relay(dx: int) -> CoreImage:
        axon = np.concatenate([axon_heads([0]), axon_entries([dx], [0], [0], [True])])
        return CoreImage(dendrite_heads(Kind.RELAY, 1, 0, 1), axon, program(Model.IF), registers(1))

    circle = running({(1, 0): relay(1), (2, 0): relay(-1)})
    circle.step(Events.at((1, 0), 0))
    assert circle.activity().lost.tolist() == [1]


def test_samples_of_a_batch_know_nothing_of_each_other() -> None:
    together = running({A: core([4], [OUT])}, batch=3)
    alone = [running({A: core([4], [OUT])}) for _ in range(3)]
    for s in range(8):
        samples = [b for b in range(3) if s % (b + 1) == 0]
        out = list(together.step(Events.at(A, 0, sample=np.array(samples))))
        expected = [
            (b, *each[1:]) for b in range(3) for each in alone[b].step(Events.at(A, 0) if b in samples else None)
        ]
        assert out == expected
    assert np.array_equal(together.read_state(A), np.concatenate([each.read_state(A) for each in alone]))


def test_beginning_anew_forgets_the_run_before() -> None:
    one = running({A: core([4], [OUT])})
    one.step(Events.at(A, 0))
    one.begin(2)
    assert one.read_state(A).tolist() == [[0], [0]]
    assert one.activity().steps == 0


def test_membranes_start_from_the_state_words_and_saturate_at_16_bits() -> None:
    image = core([127] * 3, [], level=32767)
    one = Chip(chip())
    one.load(A, image)
    one.configure(A, Memory.STATE, 0, pack_values([32700, -32700, 0]))
    one.begin()
    one.step(Events.join(*[Events.at(A, 0)] * 3))
    assert one.read_state(A).tolist() == [[0, -32700 + 381, 381]]
    one.configure(A, Memory.STATE, 0, pack_values([-32768, -32768, 0]))
    one.configure(A, Memory.DENDRITE, 1, pack_weights([-128] * 3, 8))
    one.step(Events.at(A, 0))
    assert one.read_state(A).tolist() == [[-32768, -32768, -128]]


@pytest.mark.parametrize(("reset", "after"), [(Reset.HARD, [-7, 0]), (Reset.SOFT, [2, 0]), (Reset.NONE, [12, 0])])
def test_a_spike_leaves_what_the_register_reset_says(reset: Reset, after: list[int]) -> None:
    one = running({A: core([12, 0], [], RESET=reset, V_RESET=-7)})
    one.step(Events.at(A, 0))
    assert one.read_state(A).tolist() == [after]


def test_clif_is_the_published_equation() -> None:
    one = running({A: core([40], [], Model.CLIF, level=1000, P0=128, P1=3, P4=64)})
    current = membrane = 0
    for s in range(6):
        one.step(Events.at(A, 0) if s < 2 else None)
        current = (current * 64 >> 8) + (40 if s < 2 else 0)
        membrane = (membrane * 128 >> 8) + current + 3
        assert one.read_state(A, State.CURRENT).tolist() == [[current]]
        assert one.read_state(A).tolist() == [[membrane]]


def test_alif_raises_its_threshold_when_it_fires() -> None:
    one = running({A: core([30], [OUT], Model.ALIF, level=20, P0=256, P2=200, P3=25)})
    fired = [len(one.step(Events.at(A, 0))) for _ in range(12)]
    assert fired[:2] == [1, 0]
    assert 1 < sum(fired) < 12
    assert one.read_state(A, State.RESIDUE)[0, 0] > 0


def test_a_word_written_costs_16_bytes() -> None:
    one = Chip(chip())
    image = core([1, 2, 3], [OUT])
    one.load(A, image)
    assert (one.written_words, one.written_bytes) == (image.size, 16 * image.size)
    assert one.writes == len(image.blocks())


def test_a_running_chip_goes_on_when_another_core_is_written() -> None:
    one = running({A: core([4], [TO_B])})
    one.step(Events.at(A, 0))
    one.load(B, core([7], []))
    one.step(Events.join(Events.at(A, 0), Events.at(A, 0)))
    assert one.read_state(A).tolist() == [[0]]
    one.step()
    assert one.read_state(B).tolist() == [[7]]
    assert one.activity().synaptic_operations.tolist() == [4]


def test_a_cleared_core_runs_nothing_and_a_reset_chip_neither() -> None:
    one = running({A: core([10], [OUT]), B: core([10], [])})
    one.clear(B)
    assert one.cores == (A,)
    assert len(one.step(Events.at(A, 0))) == 1
    one.reset()
    assert one.cores == ()
    assert not one.read(A, Memory.AXON).any()
    with pytest.raises(UserError, match="call begin"):
        one.step()


def test_a_run_that_is_saved_goes_on_elsewhere() -> None:
    images = {A: core([6, 9], [TO_B]), B: core([4], [OUT], Model.CLIF, level=7, P0=200)}
    whole, first = running(images, 2), running(images, 2)
    events = Events.at(A, 0, sample=np.array([0, 1, 1]))
    for _ in range(3):
        whole.step(events)
        first.step(events)
    second = running(images, 2)
    second.resume(first.save())
    for _ in range(3):
        assert list(whole.step(events)) == list(second.step(events))
    assert all(np.array_equal(whole.read_state(at), second.read_state(at)) for at in images)


def test_activity_counts_operations_spikes_hops_and_energy() -> None:
    two = running({A: core([10, 3], [TO_B]), B: core([4], [])}, batch=2)
    two.step(Events.at(A, 0, sample=np.array([1, 1])))
    two.step(Events.at(A, 0, sample=1))
    done = two.activity()
    assert done.cores == (A, B)
    assert done.operations.tolist() == [[0, 0], [6, 1]]
    assert done.spikes.tolist() == [[0, 0], [2, 0]]
    assert done.hops.tolist() == [0, 3 * 1 + 5]
    assert done.link_load[1, done.links.index(((0, 0), A))] == 3
    assert done.link_peak[1, done.links.index(((0, 0), A))] == 2
    assert done.link_load[1, done.links.index(((4, 0), (4, 1)))] == 1
    assert np.allclose(done.energy_j, [0, 7 * 5.47e-12])


def test_a_busy_core_needs_a_longer_time_step() -> None:
    one = running({A: core([1] * 4000, [], level=30000)}, batch=2)
    one.step(Events.at(A, 0, sample=np.zeros(50, np.int64)))
    needed = one.activity().needed_step_s
    assert needed[0] == pytest.approx((4000 * 50 + 4000 * len(program(Model.IF))) / 333e6)
    assert needed[1] == pytest.approx(4000 * len(program(Model.IF)) / 333e6)
    idle = running({A: core([1], [])})
    idle.step()
    assert idle.activity().needed_step_s.tolist() == [1.024e-5]


def test_a_busy_link_needs_a_longer_time_step() -> None:
    one = running({A: core([1], [], level=30000)})
    one.step(Events.at(A, 0, sample=np.zeros(50_000, np.int64)))
    assert one.activity().needed_step_s[0] == pytest.approx(2 * 50_000 / 333e6)


def test_lists_may_be_shared_by_dendrites() -> None:
    words = np.concatenate(
        [dendrite_heads(Kind.LIST, 2, 2, [3, 4]), pack_list([1, 0]), pack_weights([[5, 6], [7, 8]], 8)]
    )
    state = (Block(Memory.STATE, SECTION, pack_values([99, 99])),)
    one = running({A: CoreImage(words, np.zeros(0, np.uint64), program(Model.IF), registers(2), state)})
    one.step(Events.at(A, np.array([0, 1, 1])))
    assert one.read_state(A).tolist() == [[6 + 2 * 8, 5 + 2 * 7]]


def test_a_list_ends_where_the_memory_does() -> None:
    words = np.concatenate(
        [dendrite_heads(Kind.LIST, 6, 2, 1), pack_weights([1, 2, 3, 4, 5, 6], 8), pack_list([3, 2, 1, 0])]
    )
    others = core([9] * 8, [])
    last = CoreImage(words, np.zeros(0, np.uint64), program(Model.IF), registers(8), others.state)
    two = running({A: last, B: others})
    two.step(Events.at(A, 0))
    assert two.read_state(A).tolist() == [[4, 3, 2, 1, 0, 0, 0, 0]]
    assert two.activity().synaptic_operations.tolist() == [4]


def test_events_are_made_of_arrays_of_one_length() -> None:
    assert len(Events.at(A, np.zeros(0, np.int64))) == 0
    assert len(Events.join()) == 0
    assert list(Events.at(A, np.array([1, 2]), 3)) == [(3, A, 1, 0), (3, A, 2, 0)]
    with pytest.raises(UserError, match="made of 3 dendrites, samples and indices, and of 2; give as many"):
        Events.at(A, np.arange(3), np.arange(2))


def test_what_the_hardware_refuses_is_refused_with_the_limit() -> None:
    one = Chip(chip())
    with pytest.raises(UserError, match="dendrite memory has 8192 words, and 8192 to 8192 are written"):
        one.configure((2, 0), Memory.DENDRITE, 8192, pack_values(0))
    with pytest.raises(UserError, match="program memory has 128 words"):
        one.configure(A, Memory.PROGRAM, 0, np.zeros(129, np.uint64))
    with pytest.raises(UserError, match="axon words have 26 bits"):
        one.configure(A, Memory.AXON, 0, np.array([2**26], np.uint64))
    with pytest.raises(UserError, match="hosts no neurons"):
        one.configure((0, 0), Memory.AXON, 0, np.zeros(1, np.uint64))
    with pytest.raises(UserError, match="no memory of a core named 'cache'; known: axon, dendrite"):
        one.configure(A, "cache", 0, np.zeros(1, np.uint64))
    assert one.written_words == 0


@pytest.mark.parametrize(
    ("register", "value", "said"),
    [
        (Register.NEURONS, 4097, "at most 4096 neurons, and its register NEURONS says 4097"),
        (Register.WEIGHT_BITS, 5, "WEIGHT_BITS says 5"),
    ],
)
def test_a_core_whose_registers_make_no_sense_is_refused(register: Register, value: int, said: str) -> None:
    one = Chip(chip())
    one.load(A, core([1], []))
    one.configure(A, Memory.REGISTER, register, pack_values(value))
    with pytest.raises(UserError, match=said):
        one.begin()


def test_a_core_without_one_of_the_four_programs_is_refused() -> None:
    one = Chip(chip())
    one.load(A, core([1], []))
    one.configure(A, Memory.PROGRAM, 0, pack_values(77))
    with pytest.raises(UserError, match="none of IF, IF_BIAS, CLIF, ALIF; write"):
        one.begin()


@pytest.mark.parametrize(
    ("events", "said"),
    [
        (Events.at(A, 0, sample=2), "2 as a sample of this run, which is 0 to 1"),
        (Events.at(A, 2**15), "32768 as a dendrite"),
        (Events.at(A, 0, index=4096), "4096 as an index"),
        (Events.at((24, 0), 0), "24 as an x of the mesh"),
    ],
)
def test_events_that_name_nothing_are_refused(events: Events, said: str) -> None:
    with pytest.raises(UserError, match=said):
        running({A: core([1], [])}, batch=2).step(events)


def test_saved_state_of_another_shape_or_core_is_refused() -> None:
    one = running({A: core([1], [])})
    with pytest.raises(UserError, match=r"the run needs \(1, 4, 1\)"):
        one.resume({A: np.zeros((2, 4, 1), np.int16)})
    with pytest.raises(UserError, match="state of core"):
        one.resume({B: np.zeros((1, 4, 0), np.int16)})
    with pytest.raises(UserError, match="at least one sample"):
        one.begin(0)
