"""The post-processor: instructions of every kind in a row, and what they leave in store, residual and maxima."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from amaranth.hdl import Fragment
from amaranth.sim import Simulator, SimulatorContext

from rtl.params import MULT_BITS, PARAMETER_TILES, ceil_div
from rtl.sta.isa import Columns, Op
from rtl.sta.latencies import RECIPROCAL_CYCLES, ROW_CYCLES, drain_start, drain_window
from rtl.sta.params import StaConfig
from rtl.sta.results.layer_norm import normalise, reciprocal_square_root
from rtl.sta.results.pipeline import ResultPipeline
from rtl.sta.results.post_processor import PostProcessor
from rtl.sta.results.requantise import requantise
from rtl.sta.results.rescale import rescale
from rtl.sta.results.residual import Residual
from rtl.sta.results.writer import Writer
from sim.bench.gaps import Gaps
from tests.nightly import but
from tests.rtl import simulate
from tests.rtl.lib.test_collisions import Inverting
from tests.rtl.simulate import drive, gaps, run, seeded

NAMES = ("rows", "cols", "drain", "n", "m", "port_bytes", "max_tokens", "hidden", "store_words")
SIZES = {
    "4x8, 4 a cycle": (4, 8, 4, 2, 8, 8, 14, 22, 64),
    "3x5, 1 a cycle": (3, 5, 4, 2, 4, 4, 10, 13, 50),
    "2x6, 2 a cycle": (2, 6, 2, 2, 8, 16, 7, 17, 40),
    "1x8, a row a cycle": (1, 8, 8, 2, 8, 2, 4, 30, 70),
    "5x16, 8 a cycle": (5, 16, 8, 2, 16, 4, 12, 40, 30),
    "2x2, 2 a cycle": (2, 2, 8, 1, 2, 1, 6, 5, 99),
    "1x1": (1, 1, 1, 1, 2, 1, 3, 3, 20),
}
CONFIGURATIONS = {name: StaConfig(**dict(zip(NAMES, sizes, strict=True)), max_k=64) for name, sizes in SIZES.items()}
LIMIT = 20000  # cycles of an instruction
Parameter = dict[str, int]
Events = dict[int, list[Any]]


def signed(value: int, bits: int) -> int:
    return (value & ((1 << bits) - 1)) - ((value >> (bits - 1) & 1) << bits)


def packed(parameters: list[Parameter]) -> int:
    """As `ChannelParameters` of every lane."""
    word = 0
    for lane, p in enumerate(parameters):
        one = p["bias"] & 0xFFFFFFFF | p["mult"] << 32 | p["shift"] << 48 | p["negate"] << 54 | p["rescale"] << 55
        word |= one << 64 * lane
    return word


def saturate16(value: int) -> int:
    return max(-32768, min(32767, value))


@dataclass
class State:
    """What instructions leave behind, by the definitions."""

    config: StaConfig
    residual: list[list[int]] = field(init=False)  # of each token, whole words
    sums: list[tuple[int, int]] = field(init=False)
    summed: list[int] = field(init=False)  # channels that a token's sums are of
    store: dict[tuple[int, int, int], int] = field(default_factory=dict)  # bank, word, byte
    maxima: dict[tuple[int, int], int] = field(default_factory=dict)  # row, tile
    activation: list[int] = field(default_factory=lambda: [0] * 256)

    def __post_init__(self) -> None:
        c = self.config
        self.residual = [[0] * (c.residual_words * c.drain_lanes) for _ in range(c.max_tokens)]
        self.sums = [(0, 0)] * c.max_tokens
        self.summed = [0] * c.max_tokens

    def to_residual(self, token: int, values: list[int], *, add: bool) -> None:
        """The values of all channels there are."""
        row = self.residual[token]
        whole = values + [0] * (-len(values) % self.config.drain_lanes)
        for i, value in enumerate(whole):
            row[i] = saturate16(value + (row[i] if add else 0))
        written = row[: len(whole)]
        self.sums[token] = sum(written), sum(r * r for r in written)
        self.summed[token] = len(values)

    def to_store(self, i: dict[str, int], token: int, values: list[int]) -> None:
        c = self.config
        row, tile = token % c.rows, token // c.rows
        whole = values + [0] * (-len(values) % c.drain_lanes)
        for channel, value in enumerate(whole):
            word = i["y_base"] + tile * i["y_pitch"] + channel // c.store_word_bytes
            self.store[row, word, channel % c.store_word_bytes] = value & 0xFF

    def finish(self, i: dict[str, int], token: int, accs: list[int], parameters: list[Parameter]) -> None:
        """Requantise and write the results of a token, counted from the instruction's first."""
        c = self.config
        wide = i["opcode"] == Op.NORM or bool(i["to_residual"])
        ys = [
            requantise(acc, p["bias"], p["mult"], p["shift"], p["negate"], 16 if wide else 8)
            for acc, p in zip(accs, parameters, strict=True)
        ]
        if i["maximum"]:
            self.maxima[token % c.rows, i["first_tile"] + token // c.rows] = max(ys)
        if i["table"]:
            ys = [self.activation[y & 0xFF] for y in ys]
        if i["to_residual"]:
            self.to_residual(i["first_token"] + token, ys, add=bool(i["add"]))
        if i["to_store"]:
            if wide or i["table"]:
                ys = [rescale(y, p["rescale"], i["rescale_shift"]) for y, p in zip(ys, parameters, strict=True)]
            self.to_store(i, token, ys)


@dataclass
class Tile:
    rows: int
    token: int
    column: int
    last_tokens: bool
    issued: int


class Bench:
    """A post-processor. Column buffer, array and memory around it answer as early as they may, or with gaps."""

    def __init__(self, config: StaConfig, seed: int | None, *key: object) -> None:
        self.config = config
        self.dut = PostProcessor(config)
        self.rng = seeded(*key, seed)
        self.idle, self.beats, self.asks = (gaps(seed, name) for name in ("idle", "beats", "asks"))
        self.most_late = 0 if seed is None else 120
        self.state = State(config)
        self.written: dict[tuple[int, int, int], int] = {}
        self.maxima: dict[tuple[int, int], int] = {}
        self.exponential = [0] * 256
        slots = config.slots_a_row
        self.writes = [port.as_value() for port in (self.dut.store_write, self.dut.row_maximum, self.dut.exponential)]
        self.table = [self.parameters(config.drain_lanes) for _ in range(PARAMETER_TILES * slots)]
        self.tile = 0  # column tiles since reset
        self.results = [[0] * config.cols for _ in range(config.rows)]

    # --- random operands ---------------------------------------------------------------------
    def parameter(self, **fixed: int) -> Parameter:
        rng = self.rng
        one = {
            "bias": rng.choice([0, rng.randint(-(1 << 31), (1 << 31) - 1) >> rng.randrange(32)]),
            "mult": rng.randrange(1 << MULT_BITS),
            "shift": rng.randint(8, 40),
            "negate": rng.randrange(2),
            "rescale": rng.randint(0, 511),
        }
        return one | fixed

    def column_tiles(self, i: dict[str, int], fixed: Callable[[], Parameter] = dict) -> list[list[list[Parameter]]]:
        """Parameters of each lane of each slot of each column tile."""
        c = self.config
        return [
            [[self.parameter(**fixed()) for _ in range(c.drain_lanes)] for _ in range(c.slots_a_row)]
            for _ in range(ceil_div(i["channels"], c.cols))
        ]

    def parameters(self, count: int) -> list[Parameter]:
        return [self.parameter() for _ in range(count)]

    def late(self) -> int:
        """Cycles by which a column tile's parameters come later than they may."""
        return self.rng.randint(0, self.most_late)

    def acc(self) -> int:
        half = 1 << (self.config.accumulator_bits - 1)
        return self.rng.choice([-half, half - 1, self.rng.randint(-half, half - 1) >> self.rng.randrange(20)])

    def instruction(self, op: Op, **fields: int) -> dict[str, int]:
        """Of random size, complete but for what the opcode alone has."""
        c, rng = self.config, self.rng
        first = rng.randrange(ceil_div(c.max_tokens, c.rows)) * c.rows
        some = {
            "opcode": op,
            "first_token": first,
            "tokens": rng.choice([c.max_tokens - first, rng.randint(1, c.max_tokens - first)]),
            "channels": rng.choice([c.hidden, rng.randint(1, c.hidden)]),
            "rescale_shift": rng.randint(1, 20),
        } | fields
        words = (some.get("more_heads", 0) + 1) * ceil_div(some["channels"], c.store_word_bytes)
        if some.get("to_store"):
            tiles = ceil_div(some["tokens"], c.rows)
            some["y_pitch"] = words + rng.randint(0, 1)
            some["y_base"] = rng.randint(0, c.store_words - tiles * some["y_pitch"])
        every = ("columns", "to_residual", "to_store", "table", "add", "maximum", "normalise", "which", "mult", "shift")
        return dict.fromkeys((*every, "more_heads", "y_base", "y_pitch", "address", "beats", "epsilon"), 0) | some

    # --- the machine around it ----------------------------------------------------------------
    async def execute(
        self,
        ctx: SimulatorContext,
        i: dict[str, int],
        *,
        events: Events | None = None,
        column_tiles: list[list[list[Parameter]]] | None = None,
        loaded_by: list[int] | None = None,
        ids: list[bytes] | None = None,
        beats: list[bytes] | None = None,
        row_of: dict[int, list[bytes]] | None = None,
    ) -> int:
        """Run an instruction from its start to finished; returns its cycles.

        events : (row, column, sum) or (row, mult, shift) or None for the end of a tile, by cycle
        column_tiles : the parameters of each slot of each column tile
        loaded_by : cycles in which they must have been loaded
        ids, beats : what the memory has to say at once
        row_of : the beats of a row, by its address
        """
        c, dut = self.config, self.dut
        slots = c.slots_a_row
        tiles = column_tiles or []
        loading = drained = finished = 0
        answer: dict[str, Any] = {}
        addressed = -1
        read = 0
        loaded_at = self.late()
        parameters = dut.channels.parameters.as_value()
        ids, beats = list(ids or []), list(beats or [])
        rows: list[bytes] = []
        offered = dict.fromkeys(("ids", "rows", "table"), False)
        for cycle in range(LIMIT):
            loads = False
            if loading < len(tiles) and loading - drained < PARAMETER_TILES:
                loads = loaded_at <= cycle if loaded_by is None else loaded_by[loading] <= cycle
            if loads:
                at = (self.tile + loading) % PARAMETER_TILES * slots
                self.table[at : at + slots] = tiles[loading]
                loading += 1
                loaded_at = cycle + 1 + self.late()
            if loaded_by is not None and loading < len(tiles):
                assert loaded_by[loading] > cycle - 1, "the column buffer has no place"
            tile_end = False
            for event in (events or {}).get(cycle, []):
                if event is None:
                    tile_end = True
                elif event[0] == "sum":
                    _, r, column, value = event
                    self.results[r][column] = value
                    ctx.set(dut.results[r][column], value)
                else:
                    _, r, mult, shift = event
                    ctx.set(dut.row_factors[r], {"mult": mult, "shift": shift})
            for name, queue in (("ids", ids), ("rows", rows), ("table", beats)):
                offered[name] = bool(queue) and cycle > 0 and (offered[name] or not self.beats.stall())
                if offered[name]:
                    answer[f"{name}.payload"] = int.from_bytes(queue[0], "little")
                answer[f"{name}.valid"] = offered[name]
            asks = not self.asks.stall()
            if cycle == 0:
                ctx.set(dut.instruction, i)
            signals = {"begins": cycle == 0, "tile_end": tile_end, "parameters_loaded": loads}
            drive(ctx, dut, {**signals, "row_segment.ready": asks, **answer})
            sampled = await ctx.tick().sample(
                dut.finished,
                dut.channels.address,
                dut.channels.drained,
                *self.writes,
                dut.row_segment.valid,
                dut.row_segment.payload,
                dut.ids.ready,
                dut.rows.ready,
                dut.table.ready,
            )
            _, _, done, address, drains, store, maximum, entry, segment_valid, segment, *ready = sampled
            self.land(store, maximum, entry)
            for name, queue, taken in zip(("ids", "rows", "table"), (ids, rows, beats), ready, strict=True):
                if offered[name] and taken:
                    queue.pop(0)
                    offered[name] = False
            if segment_valid and asks:
                assert row_of is not None
                row = row_of[segment.address]
                assert segment.beats == len(row)
                rows += row
            answer = {}
            ctx.set(parameters, read)  # two cycles after the address
            if address != addressed or loads:
                read = packed(self.table[address % len(self.table)])
            addressed = address
            drained += drains
            if done:
                finished = cycle
                break
        else:
            raise AssertionError(f"not finished: {i}")
        assert drained == len(tiles), f"{drained} of {len(tiles)} column tiles drained: {i}"
        self.tile += len(tiles)
        return finished

    def land(self, *writes: int) -> None:
        """The lowest bit of each is its enable."""
        store, maximum, entry = (
            port.shape().from_bits(bits) if bits & 1 else None
            for port, bits in zip(
                (self.dut.store_write, self.dut.row_maximum, self.dut.exponential), writes, strict=True
            )
        )
        if store is not None:
            for byte in range(self.config.store_word_bytes):
                if store.strobe >> byte & 1:
                    self.written[store.bank, store.address, byte] = store.data >> 8 * byte & 0xFF
        if maximum is not None:
            self.maxima[maximum.row, maximum.tile] = maximum.value
        if entry is not None:
            self.exponential[entry.address] = entry.data

    async def settled(self, ctx: SimulatorContext, i: dict[str, int]) -> None:
        """Everything is as it should be; what was written to the residual is read three cycles after finished."""
        c, dut = self.config, self.dut
        assert self.written == self.state.store, f"store: {i}"
        assert self.maxima == self.state.maxima, f"maxima: {i}"
        tokens = range(i["first_token"], i["first_token"] + i["tokens"])
        last = (tokens[-1], min((i["channels"] - 1) // c.drain_lanes, c.residual_words - 1))
        others = [(t, p) for t in range(c.max_tokens) for p in range(c.residual_words)]
        self.rng.shuffle(others)
        asked = [last, *others[:12]]
        got = []
        quiet = ("begins", "ids.valid", "rows.valid", "table.valid", "tile_end", "parameters_loaded")
        drive(ctx, dut, {"instruction": {"opcode": Op.STORE}, **dict.fromkeys(quiet, 0), "begins": 1})
        for token, piece in [(0, 0), (0, 0), *asked, *[(0, 0)] * Residual.LATENCY]:
            ctx.set(dut.residual.address, token * c.residual_words + piece)
            _, _, word, finished, *writes = await ctx.tick().sample(dut.residual.word, dut.finished, *self.writes)
            ctx.set(dut.begins, 0)
            got.append([word[lane] for lane in range(c.drain_lanes)])
            assert not finished | sum(bits & 1 for bits in writes), f"after finished: {i}"
        for (token, piece), word in zip(asked, got[2 + Residual.LATENCY :], strict=True):
            want = self.state.residual[token][piece * c.drain_lanes :][: c.drain_lanes]
            assert word == want, f"residual of token {token}, piece {piece}: {i}"

    # --- instructions --------------------------------------------------------------------------
    def tiles(self, i: dict[str, int], idle: Gaps) -> Iterator[Tile]:
        """The tiles in order, each issued as soon as the results before it allow, or some cycles later."""
        c = self.config
        softmax = i["columns"] == Columns.VALUES
        start, window = drain_start(c, softmax), drain_window(c, softmax)
        issued = hold = drain_free = 0
        for column in range((i["more_heads"] + 1) * ceil_div(i["channels"], c.cols)):
            for token in range(0, i["tokens"], c.rows):
                issued = max(issued + 1, hold)
                while idle.stall():
                    issued += 1
                begins = max(issued + start, drain_free)
                drain_free, hold = begins + c.rows * c.slots_a_row, begins + window
                rows = min(c.rows, i["tokens"] - token)
                yield Tile(rows, token, column, token + c.rows >= i["tokens"], issued)

    async def product(self, ctx: SimulatorContext, columns: Columns, **fields: int) -> None:
        c, rng = self.config, self.rng
        if not fields.get("to_residual"):
            fields["channels"] = rng.choice([c.cols, rng.randint(1, min(2 * c.max_tokens, 3 * c.cols))])
        if columns != Columns.MEMORY:
            fields["more_heads"] = rng.choice([0, rng.randrange(min(4, c.maxima_tiles // c.max_tiles))])
        i = self.instruction(Op.PRODUCT, columns=columns, **fields)
        column_tiles_of_head, words = ceil_div(i["channels"], c.cols), ceil_div(i["channels"], c.store_word_bytes)
        if columns == Columns.KEYS:
            i |= {"mult": rng.randrange(1 << 15, 1 << MULT_BITS), "shift": 15}
        column_tiles = [tile for _ in range(i["more_heads"] + 1) for tile in self.column_tiles(i)]
        events: Events = {}
        loaded_by: list[int] = []
        tokens = [(head, t) for head in range(i["more_heads"] + 1) for t in range(i["tokens"])]
        accs: dict[tuple[int, int], list[int]] = {one: [] for one in tokens}
        parameters: dict[tuple[int, int], list[Parameter]] = {one: [] for one in tokens}
        for tile in self.tiles(i, self.idle):
            events.setdefault(tile.issued + 1, []).append(None)
            if tile.column == len(loaded_by):
                loaded_by.append(tile.issued)
            for r in range(c.rows):
                row_parameter = self.parameter(bias=0, negate=0)
                at_reciprocal = tile.issued + ROW_CYCLES + r + RECIPROCAL_CYCLES
                row_event = ("row", r, row_parameter["mult"], row_parameter["shift"])
                if columns == Columns.VALUES:
                    events.setdefault(at_reciprocal, []).append(row_event)
                for column in range(c.cols):
                    acc = self.acc()
                    if columns == Columns.KEYS:  # few at the ends: each maximum is another
                        acc = rng.randint(-90, rng.choice([-40, 10, 80]))
                    at = tile.issued + ROW_CYCLES + r + column + c.pe_latency
                    events.setdefault(at, []).append(("sum", r, column, acc))
                    if r < tile.rows:
                        own = column_tiles[tile.column][column // c.drain_lanes][column % c.drain_lanes]
                        alike = {"bias": 0, "negate": 0, "mult": i["mult"], "shift": i["shift"]}
                        token = tile.column // column_tiles_of_head, tile.token + r
                        accs[token].append(acc)
                        used = {Columns.MEMORY: own, Columns.KEYS: alike, Columns.VALUES: row_parameter}[columns]
                        parameters[token].append(used)
        for head, t in tokens:
            kept = i["channels"]
            first_tile = head * ceil_div(i["tokens"], c.rows)
            own = i | {"y_base": i["y_base"] + head * words, "first_tile": first_tile}
            self.state.finish(own, t, accs[head, t][:kept], parameters[head, t][:kept])
        await self.execute(ctx, i, events=events, column_tiles=column_tiles, loaded_by=loaded_by)
        await self.settled(ctx, i)

    async def gather(self, ctx: SimulatorContext, **fields: int) -> None:
        c, rng = self.config, self.rng
        i = self.instruction(Op.GATHER, add=rng.randrange(2), **fields)
        i |= {"narrow": fields.get("narrow", rng.randrange(2))}
        begins = ceil_div(4, c.port_bytes) * c.port_bytes if i["narrow"] else 0
        size = begins + ceil_div((2 - i["narrow"]) * i["channels"], c.port_bytes) * c.port_bytes
        i |= {"beats": size // c.port_bytes, "address": rng.randrange(1 << 16) * c.port_bytes}
        ids = [rng.randrange(1 << 12) for _ in range(i["tokens"])]
        table = {one: rng.randbytes(size) for one in ids}
        if i["narrow"]:
            # Of a shift at random most rows would be zero, and what is done with them unseen.
            shifts = {one: rng.choice([rng.randrange(64), *7 * [rng.randint(6, 14)]]) for one in ids}
            table = {
                one: row[:2] + bytes([rng.randrange(4) << 6 | shifts[one]]) + row[3:] for one, row in table.items()
            }
        ids_bytes = b"".join(one.to_bytes(4, "little") for one in ids)
        ids_bytes += rng.randbytes(-len(ids_bytes) % c.port_bytes)
        for t, one in enumerate(ids):
            if i["narrow"]:
                mult, shift = int.from_bytes(table[one][:2], "little"), table[one][2] & 63
                row = [
                    requantise(signed(table[one][begins + j], 8), 0, mult, shift, 0, 16) if shift >= 1 else 0
                    for j in range(i["channels"])
                ]
            else:
                row = [int.from_bytes(table[one][2 * j :][:2], "little", signed=True) for j in range(i["channels"])]
            self.state.to_residual(i["first_token"] + t, row, add=bool(i["add"]))
        row_of = {i["address"] + one * size: self.cut(row) for one, row in table.items()}
        await self.execute(ctx, i, ids=self.cut(ids_bytes), row_of=row_of)
        await self.settled(ctx, i)

    def cut(self, some: bytes) -> list[bytes]:
        return [some[j : j + self.config.port_bytes] for j in range(0, len(some), self.config.port_bytes)]

    async def norm(self, ctx: SimulatorContext, **fields: int) -> None:
        rng, state = self.rng, self.state
        normalises = rng.random() < 0.8
        i = self.instruction(Op.NORM, normalise=normalises, epsilon=rng.randrange(1 << rng.randint(0, 31)), **fields)
        tokens = range(i["first_token"], i["first_token"] + i["tokens"])
        if normalises and any(state.summed[t] != i["channels"] for t in tokens):
            # The sums of a token are of what was written last: it has to be as long.
            await self.gather(ctx, **{name: i[name] for name in ("first_token", "tokens", "channels")})
        bias = 1 << 20
        column_tiles = self.column_tiles(i, lambda: {"bias": rng.randint(-bias, bias), "shift": rng.randint(8, 22)})
        flat = [one for tile in column_tiles for slot in tile for one in slot][: i["channels"]]
        for token in tokens:
            row = state.residual[token][: i["channels"]]
            if normalises:
                root = reciprocal_square_root(*state.sums[token], i["channels"], i["epsilon"])
                row = [normalise(r, *root, i["channels"]) for r in row]
            state.finish(i, token - i["first_token"], row, flat)
        await self.execute(ctx, i, column_tiles=column_tiles)
        await self.settled(ctx, i)

    async def pool(self, ctx: SimulatorContext) -> None:
        i = self.instruction(Op.POOL, mult=self.rng.randrange(1 << MULT_BITS), shift=self.rng.randint(14, 24))
        tokens = range(i["first_token"], i["first_token"] + i["tokens"])
        sums = [sum(self.state.residual[t][j] for t in tokens) for j in range(i["channels"])]
        ys = [requantise(one, 0, i["mult"], i["shift"], 0, 16) for one in sums]
        self.state.to_residual(i["first_token"], ys, add=False)
        cycles = await self.execute(ctx, i)
        words = i["tokens"] * ceil_div(i["channels"], self.config.drain_lanes)
        assert cycles < words + ResultPipeline.LATENCY + Writer.LATENCY + 10  # a word a cycle, and the pipe
        await self.settled(ctx, i)

    async def table_of(self, ctx: SimulatorContext, which: int) -> None:
        entries = [self.rng.randrange(1 << 16) for _ in range(256)]
        packed = b"".join(entry.to_bytes(2, "little") for entry in entries)
        i = self.instruction(Op.TABLE, which=which)
        if not which:
            self.state.activation = [signed(entry, 16) for entry in entries]
        before = list(self.exponential)
        await self.execute(ctx, i, beats=self.cut(packed))
        assert self.exponential == (entries if which else before)

    async def anything(self, ctx: SimulatorContext, kind: str) -> None:
        match kind:
            case "residual":
                await self.product(ctx, Columns.MEMORY, to_residual=1, add=self.rng.randrange(2), to_store=0)
            case "both":
                await self.product(ctx, Columns.MEMORY, to_residual=1, add=self.rng.randrange(2), to_store=1)
            case "store":
                await self.product(ctx, Columns.MEMORY, to_store=1)
            case "table":
                await self.product(ctx, Columns.MEMORY, to_store=1, table=1)
            case "keys":
                await self.product(ctx, Columns.KEYS, to_store=1, maximum=self.rng.randrange(4) != 0)
            case "values":
                await self.product(ctx, Columns.VALUES, to_store=1)
            case "norm":
                await self.norm(ctx, to_residual=1, to_store=1)
            case "norm to residual":
                await self.norm(ctx, to_residual=1, to_store=0)
            case "norm to store":
                await self.norm(ctx, to_residual=0, to_store=1)
            case "pool":
                await self.pool(ctx)
            case "gather":
                await self.gather(ctx)
            case "activation":
                await self.table_of(ctx, 0)
            case "exponential":
                await self.table_of(ctx, 1)


KINDS = [
    "residual", "both", "store", "table", "keys", "values", "norm", "norm to residual", "norm to store", "pool",
    "gather", "activation", "exponential",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_kind(kind: str) -> None:
    """One kind, again and again, after what it needs."""
    bench = Bench(CONFIGURATIONS["2x6, 2 a cycle"], None, kind)

    async def testbench(ctx: SimulatorContext) -> None:
        if kind == "table":
            await bench.anything(ctx, "activation")
        if kind in ("pool", "norm", "norm to store", "norm to residual"):
            size = {"tokens": bench.config.max_tokens, "channels": bench.config.hidden}
            await bench.gather(ctx, first_token=0, narrow=0, **size)  # no row is zero
        for _ in range(3):
            await bench.anything(ctx, kind)

    run(bench.dut, testbench, limit=100000)


@pytest.mark.parametrize(
    ("name", "seed"),
    but(
        [
            *((name, None) for name in CONFIGURATIONS),
            ("4x8, 4 a cycle", 1),
            ("3x5, 1 a cycle", 2),
            ("2x2, 2 a cycle", 3),
        ],
        [("4x8, 4 a cycle", None), ("2x2, 2 a cycle", None)],
    ),
)
def test_programs(name: str, seed: int | None) -> None:
    """Every kind behind every other, in random order, without a reset."""
    bench = Bench(CONFIGURATIONS[name], seed, name)
    kinds = list(KINDS)
    order: random.Random = seeded(name, seed, "order")

    async def testbench(ctx: SimulatorContext) -> None:
        await bench.anything(ctx, "activation")
        order.shuffle(kinds)
        for kind in kinds:
            await bench.anything(ctx, kind)

    run(bench.dut, testbench, limit=100000)


def test_a_norm_waits_for_its_own_parameters() -> None:
    """Those of a product's column tiles before it are gone when the product is finished."""
    bench = Bench(CONFIGURATIONS["2x6, 2 a cycle"], 1, "own parameters")
    bench.late = lambda: 90  # cycles until a NORM's are there

    async def testbench(ctx: SimulatorContext) -> None:
        await bench.anything(ctx, "gather")
        await bench.anything(ctx, "store")
        await bench.anything(ctx, "norm")

    run(bench.dut, testbench, limit=20000)


def test_collisions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing depends on what a memory gives where a word is read while it is written."""
    monkeypatch.setattr(simulate, "Simulator", lambda top: Simulator(Fragment.get(top, Inverting())))
    bench = Bench(CONFIGURATIONS["1x8, a row a cycle"], None, "collisions")

    async def testbench(ctx: SimulatorContext) -> None:
        for kind in KINDS:
            await bench.anything(ctx, kind)

    run(bench.dut, testbench, limit=100000)
