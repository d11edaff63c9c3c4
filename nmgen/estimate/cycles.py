"""Cycles of a program without simulating it, tile by tile: what the hardware does, and when.

Instructions go through the sequencer in their order, column tiles through the column buffer, token tiles through the
array and the drain, bursts through the fetch; every one of these begins as soon as all that it waits for is there.
Latencies are the hardware's own (`rtl.sta.latencies`). All of it is exact before a memory that never stalls
(`sim.bench.memory`).

A model's layers are alike, and the hardware is soon in the same state at the same place of each: an instruction that
meets a state which it has met before is not gone through again.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from nmgen.compiler.program import Program
from nmgen.estimate.columns import Packed, copied_keys, copied_values, copy_end, packed_parameters, packed_weights
from nmgen.estimate.fetch import FetchTimes
from nmgen.estimate.gather import RowTimes
from nmgen.estimate.norm import StatisticsTimes
from nmgen.estimate.states import since
from rtl.params import BURST_BEATS, PARAMETER_TILES, ceil_div, units_in_beats
from rtl.product import Pattern
from rtl.sta.isa import BYTES, FIELDS, Columns, Op, tile_groups
from rtl.sta.latencies import (
    ASK_CYCLES,
    ASKED_CYCLES,
    CHECK_CYCLES,
    COPY_BEGIN_CYCLES,
    COPY_LATENCY,
    DONE_CYCLES,
    END_CYCLES,
    GATHER_ASK_CYCLES,
    GATHER_ROW_CYCLES,
    HELD_CYCLES,
    LOAD_CYCLES,
    LOAD_END_CYCLES,
    LOADED_CYCLES,
    NORM_LATENCY,
    NORM_LOADED_CYCLES,
    OWN_CYCLES,
    PIPELINE_LATENCY,
    POOL_CYCLES,
    RELEASE_CYCLES,
    RESIDUAL_LATENCY,
    RESIDUAL_WRITE_LATENCY,
    START_CYCLES,
    STORE_ADDRESS_CYCLES,
    STORE_AHEAD,
    STORE_CHUNK_CYCLES,
    STORE_REQUEST_CYCLES,
    STORE_WORD_CYCLES,
    TILE_CYCLES,
    WALK_CYCLES,
    WRITER_LATENCY,
    drain_start,
    drain_window,
    pool_join_cycles,
    row_latency,
    source_latency,
)
from rtl.sta.legality import ID_BYTES, parameter_beats, scale_beats
from rtl.sta.params import RESIDUAL_BITS, TABLE_ENTRIES, StaConfig

Fields = dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Constants:
    """What is not the hardware's: cycles from a request of memory to its first beat."""

    memory: int = 30


@dataclass(frozen=True)
class Estimate:
    """Of one instruction: beats that it reads or writes, multiplies that its pattern needs, and when it is executed.

    begin : cycle of its execute, counted from the start
    cycles : from then to the next one's execute, of the last one to the end
    """

    name: str
    op: Op
    begin: int
    cycles: int
    beats: int
    multiplies: int


def estimate(program: Program, constants: Constants | None = None) -> list[Estimate]:
    """Every instruction of a program, in order, END left out."""
    instructions = [dict.fromkeys(FIELDS, 0) | partial for partial in program.instructions]
    machine = _Machine(program.config, (constants or Constants()).memory)
    begins = [machine.execute_once(f) for f in instructions]
    ends = [*begins[1:], machine.end()]
    return [
        Estimate(name, Op(f["opcode"]), begin, end - begin, *_work(program.config, f))
        for name, f, begin, end in zip(program.names, instructions, begins, ends, strict=True)
    ]


def total(program: Program, estimates: list[Estimate]) -> dict[str, Any]:
    """Cycles from start to done, and what share of what all multipliers could do the model's patterns need."""
    c = program.config
    cycles = estimates[0].begin + sum(one.cycles for one in estimates)
    multiplies = sum(one.multiplies for one in estimates)
    by_op = {op.name: sum(one.cycles for one in estimates if one.op == op) for op in Op}
    return {
        "cycles": cycles,
        "multiplies": multiplies,
        "utilisation": multiplies / (cycles * c.rows * c.cols * c.n),
        "beats": sum(one.beats for one in estimates),
        "cycles_by_opcode": {name: count for name, count in by_op.items() if count},
    }


