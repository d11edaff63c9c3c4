"""Feeder, store, softmax, column buffer and array together: every result and reciprocal is there when it is read.

Keys and values come from the store while rows are read from it.
"""

import random
from typing import Any

import pytest
from amaranth.hdl import Module, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import SimulatorContext

from rtl.array.grid import Array
from rtl.array.latencies import READER_SAMPLE
from rtl.params import ceil_div
from rtl.sta.control.instruction import instruction_layout
from rtl.sta.isa import Columns, Op
from rtl.sta.latencies import drain_start, row_latency
from rtl.sta.operands.columns import ColumnBuffer
from rtl.sta.operands.feeder import Feeder
from rtl.sta.operands.softmax import RowSoftmax, emit, exponential_table, maximum_write, reciprocal, table_write
from rtl.sta.operands.store import ActivationStore, store_write
from rtl.sta.params import StaConfig
from tests.nightly import but
from tests.rtl.simulate import drive, run, seeded

CONFIGURATIONS = {
    "base": StaConfig(n=2, m=8, rows=4, cols=8, drain=4, max_tokens=12, max_k=64, store_words=32),
    "odd": StaConfig(n=3, m=8, rows=5, cols=3, drain=2, port_bytes=16, max_tokens=15, max_k=40, store_words=50),
    "slow drain": StaConfig(n=1, m=4, rows=5, cols=6, drain=1, port_bytes=4, max_tokens=12, max_k=24, store_words=60),
    "n = m": StaConfig(n=4, m=4, rows=2, cols=4, drain=4, port_bytes=16, max_tokens=20, max_k=48, store_words=99),
    "one": StaConfig(n=1, m=2, rows=1, cols=1, drain=1, port_bytes=2, max_tokens=7, max_k=12, store_words=200),
}


