"""The emulation's compiled loops. Integer sums: no order of arrival changes a result.

Whatever the words hold, a fault included, nothing is read or written outside the arrays: an address beyond a memory
reads nothing, a neuron beyond a core's last is no neuron.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from synfire.base.compiled import compiled
from synfire.devices.darwin3.neurons import Model, Reset
from synfire.devices.darwin3.routes import LOST, SINK
from synfire.devices.darwin3.tables import Tables, Tally
from synfire.devices.darwin3.words import Kind
from synfire.ops import Array

_LIST, _RANGE, _KERNEL, _RELAY = int(Kind.LIST), int(Kind.RANGE), int(Kind.KERNEL), int(Kind.RELAY)
_SOFT, _HARD, _ALIF, _CLIF, _IF = int(Reset.SOFT), int(Reset.HARD), int(Model.ALIF), int(Model.CLIF), int(Model.IF)

MOST_RELAYS = 64
"""A spike that was relayed as often as this goes in a circle, and is lost."""


@compiled
def advance(
    t: Tables, tally: Tally, given: Array, state: Array, sums: Array, spikes: Array, fired: Array, count: Array
) -> Array:
    """One time step: deliver, update, count; what left, `(event, 4)` sample, route, dendrite, index.

    One call into compiled code, as taking the tables apart costs more than a small batch's step.
    """
    direct, relayed = enter(t, given, tally.route_events, tally.lost)
    begun = starts(t, fired, count, relayed, False)
    arrived = walk(t, begun, False, tally.route_events, tally.lost)
    accumulate(t, sums, direct, tally.operations, tally.lost)
    accumulate(t, sums, arrived, tally.operations, tally.lost)
    update(t, tally.spikes, state, sums, spikes, fired, count)
    begun = starts(t, fired, count, relayed, True)
    left = walk(t, begun, True, tally.route_events, tally.lost)
    settle(t, tally)
    return left


@compiled
def enter(t: Tables, given: Array, route_events: Array, lost: Array) -> tuple[Array, Array]:
    """Events from outside, `(event, 4)` sample, core (−1: none there), dendrite, index: those that come to a dendrite, as `walk`
    returns arrivals, and those that a relay sends on, as `starts` takes them.
    """
    direct, relayed = np.empty_like(given), np.empty((given.shape[0], 3), np.int64)
    n = r = 0
    for e in range(given.shape[0]):
        b, slot, dendrite = given[e, 0], given[e, 1], given[e, 2]
        if slot >= 0:
            route_events[b, t.input_route[slot]] += 1
        if slot < 0 or t.input_cut[slot]:
            lost[b] += 1
            continue
        at = t.word_at[slot] + dendrite
        head = np.int64(t.words[at]) if at < t.word_at[slot + 1] else 0
        on = t.entry_at[slot] + (head & 0xFFFF) - t.neurons[slot]
        if head >> 29 & 3 == _RELAY and t.entry_at[slot] <= on < t.entry_at[slot + 1]:
            relayed[r, 0], relayed[r, 1], relayed[r, 2] = b, on, given[e, 3]
            r += 1
        else:
            direct[n] = given[e]
            n += 1
    return direct[:n], relayed[:r]


@compiled
def starts(t: Tables, fired: Array, count: Array, relayed: Array, leaving: bool) -> Array:
    """Where the spikes' entries begin: `(spike, 3)` sample, place, index.

    `fired` `(batch, neuron)` holds the numbers of `count[b]` neurons; `relayed` are such rows for events given to relays. When
    `leaving`, only of cores whose spikes may leave the chip.
    """
    head, head_index, core_of, leaves = t.head, t.head_index, t.core_of, t.leaves
    found, n = np.empty((count.sum() + relayed.shape[0], 3), np.int64), relayed.shape[0]
    found[:n] = relayed
    for b in range(count.size):
        for i in range(count[b]):
            neuron = fired[b, i]
            if head[neuron] >= 0 and (not leaving or leaves[core_of[neuron]]):
                found[n, 0], found[n, 1], found[n, 2] = b, head[neuron], head_index[neuron]
                n += 1
    return found[:n]


@compiled
def walk(t: Tables, begun: Array, leaving: bool, route_events: Array, lost: Array) -> Array:
    """Follow spikes along the axon entries, and along those of the relays that they meet; counts routes and losses.

    Returns `(event, 4)` int64: where they arrive (sample, core, dendrite, index), or, when `leaving`, what leaves the chip
    (sample, route, dendrite, index).
    """
    entries, need = t.entries, t.longest * MOST_RELAYS if t.relays else t.longest
    stack, out, n = np.empty(MOST_RELAYS, np.int64), np.empty((2 * begun.shape[0] + need, 4), np.int64), 0
    for s in range(begun.shape[0]):
        if n + need > out.shape[0]:
            grown = np.empty((2 * out.shape[0], 4), np.int64)
            grown[:n] = out[:n]
            out = grown
        b, index = begun[s, 0], begun[s, 2]
        stack[0], pushed, popped = begun[s, 1], 1, 0
        while popped < pushed:
            at = stack[popped]
            popped += 1
            while at >= 0:
                target, route, relay = entries[at, 0], entries[at, 1], entries[at, 3]
                if route >= 0 and leaving == (target == SINK):
                    route_events[b, route] += 1
                if relay >= 0 and pushed < MOST_RELAYS:
                    stack[pushed] = relay
                    pushed += 1
                elif relay < 0 and leaving == (target == SINK) and target != LOST:
                    out[n, 0], out[n, 1] = b, route if leaving else target
                    out[n, 2], out[n, 3] = entries[at, 2], index
                    n += 1
                elif not leaving and target != SINK:
                    lost[b] += 1
                at = -1 if entries[at, 4] else at + 1
    return out[:n]


@compiled
def accumulate(t: Tables, sums: Array, arrivals: Array, operations: Array, lost: Array) -> None:
    """Add to `sums`, `(batch · neuron,)`, what the dendrites do with their events; count the synaptic operations."""
    words, word_at, lists, weights, weight_at = t.words, t.word_at, t.lists, t.weights, t.weight_at
    per_word, size_of, first, neurons_in_all = t.per_word, t.neurons, t.first, t.core_of.size
    for e in range(arrivals.shape[0]):
        b, slot, dendrite, index = arrivals[e, 0], arrivals[e, 1], arrivals[e, 2], arrivals[e, 3]
        at, end = word_at[slot], word_at[slot + 1]
        head = np.int64(words[at + dendrite]) if at + dendrite < end else 0
        if head == 0:
            lost[b] += 1
            continue
        kind, size = head >> 29 & 3, (head >> 17 & 0xFFF) + 1
        where, start = head >> 32 & 0xFFFF, head & 0xFFFF
        per, neurons, total = per_word[slot], size_of[slot], b * neurons_in_all + first[slot]
        row, row_end = weight_at[slot] + start * per, weight_at[slot] + (end - at) * per
        done = 0
        if kind == _RANGE:
            row += index * ((size + per - 1) // per) * per
            size = min(size, neurons - (where & 0xFFF), row_end - row)
            done = _add_row(sums, total + (where & 0xFFF), weights, row, size)
        elif kind == _LIST:
            size = min(size, row_end - row, 4 * (end - at - where))
            done = _add_list(sums, total, neurons, lists, 4 * (at + where), weights, row, size)
        elif kind == _KERNEL and where + 3 <= end - at:
            a, k, c = np.int64(words[at + where]), np.int64(words[at + where + 1]), np.int64(words[at + where + 2])
            done = _add_kernel(sums, total, neurons, weights, row, row_end, size, index, a, k, c)
        operations[b, slot] += done


@compiled
def _add_list(
    sums: Array, total: int, neurons: int, lists: Array, where: int, weights: Array, row: int, size: int
) -> int:
    for k in range(size):
        neuron = np.int64(lists[np.uint64(where + k)])
        if neuron < neurons:
            sums[np.uint64(total + neuron)] += weights[np.uint64(row + k)]
    return max(size, 0)


@compiled
def _add_row(sums: Array, first: int, weights: Array, row: int, size: int) -> int:
    for k in range(size):
        sums[np.uint64(first + k)] += weights[np.uint64(row + k)]
    return max(size, 0)


@compiled
def _add_kernel(
    sums: Array,
    total: int,
    neurons: int,
    weights: Array,
    row: int,
    row_end: int,
    size: int,
    index: int,
    a: int,
    b: int,
    c: int,
) -> int:
    """A spike at pixel `index` through the kernel whose three words are a, b, c (see `words.Kernel`)."""
    in_width, height, width, pixel = a >> 36 & 0xFFF, a >> 24 & 0xFFF, a >> 12 & 0xFFF, a & 0xFFF
    taps_y, taps_x, stride_y, stride_x = b >> 42 & 63, b >> 36 & 63, b >> 30 & 63, b >> 24 & 63
    across_y, across_x, first = b >> 18 & 63, b >> 12 & 63, b & 0xFFF
    if in_width == 0 or stride_y == 0 or stride_x == 0:
        return 0
    top, left = ((c >> 36 & 0xFFF) ^ 2048) - 2048, ((c >> 24 & 0xFFF) ^ 2048) - 2048
    y, done = index // in_width, 0
    below, column = y + top, index - y * in_width + left
    for r in range(taps_y):
        oy = _over(below - r * across_y, stride_y, height)
        if oy < 0:
            continue
        for s in range(taps_x):
            ox = _over(column - s * across_x, stride_x, width)
            if ox >= 0:
                neuron, tap = first + (oy * width + ox) * pixel, row + (r * taps_x + s) * size
                fits = min(size, neurons - neuron, row_end - tap)
                done += _add_row(sums, total + neuron, weights, tap, fits)
    return done


@compiled
def _over(place: int, stride: int, limit: int) -> int:
    """place / stride, if that is a whole number from 0 to limit − 1; else −1."""
    if stride != 1 and place >= 0:
        whole = place // stride
        place = whole if whole * stride == place else -1
    return place if place < limit else -1


@compiled
def update(t: Tables, counted: Array, state: Array, sums: Array, spikes: Array, fired: Array, count: Array) -> None:
    """One time step of every neuron; `sums` is used up.

    `state` is `(3, batch, neuron)` int16: membrane, current, residue. The numbers of the neurons that fired go to `fired`, their count per core to `counted`.
    """
    size = t.core_of.size
    for b in range(count.size):
        for slot in range(t.neurons.size):
            first, last = t.first[slot], t.first[slot] + t.neurons[slot]
            v, i, a = state[0, b, first:last], state[1, b, first:last], state[2, b, first:last]
            x, level, s = sums[b * size + first : b * size + last], t.threshold[first:last], spikes[first:last]
            p = t.parameters[slot]
            if t.model[slot] == _ALIF:
                _alif(v, i, a, x, level, s, p)
            else:
                if t.model[slot] == _CLIF:
                    _clif(v, i, x, p)
                else:
                    _integrate(v, x, 0 if t.model[slot] == _IF else p[1])
                _fire(v, level, s, p)
        sums[b * size : (b + 1) * size] = 0
        count[b] = _collect(t.core_of, spikes, fired[b], counted[b])


@compiled
def settle(t: Tables, tally: Tally) -> None:
    """Add the step's traffic and work to the totals: loads of links, and the cycles of the busiest part."""
    crossing = np.empty(tally.link_load.shape[1], np.int64)
    for b in range(tally.lost.size):
        crossing[:] = 0
        for r in range(tally.route_events.shape[1]):
            events = tally.route_events[b, r]
            if events:
                for k in range(t.route_at[r], t.route_at[r + 1]):
                    crossing[t.route_links[k]] += events
                tally.route_events[b, r] = 0
        peak = tally.peak_cycles[b]
        for link in range(crossing.size):
            tally.link_load[b, link] += crossing[link]
            tally.link_peak[b, link] = max(tally.link_peak[b, link], crossing[link])
            peak = max(peak, crossing[link] * t.cycles_per_hop)
        for slot in range(t.neurons.size):
            done = tally.operations[b, slot]
            tally.operations[b, slot] = 0
            tally.total_operations[b, slot] += done
            peak = max(peak, done + t.cycles[slot])
        tally.peak_cycles[b] = peak