def _work(c: StaConfig, f: Fields) -> tuple[int, int]:
    """Beats and multiplies of an instruction."""
    op = f["opcode"]
    if op == Op.PRODUCT:
        return f["beats"], (f["more_heads"] + 1) * f["tokens"] * f["channels"] * tile_groups(f) * f["pattern_n"]
    if op == Op.GATHER:
        return ceil_div(ID_BYTES * f["tokens"], c.port_bytes) + f["tokens"] * f["beats"], 0
    if op == Op.STORE:
        return f["tokens"] * _row_beats(c, f), 0
    return f["beats"], 0


def _row_beats(c: StaConfig, f: Fields) -> int:
    """Of a STORE."""
    return ceil_div(2 * f["channels"] if f["which"] else f["groups"] * c.m, c.port_bytes)


@dataclass
class _Tiles:
    """What the column buffer has room for: of all tiles so far, when theirs becomes free."""

    halves: list[int] = field(default_factory=list)  # of products
    parameter_sets: list[int] = field(default_factory=list)  # of parameters, products' and NORMs'

    def free(self, *, half: bool) -> int:
        """The first cycle in which another tile may begin."""
        parameters = self.parameter_sets[-PARAMETER_TILES] if len(self.parameter_sets) >= PARAMETER_TILES else 0
        return max(parameters, self.halves[-2] if half and len(self.halves) >= 2 else 0)