class Path(wiring.Component):
    """Everything between the store's write port and the array's results."""

    def __init__(self, config: StaConfig) -> None:
        self.config = config
        super().__init__(
            {
                "start": In(1),
                "instruction": In(instruction_layout(config)),
                "write": In(store_write(config)),
                "maxima": In(maximum_write(config)).array(config.rows),
                "table": In(table_write()),
                "tile_end": Out(1),
                "drained": In(1),
                "results": Out(signed(config.accumulator_bits)).array(config.rows, config.cols),
                "q": Out(16).array(config.rows),
                "shift_t": Out(6).array(config.rows),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, instruction = self.config, self.instruction
        m.submodules.store = store = ActivationStore(c)
        m.submodules.feeder = feeder = Feeder(c)
        m.submodules.columns = columns = ColumnBuffer(c)
        m.submodules.array = array = Array(c)
        wiring.connect(m, feeder.columns, columns.reads)
        wiring.connect(m, columns.copy, store.copy)
        m.d.comb += [
            feeder.start.eq(self.start),
            feeder.instruction.eq(instruction),
            columns.start.eq(self.start),
            columns.instruction.eq(instruction),
            columns.channels.drained.eq(self.drained),
            store.step.eq(feeder.step),
            store.write.eq(self.write),
            self.tile_end.eq(feeder.tile_end),
        ]
        for r in range(c.rows):
            m.submodules[f"softmax_{r}"] = softmax = RowSoftmax(c)
            m.d.comb += [
                softmax.row.eq(store.rows[r]),
                softmax.keys.eq(instruction["keys"]),
                softmax.maximum.eq(self.maxima[r]),
                softmax.table.eq(self.table),
                softmax.mult.eq(instruction.mult),
                softmax.shift.eq(instruction["shift"]),
                array.rows[r].eq(softmax.step),
                self.q[r].eq(softmax.factor.mult),
                self.shift_t[r].eq(softmax.factor.shift),
            ]
        for i in range(c.cols):
            m.d.comb += array.columns[i].eq(columns.columns[i])
            for r in range(c.rows):
                m.d.comb += self.results[r][i].eq(array.results[r][i])
        return m


class Bench:
    def __init__(self, config: StaConfig, rng: random.Random) -> None:
        self.config, self.rng = config, rng
        self.dut = Path(config)
        self.table = exponential_table(0.02)
        self.tiles_seen = 0

    async def write_rows(self, ctx: SimulatorContext, base: int, pitch: int, rows: list[list[int]]) -> None:
        """Row t of int8 as token t of a region."""
        c = self.config
        size = c.store_word_bytes
        for token, row in enumerate(rows):
            content = bytes(element & 0xFF for element in row)
            for at in range(0, len(content), size):
                piece = content[at : at + size]
                address = base + token // c.rows * pitch + at // size
                assert address < c.store_words
                write = {"enable": 1, "bank": token % c.rows, "address": address, "strobe": (1 << len(piece)) - 1}
                drive(ctx, self.dut, {"write": {**write, "data": int.from_bytes(piece, "little")}})
                await ctx.tick()
        drive(ctx, self.dut, {"write": {"enable": 0}})
        await ctx.tick()

    async def prepare_softmax(self, ctx: SimulatorContext, maxima: list[int]) -> None:
        c, dut = self.config, self.dut
        for address, entry in enumerate(self.table):
            drive(ctx, dut, {"table": {"enable": 1, "address": address, "data": entry}})
            await ctx.tick()
        drive(ctx, dut, {"table": {"enable": 0}})
        for token, top in enumerate(maxima):
            write = {"enable": 1, "tile": token // c.rows, "value": top}
            drive(ctx, dut, {"maxima": [write if r == token % c.rows else {"enable": 0} for r in range(c.rows)]})
            await ctx.tick()
        drive(ctx, dut, {"maxima": [{"enable": 0}] * c.rows})
        await ctx.tick()

    async def product(
        self,
        ctx: SimulatorContext,
        instruction: dict[str, int],
        want: list[list[int]],
        divisors: list[tuple[int, int]] | None,
    ) -> None:
        """`want`: results [token][channel]; `divisors`: (q, shift_t) of each token. Reads as the drain does."""
        c, dut = self.config, self.dut
        tokens, channels = instruction["tokens"], instruction["channels"]
        rows_of = [min(c.rows, tokens - t) for t in range(0, tokens, c.rows)]
        tiles = [(col, tok) for col in range(ceil_div(channels, c.cols)) for tok in range(len(rows_of))]
        start = drain_start(c, divisors is not None)
        free = 0
        due: dict[int, list[tuple[int, int, int]]] = {}  # cycle: column tile, token, column of the array
        dividing: dict[int, int] = {}  # cycle: token whose reciprocal is used
        drained: set[int] = set()
        at = 0
        results = [result for row in dut.results for result in row]
        cycle = 0
        while at < len(tiles) or cycle <= free + row_latency(c):
            drive(ctx, dut, {"start": cycle == 0, "instruction": instruction, "drained": cycle in drained})
            _, _, tile_end, *values = await ctx.tick().sample(dut.tile_end, *results, *dut.q, *dut.shift_t)
            where = f"cycle {cycle} of {instruction}"
            if tile_end:
                col, tok = tiles[at]
                begins = max(cycle - 1 + start, free)
                for i in range(rows_of[tok] * c.slots_a_row):
                    token = tok * c.rows + i // c.slots_a_row
                    for column in range(c.cols)[i % c.slots_a_row * c.drain_lanes :][: c.drain_lanes]:
                        due.setdefault(begins + i + READER_SAMPLE + column, []).append((col, token, column))
                    used = begins + i + row_latency(c)
                    dividing.update({used - 1: token, used: token})
                free = begins + rows_of[tok] * c.slots_a_row
                if tok == len(rows_of) - 1:
                    drained.add(free)
                at += 1
            for col, token, column in due.pop(cycle, []):
                channel = col * c.cols + column
                if channel < channels:
                    got = values[token % c.rows * c.cols + column]
                    assert got == want[token][channel], f"{where}: token {token}, channel {channel}"
            if divisors is not None and cycle in dividing:
                token = dividing[cycle]
                row = len(results) + token % c.rows
                if divisors[token][0]:
                    assert (values[row], values[row + c.rows]) == divisors[token], f"{where}: token {token}"
            cycle += 1
            assert cycle < 8000, f"not done: {at} of {len(tiles)} tiles"
        self.tiles_seen += len(tiles)
        drive(ctx, dut, {"drained": cycle in drained})
        await ctx.tick()
        drive(ctx, dut, {"drained": 0})

    def int8(self, rows: int, columns: int) -> list[list[int]]:
        return [
            [self.rng.choice([self.rng.randint(-128, 127), 127, -128]) for _ in range(columns)] for _ in range(rows)
        ]

    async def attention(self, ctx: SimulatorContext, tokens: int, keys: int, width: int, channels: int) -> None:
        """Scores of random queries and keys of `width` groups; then random scores over values of so many channels."""
        c, rng = self.config, self.rng
        tiles = ceil_div(tokens, c.rows)
        first = c.rows * rng.randrange(c.max_tiles - tiles + 1)
        size = c.store_word_bytes

        x, k = self.int8(tokens, width * c.m), self.int8(keys, width * c.m)
        words = ceil_div(width * c.m, size)
        x_pitch, k_pitch = words + rng.randrange(2), words
        k_base = x_pitch * tiles
        await self.write_rows(ctx, 0, x_pitch, x)
        await self.write_rows(ctx, k_base, k_pitch, k)
        common = {"opcode": Op.PRODUCT, "pattern_n": c.m, "tokens": tokens, "first_token": first}
        scores = [[sum(a * b for a, b in zip(q, key, strict=True)) for key in k] for q in x]
        keys_product: dict[str, int] = {
            **common, "columns": Columns.KEYS, "channels": keys, "groups": width,
            "x_base": 0, "x_pitch": x_pitch, "c_base": k_base, "c_pitch": k_pitch,
        }  # fmt: skip
        await self.product(ctx, keys_product, scores, None)

        groups = ceil_div(keys, c.m)
        s, v = self.int8(tokens, groups * c.m), self.int8(keys, channels)
        x_pitch, v_pitch = ceil_div(groups * c.m, size), ceil_div(channels, size)
        v_base = x_pitch * tiles
        await self.write_rows(ctx, 0, x_pitch, s)
        await self.write_rows(ctx, v_base, v_pitch, v)
        await self.prepare_softmax(ctx, [max(row[:keys]) for row in s])
        p = [emit(row, keys, self.table) for row in s]
        context = [
            [sum(p[t][key] * v[key][ch] for key in range(keys)) for ch in range(channels)] for t in range(tokens)
        ]
        mult, shift = rng.randrange(1 << 15, 1 << 16), rng.randint(1, 20)
        divisors = [reciprocal(sum(row), mult, shift, c.sum_bits) for row in p]
        values_product: dict[str, int] = {
            **common, "columns": Columns.VALUES, "channels": channels, "groups": groups, "keys": keys,
            "x_base": 0, "x_pitch": x_pitch, "c_base": v_base, "c_pitch": v_pitch, "mult": mult, "shift": shift,
        }  # fmt: skip
        await self.product(ctx, values_product, context, divisors)


@pytest.mark.parametrize("name", but(CONFIGURATIONS, {"base"}))
def test_attention(name: str) -> None:
    config = CONFIGURATIONS[name]
    bench = Bench(config, seeded(name))
    shapes: list[tuple[Any, ...]] = [
        (config.max_tokens, min(config.max_tokens, config.max_k) - 1 or 1, 1, 2 * config.cols + 1),
        (1, 1, 1, 3 * config.cols),
        (min(config.max_tokens, config.rows + 1), min(config.max_tokens, config.m + 1), 2, config.cols + 1),
        (min(config.max_tokens, 2 * config.rows), 2, 1, 4 * config.cols),
    ]

    async def testbench(ctx: SimulatorContext) -> None:
        for tokens, keys, width, channels in shapes:
            await bench.attention(ctx, tokens, keys, width, channels)

    run(bench.dut, testbench, limit=40000)
    assert bench.tiles_seen > 20
