"""Packed column tiles, random and whole, and what the column buffer has to make of them."""

import random
from dataclasses import dataclass, field
from typing import Any

from rtl.format import pack_group
from rtl.params import BIAS_BITS, SHIFT_MAX, units_in_beats
from rtl.product import Product
from tests.sim.plain_image import parameter_word, tile_beats

# Of one column in one step, lane by lane: weight, and position where a pair of the group lies there.
Operands = list[tuple[int, int | None]]


@dataclass
class Weights:
    """The weights and parameters of a product, drawn from a random sequence."""

    product: Product
    rng: random.Random
    w: list[list[int]] = field(init=False)  # [channels][k]
    parameters: list[tuple[int, int, int]] = field(init=False)  # bias, mult, shift [channels]

    def __post_init__(self) -> None:
        p = self.product
        self.w = [self._channel() for _ in range(p.channels)]
        self.parameters = [self._parameters() for _ in range(p.channels)]

    def _channel(self) -> list[int]:
        """Groups of as many non-zeros as the pattern lets through, and of fewer."""
        p, rng, m = self.product, self.rng, self.product.config.m
        weights = [0] * (p.groups * m)
        for group in range(p.groups):
            count = rng.choice([p.pattern_n, p.pattern_n, rng.randint(0, p.pattern_n)])
            for position in rng.sample(range(m), count):
                weights[group * m + position] = rng.choice([-127, 127, rng.randint(1, 127), -rng.randint(1, 127)])
        return weights[: p.k]

    def _parameters(self) -> tuple[int, int, int]:
        rng, high = self.rng, (1 << (BIAS_BITS - 1)) - 1
        bias = rng.choice([-high - 1, high, rng.randint(-high - 1, high)])
        return bias, rng.choice([0, 0xFFFF, rng.getrandbits(16)]), rng.choice([1, SHIFT_MAX, rng.randint(1, SHIFT_MAX)])

    def beats(self, tile: int) -> list[int]:
        return tile_beats(self.product, tile, self.w, [parameter_word(*three) for three in self.parameters])

    def slots(self, tile: int) -> list[list[tuple[int, int, int]]]:
        """The parameters of each slot of the drain, lane by lane; zero where no channel is."""
        c = self.product.config
        channels = [tile * c.cols + column for column in range(c.cols)]
        three = [self.parameters[one] if one < self.product.channels else (0, 0, 0) for one in channels]
        three += [(0, 0, 0)] * (c.slots_a_row * c.drain_lanes - c.cols)
        return [three[at : at + c.drain_lanes] for at in range(0, len(three), c.drain_lanes)]

    def steps(self, tile: int) -> list[list[Operands]]:
        """[step][column] of a column tile."""
        p, c = self.product, self.product.config
        lanes, steps_a_group = p.pattern.lanes, p.pattern.steps
        columns: list[list[Operands]] = []
        for channel in range(tile * c.cols, (tile + 1) * c.cols):
            steps: list[Operands] = []
            for group in range(p.groups):
                at = group * c.m
                pairs: Operands = []
                if channel < p.channels:
                    weights = self.w[channel][at : at + c.m]
                    values, positions = pack_group(weights + [0] * (c.m - len(weights)), p.pattern_n)
                    pairs = list(zip(values, positions, strict=True))
                pairs += [(0, None)] * (steps_a_group * lanes - len(pairs))
                for step in range(steps_a_group):
                    steps.append(pairs[step * lanes : (step + 1) * lanes] + [(0, None)] * (c.n - lanes))
            columns.append(steps)
        return [list(step) for step in zip(*columns, strict=True)]


def check_operands(got: Any, want: Operands, where: str) -> None:
    """got: a sampled `column_step`. A position counts only where a pair is."""
    weights = [got.weights[lane] for lane in range(len(want))]
    assert weights == [weight for weight, _ in want], f"{where}: weights"
    for lane, (_, position) in enumerate(want):
        if position is not None:
            assert got.indices[lane] == position, f"{where}: index of lane {lane}"


def load_times(product: Product, begin: int) -> tuple[list[int], list[int]]:
    """When each slot of the parameters and each step goes, if a tile begins to load at `begin` and no beat is late.

    Beats come in the order of the tile plan, one a cycle: the first a cycle after the tile begins, the first of the
    steps' a cycle after the last slot, each other one not before the slot or step goes that stands before the one it
    is for. A slot or step goes a cycle after the last beat that it needs, one a cycle.
    """
    port = 8 * product.config.port_bytes
    kinds = {
        "parameters": (product.parameter_unit_bits, 1),
        "selection": (product.selection_unit_bits, product.selection_unit_steps),
        "values": (product.value_unit_bits, 1),
    }
    needs: dict[bool, dict[int, int]] = {True: {}, False: {}}  # of parameters or not: beats of each slot or step
    for kind, index in product.tile_plan():
        unit_bits, units = kinds[kind]
        units_a_beat, beats_a_unit = units_in_beats(unit_bits, port)
        user = index * units_a_beat // beats_a_unit * units
        needs[kind == "parameters"][user] = needs[kind == "parameters"].get(user, 0) + 1

    goes = begin
    times: list[list[int]] = []
    for parameters, count in ((True, product.config.slots_a_row), (False, product.steps)):
        times.append([])
        beat = goes  # the last one came; the next comes a cycle later at the earliest
        for user in range(count):
            before = goes
            for _ in range(needs[parameters].get(user, 0)):
                beat = max(beat + 1, before)
                goes = beat
            goes = max(goes, before) + 1
            times[-1].append(goes)
    return times[0], times[1]