class _Machine:
    """Executes instruction after instruction. What is no count is a cycle.

    While an instruction waits to be executed, the one behind it is asked for, then its own data, then the one behind
    is checked; that is passed on when the instruction executes, but when it has finished where it is a GATHER.
    """

    def __init__(self, config: StaConfig, latency: int) -> None:
        self._c = config
        self._fetch = FetchTimes(latency)
        self._code = range(BYTES // config.port_bytes)
        self._tiles = _Tiles()
        self._loader_idle = 0  # all tiles of the instruction before are loaded
        self._last_units: dict[str, int] = {}  # of consumers of units, the cycle of their latest one
        self._finished = -1  # the instruction before
        self._storing = False  # that is a STORE
        asked = self._fetch.open(START_CYCLES + ASK_CYCLES, len(self._code))
        self._passed = max(asked + ASKED_CYCLES, self._fetch.take("instruction", 0, self._code) + 1) + CHECK_CYCLES
        # Instruction and state → its execute, `passed`, and the state then.
        self._met: dict[Any, tuple[int, int, Any]] = {}

    def execute_once(self, f: Fields) -> int:
        """As execute; of an instruction in a state that it has met before the same, so many cycles later."""
        now = self._passed
        met = tuple(value for name, value in f.items() if name not in ("address", "planes_address")), self._state(now)
        if met in self._met:
            begin, passed, state = self._met[met]
            self._restore(state, now)
            self._passed = now + passed
            return now + begin
        begin = self.execute(f)
        self._met[met] = begin - now, self._passed - now, self._state(now)
        return begin

    def _state(self, now: int) -> Any:
        """All that what comes next depends on, times counted from `now`."""
        times = (
            self._loader_idle,
            self._finished,
            *self._last_units.values(),
            *self._tiles.halves[-2:],
            *self._tiles.parameter_sets[-PARAMETER_TILES:],
        )
        known = tuple(self._last_units), len(self._tiles.halves[-2:]), self._storing
        return known, since(now, times), self._fetch.state(now)

    def _restore(self, state: Any, now: int) -> None:
        (consumers, halves, self._storing), relative, fetch = state
        self._loader_idle, self._finished, *times = (now + time for time in relative)
        self._last_units = dict(zip(consumers, times, strict=False))
        self._tiles = _Tiles(times[len(consumers) :][:halves], times[len(consumers) + halves :])
        self._fetch.restore(fetch, now)

    def execute(self, f: Fields) -> int:
        """The cycle of its execute."""
        op = Op(f["opcode"])
        asked = self._fetch.open(self._passed + ASK_CYCLES, len(self._code))
        code = self._fetch.take("instruction", 0, self._code)  # no data of this instruction lies before it
        ready = offered = asked + ASKED_CYCLES
        if beats := self._data_beats(op, f):
            if self._storing and op in (Op.LOAD, Op.GATHER):
                offered = max(offered, self._finished + END_CYCLES + HELD_CYCLES)
            ready = self._fetch.open(offered, beats) + 1
        checked = max(ready, code + 1) + CHECK_CYCLES
        engine = {
            Op.PRODUCT: self._product,
            Op.NORM: self._norm,
            Op.POOL: self._pool,
            Op.GATHER: self._gather,
            Op.LOAD: self._load,
            Op.STORE: self._store,
            Op.TABLE: self._table,
        }[op]
        begin = engine(f, ready)
        self._storing = op == Op.STORE
        self._passed = max(checked, self._finished + END_CYCLES + 1 if op == Op.GATHER else begin)
        return begin

    def end(self) -> int:
        """What the counter of cycles is when the program is done."""
        return max(self._passed, self._finished + END_CYCLES + 1) + DONE_CYCLES

    def _data_beats(self, op: Op, f: Fields) -> int:
        """Beats that are asked for before the instruction executes."""
        if op == Op.GATHER:
            return ceil_div(ID_BYTES * f["tokens"], self._c.port_bytes)
        return parameter_beats(self._c) if f["weight_groups"] else f["beats"]

    def _begin(self, ready: int) -> int:
        """An instruction that is ready executes: two cycles after the one before has finished, at the earliest."""
        return max(ready, self._finished + END_CYCLES) + 1

    # --- products ------------------------------------------------------------------------------
    def _product(self, f: Fields, ready: int) -> int:
        """Column tile after column tile is loaded and fed."""
        c, source = self._c, Columns(f["columns"])
        column_tiles = ceil_div(f["channels"], c.cols)
        feed = _Feed(c, f)
        packed = None
        if source == Columns.MEMORY:
            packed = packed_weights(c, f["pattern_n"], f["groups"], f["weight_groups"])
            begin, prepared = self._prepare(ready)
        else:
            begin = prepared = max(self._begin(ready), self._loader_idle + 1)
        feed.begin(begin + OWN_CYCLES + WALK_CYCLES)
        loader = prepared + 1 + WALK_CYCLES
        for number in range(column_tiles * (f["more_heads"] + 1)):
            tile = number % column_tiles  # of the head
            loads = max(loader, self._tiles.free(half=True))
            if packed and f["weight_groups"]:
                loaded = self._planes(f, tile, loads + 1, packed)
            elif packed:
                loaded = self._fetch.take("weights", loads + 1, packed.offsets) + packed.rest
            else:
                columns = min(c.cols, f["channels"] - tile * c.cols)
                loaded = self._copied(f, tile, columns, loads, feed)
            loader = loaded + TILE_CYCLES
            feed.column_tile(loaded)
            self._tiles.halves.append(feed.last_step + RELEASE_CYCLES + c.behind(c.cols - 1) + 1)
            self._tiles.parameter_sets.append(max(feed.last_slots) + row_latency(c) + 1)
        self._loader_idle = loader
        self._finished = max(feed.last_slots) + source_latency(c) + PIPELINE_LATENCY + WRITER_LATENCY
        return begin

    def _planes(self, f: Fields, tile: int, ready: int, packed: Packed) -> int:
        """A column tile in two segments, each offered when the one before is taken. Returns its last unit's cycle."""
        first = parameter_beats(self._c)
        if tile:
            self._fetch.open(0, first)
        taken = self._fetch.take("weights", ready, packed.offsets[:first])
        self._fetch.open(0, f["tile_beats"] - first)
        gap = packed.offsets[first] - packed.offsets[first - 1]
        return self._fetch.take("weights", taken + gap, packed.offsets[first:]) + packed.rest

    def _prepare(self, ready: int) -> tuple[int, int]:
        """Of an instruction with packed tiles: its execute, and the column loader's start, which needs none."""
        prepares = max(ready, self._loader_idle)
        return self._begin(prepares + 1), prepares + 1

    def _copied(self, f: Fields, tile: int, columns: int, starts: int, feed: "_Feed") -> int:
        c = self._c
        if f["columns"] == Columns.KEYS:
            copied = copied_keys(c, f["groups"], tile, columns)
        else:
            copied = copied_values(c, f["keys"], tile, columns)
        starts += COPY_BEGIN_CYCLES
        return copy_end(starts, copied, feed.reads(starts), c.copy_lanes)

    # --- the others ----------------------------------------------------------------------------
    def _norm(self, f: Fields, ready: int) -> int:
        c, slots = self._c, self._c.slots_a_row
        packed = packed_parameters(c)
        begin, loader = self._prepare(ready)
        loader += 1 + WALK_CYCLES
        starts = begin + OWN_CYCLES
        kept = min(slots, ceil_div(f["channels"], c.drain_lanes))  # slots of the first column tile that are written
        tokens = [c.own_tokens(group, f["tokens"]) for group in range(c.groups)]
        slot = [starts + WALK_CYCLES + 1] * c.groups  # the next one's earliest, of each group of rows
        for tile in range(ceil_div(f["channels"], c.cols)):
            loads = max(loader, self._tiles.free(half=False))
            loaded = self._fetch.take("weights", loads + 1, packed.offsets) + packed.rest
            loader = loaded + TILE_CYCLES
            for group, own in enumerate(tokens):
                slot[group] = max(slot[group], loaded + NORM_LOADED_CYCLES)
                if tile or not f["normalise"] or not own:
                    slot[group] += max(own, 1) * slots
                    continue
                statistics = StatisticsTimes(c.row_group, starts + 1)
                written: deque[range] = deque()
                for _ in range(own):
                    slot[group] = max(slot[group], statistics.next(written)) + slots
                    if f["to_residual"]:
                        lands = slot[group] + NORM_LATENCY + PIPELINE_LATENCY + RESIDUAL_WRITE_LATENCY
                        written.append(range(lands - slots, lands - slots + kept))
            self._tiles.parameter_sets.append(max(slot) + NORM_LATENCY + 1)
        self._loader_idle = loader
        self._finished = max(slot) - 1 + NORM_LATENCY + PIPELINE_LATENCY + WRITER_LATENCY
        return begin

    def _pool(self, f: Fields, ready: int) -> int:
        begin = self._begin(ready)
        words = self._c.own_tokens(0, f["tokens"]) * ceil_div(f["channels"], self._c.drain_lanes)
        summed = begin + OWN_CYCLES + words + RESIDUAL_LATENCY + POOL_CYCLES + pool_join_cycles(self._c)
        self._finished = summed + PIPELINE_LATENCY + WRITER_LATENCY
        return begin

    def _gather(self, f: Fields, ready: int) -> int:
        """The numbers are taken, then the rows are asked for one by one, and cut into words as they come."""
        c, tokens = self._c, f["tokens"]
        begin = self._begin(ready)
        starts = begin + OWN_CYCLES
        taken = self._units("ids", starts + 1, 8 * ID_BYTES, tokens)
        scale = scale_beats(c) if f["narrow"] else 0
        word_bits = c.drain_lanes * (8 if f["narrow"] else RESIDUAL_BITS)
        units, beats = units_in_beats(word_bits, 8 * c.port_bytes)
        words = ceil_div(f["channels"], c.drain_lanes)
        row_beats = f["beats"] - scale  # of elements
        offsets = (*range(scale), *range(scale, scale + row_beats * units, units))
        # Behind a row's last beat: what is left of its words, or of the beats of its last word.
        rest = words - (row_beats - 1) * units if beats == 1 else words * beats - row_beats + 1
        # Read the number, multiply it a bit a cycle, offer.
        ask = GATHER_ASK_CYCLES + f["beats"].bit_length()
        if c.groups > 1:
            last = self._gather_groups(f, starts + 1, taken, ask, Packed(offsets, rest))
        else:
            row, asks = starts + 1, taken[-1] + 1
            for _ in range(tokens):
                asks = self._fetch.open(asks + ask, f["beats"]) + 1
                last = self._fetch.take("gathered", row, offsets) + rest
                row = last + GATHER_ROW_CYCLES
        self._finished = last + PIPELINE_LATENCY + WRITER_LATENCY
        return begin

    def _gather_groups(self, f: Fields, ready: int, taken: list[int], ask: int, row: Packed) -> int:
        """Groups of rows ask in turns, and each cuts its own rows. Returns the last word's cycle.

        taken : of each token, the cycle in which its number was taken
        ask : cycles in which a row is asked for
        row : of a row's beats, and cycles behind its last one
        """
        c = self._c
        left = [c.own_tokens(group, f["tokens"]) for group in range(c.groups)]
        group_of = [token % c.rows // c.group_rows for token in range(f["tokens"])]
        last_taken = dict(zip(group_of, taken, strict=True))
        offered = [last_taken.get(group, 0) + 1 + ask for group in range(c.groups)]
        waiting = [RowTimes(ready) for _ in range(c.groups)]
        asked, arrives, last = ready - 1, ready, ready
        while any(left):
            for group in range(c.groups):
                if not left[group]:
                    break
                left[group] -= 1
                asked = self._fetch.open(max(offered[group], asked + 1), f["beats"])
                offered[group] = asked + 1 + ask
                for offset in row.offsets:
                    arrives = self._fetch.take("gathered", max(arrives + 1, waiting[group].room()), range(1))
                    waiting[group].beat(arrives, offset)
                last = max(last, waiting[group].row(row.rest + GATHER_ROW_CYCLES) - GATHER_ROW_CYCLES)
        return last

    def _units(self, consumer: str, ready: int, bits: int, count: int) -> list[int]:
        """Units of so many bits are taken one a cycle. Returns their cycles.

        The first one's beats wait for nothing but the last unit of the instruction before that had such units.
        """
        port_bytes = self._c.port_bytes
        units, beats = units_in_beats(bits, 8 * port_bytes)
        all_beats = ceil_div(count, units) * beats
        unit = max(ready, self._fetch.take(consumer, self._last_units.get(consumer, 0), range(beats)) + 1)
        taken = [*range(unit, unit + min(units, count))]
        for _ in range(all_beats // beats - 1):
            # The first beat may come with the last unit before it, a unit a cycle behind its last beat.
            beat = self._fetch.take(consumer, taken[-1], range(beats))
            taken += range(beat + 1, beat + 1 + min(units, count - len(taken)))
        self._last_units[consumer] = taken[-1]
        return taken

    def _table(self, f: Fields, ready: int) -> int:
        begin = self._begin(ready)
        self._finished = self._units("table", begin + OWN_CYCLES + 1, RESIDUAL_BITS, TABLE_ENTRIES)[-1] + 1
        return begin

    def _load(self, f: Fields, ready: int) -> int:
        begin = self._begin(ready)
        taken = self._fetch.take("rows", begin + OWN_CYCLES + LOAD_CYCLES, range(f["beats"]))
        self._finished = taken + LOAD_END_CYCLES
        return begin

    def _store(self, f: Fields, ready: int) -> int:
        """Words are read into chunks, up to STORE_AHEAD of them, which leave as beats; rows begin with a new chunk."""
        c = self._c
        begin = self._begin(ready)
        word_bytes = c.store_word_bytes
        words = ceil_div(f["groups"] * c.m, word_bytes)
        words_a_chunk, chunk_bytes, latency = 1, word_bytes, STORE_ADDRESS_CYCLES + COPY_LATENCY + STORE_CHUNK_CYCLES
        if f["which"]:
            word_bytes = c.drain_lanes * RESIDUAL_BITS // 8
            chunk_bytes = max(word_bytes, c.port_bytes)
            latency = STORE_ADDRESS_CYCLES + RESIDUAL_LATENCY + STORE_WORD_CYCLES + STORE_CHUNK_CYCLES
            words, words_a_chunk = ceil_div(f["channels"], c.drain_lanes), chunk_bytes // word_bytes
        read = asked = begin + OWN_CYCLES + 1  # rows are measured
        gone = deque([read] * STORE_AHEAD, maxlen=STORE_AHEAD)  # cycles in which the latest chunks' last beats left
        sent = deque([read] * (BURST_BEATS + 1), maxlen=BURST_BEATS + 1)  # those in which the latest beats did
        beats = 0
        row_beats, chunk_beats = _row_beats(c, f), chunk_bytes // c.port_bytes
        for _ in range(f["tokens"]):
            for beat in range(row_beats):
                chunk, part = divmod(beat, chunk_beats)
                if beat % BURST_BEATS == 0:  # with at most as many beats as a burst has asked for and not sent
                    asked = max(asked + STORE_REQUEST_CYCLES, sent[0] + 1 if beats > BURST_BEATS else 0)
                if part == 0:
                    read = max(read + 1, gone[0] + 1)
                    read += min(words_a_chunk, words - chunk * words_a_chunk) - 1
                sent.append(max(sent[-1] + 1, asked + 1, read + latency))
                beats += 1
                if part == chunk_beats - 1 or beat == row_beats - 1:
                    gone.append(sent[-1])
        self._finished = sent[-1] + 1
        return begin


class _Feed:
    """The array's steps of a product, and the drain of its results."""

    def __init__(self, config: StaConfig, f: Fields) -> None:
        self._c = config
        softmax = f["columns"] == Columns.VALUES
        self._group_steps = Pattern(config=config, n=f["pattern_n"]).steps
        self._steps = tile_groups(f) * self._group_steps
        own = config.row_group
        self._start, self._window = drain_start(own, softmax), drain_window(own, softmax)
        slots = config.slots_a_row
        self._slots = own.rows * slots
        tiles, rest = divmod(f["tokens"], config.rows)
        # Slots of each token tile that are drained, of each group of rows: of a row at least.
        rows = [config.own_tokens(group, rest) for group in range(config.groups)]
        self._used = [[self._slots] * config.groups] * tiles
        self._used += [[max(one, 1) * slots for one in rows]] * (rest > 0)
        self._behind = [group * own.rows for group in range(config.groups)]  # the first
        self._tiles: list[tuple[int, int]] = []  # of the latest column tile: first and last step of each token tile
        self._hold = self._free = 0
        self.last_step = 0  # so far: the decision for a step
        self.last_slots = [0] * config.groups  # the read of a slot, of each group

    def begin(self, cycle: int) -> None:
        """The instruction's execute."""
        self.last_step = cycle

    def column_tile(self, loaded: int) -> None:
        """All token tiles with a column tile that is in the column buffer, its last unit taken in that cycle."""
        step = max(self.last_step + 1, loaded + LOADED_CYCLES)
        self._tiles = []
        for used in self._used:
            first = step
            last = max(first + self._steps - 1, self._hold)
            drains = max(last + self._start, self._free)
            self._free = drains + self._slots
            self._hold = drains + self._window
            self.last_slots = [
                max(last + self._start + behind, slot + 1) + own - 1
                for slot, behind, own in zip(self.last_slots, self._behind, used, strict=True)
            ]
            step = last + 1
            self._tiles.append((first, last))
        self.last_step = last

    def reads(self, after: int) -> set[int]:
        """Cycles, those from `after` on and some before, of the decisions for steps that read a word of the store."""
        groups_a_word = self._c.store_word_bytes // self._c.m
        word_steps = groups_a_word * self._group_steps
        found = set()
        for first, last in self._tiles:
            if last + self._c.rows >= after:
                found |= {min(cycle, last) for cycle in range(first, first + self._steps, word_steps)}
                # Only a tile's last step waits.
                if (self._steps - 1) % word_steps == 0:
                    found.discard(first + self._steps - 1)
                    found.add(last)
        return found