@compiled
def _clip(value: int) -> Any:
    return np.int32(min(max(np.int32(value), np.int32(-32768)), np.int32(32767)))


@compiled
def _integrate(v: Array, x: Array, bias: int) -> None:
    more = np.int32(bias)
    for k in range(v.size):
        v[k] = _clip(np.int32(v[k]) + _clip(x[k]) + more)


@compiled
def _clif(v: Array, i: Array, x: Array, p: Array) -> None:
    keep, more, slow = np.int32(p[0]), np.int32(p[1]), np.int32(p[4])
    for k in range(v.size):
        current = _clip(np.int32(np.int32(np.int32(i[k]) * slow) >> np.int32(8)) + _clip(x[k]))
        i[k] = current
        v[k] = _clip(np.int32(np.int32(np.int32(v[k]) * keep) >> np.int32(8)) + current + more)


@compiled
def _fire(v: Array, level: Array, s: Array, p: Array) -> None:
    back = np.int16(p[6])
    if p[5] == _HARD:
        for k in range(v.size):
            over = v[k] >= level[k]
            s[k] = over
            v[k] = back if over else v[k]
    elif p[5] == _SOFT:
        for k in range(v.size):
            over = v[k] >= level[k]
            s[k] = over
            v[k] = _clip(np.int32(v[k]) - np.int32(level[k])) if over else np.int32(v[k])
    else:
        for k in range(v.size):
            s[k] = v[k] >= level[k]


@compiled
def _alif(v: Array, own: Array, a: Array, x: Array, level: Array, s: Array, p: Array) -> None:
    keep, more, fade, jump = np.int32(p[0]), np.int32(p[1]), np.int32(p[2]), np.int32(p[3])
    for k in range(v.size):
        before = np.int32(own[k] != 0)
        adapted = _clip(np.int32(np.int32(np.int32(a[k]) * fade) >> np.int32(8)) + jump * before)
        height = _clip(np.int32(level[k]) + adapted)
        charged = np.int32(np.int32(np.int32(v[k]) * keep) >> np.int32(8)) + _clip(x[k]) + more
        v[k] = _clip(charged - height * before)
        over = v[k] >= height
        a[k], own[k], s[k] = adapted, np.int16(over), over


@compiled
def _collect(core_of: Array, spikes: Array, fired: Array, counted: Array) -> int:
    """The numbers of the neurons that fired, eight neurons at a look."""
    n, eights = 0, spikes.view(np.uint64)
    for e in range(eights.size):
        if eights[e]:
            for neuron in range(8 * e, 8 * e + 8):
                if spikes[neuron]:
                    fired[n] = neuron
                    n += 1
                    counted[core_of[neuron]] += 1
    return n
