"""The hardware that checks instructions by the rules of `rtl/sta/legality.py`."""

from typing import NamedTuple

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.lib.compare import Beyond
from rtl.lib.divider import ceil_shift
from rtl.lib.timing import align, gated, registered, relay
from rtl.params import ADDRESS_BITS, SHIFT_MAX, ceil_div
from rtl.sta.control.instruction import max_more_heads
from rtl.sta.isa import BYTES, FIELDS, USED, Columns, Op
from rtl.sta.latencies import CHECKER_LATENCY
from rtl.sta.legality import (
    CAUSE_BITS,
    TABLE_BYTES,
    Cause,
    TileBeats,
    most_tile_beats,
    most_weight_groups,
    parameter_beats,
    residual_row_beats,
    scale_beats,
    store_row_beats,
)
from rtl.sta.params import StaConfig

BEGIN = 2  # the cycle in which divisions begin: operands are registered, and those of them that depend on the operation


class Quotient(wiring.Component):
    """(dividend div divisor) · factor, a bit of the dividend a cycle.

    Parameters
    ----------
    dividend_bits : cycles that it takes
    divisor_max, factor_bits : the largest divisor, at least 1; bits of the factor

    Members
    -------
    start : take dividend, in; divisor and factor stay steady until the end
    product, remainder : dividend_bits + 2 cycles after the start, until the next, out
    """

    def __init__(self, dividend_bits: int, divisor_max: int, factor_bits: int) -> None:
        self._bits = dividend_bits
        super().__init__(
            {
                "start": In(1),
                "dividend": In(dividend_bits),
                "divisor": In(range(divisor_max + 1)),
                "factor": In(factor_bits),
                "product": Out(dividend_bits + factor_bits),
                "remainder": Out(range(max(divisor_max, 2))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = Signal(self._bits, reset_less=True)  # of the dividend, still to come
        left = Signal(range(self._bits + 1))
        grown = Signal(len(self.remainder) + 1)
        over = Signal()
        adds = align(m, over, 1, name="adds", reset=True)  # what the bit before was: the product is a cycle behind
        steps = registered(m, left != 0, name="steps", reset=True)
        m.d.comb += [
            grown.eq(Cat(bits[-1], self.remainder)),
            over.eq(grown >= self.divisor),
        ]
        with m.If(steps):
            m.d.sync += self.product.eq((self.product << 1) + Mux(adds, self.factor, 0))
        with m.If(self.start):
            m.d.sync += [bits.eq(self.dividend), left.eq(self._bits), self.product.eq(0), self.remainder.eq(0)]
        with m.Elif(left != 0):
            m.d.sync += [
                bits.eq(bits << 1),
                left.eq(left - 1),
                self.remainder.eq(Mux(over, grown - self.divisor, grown)),
            ]
        return m


class Times(wiring.Component):
    """count · factor, a bit of the count a cycle.

    Members
    -------
    start : take count, in; factor stays steady until the end
    product : count_bits + 1 cycles after the start, until the next, out
    """

    def __init__(self, count_bits: int, factor_bits: int) -> None:
        self._bits = count_bits
        super().__init__(
            {
                "start": In(1),
                "count": In(count_bits),
                "factor": In(factor_bits),
                "product": Out(count_bits + factor_bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = Signal(self._bits, reset_less=True)  # still to come
        left = Signal(range(self._bits + 1))
        total = Signal.like(self.product, reset_less=True)
        m.d.comb += self.product.eq(total)
        with m.If(self.start):
            m.d.sync += [bits.eq(self.count), left.eq(self._bits), total.eq(0)]
        with m.Elif(left != 0):
            m.d.sync += [bits.eq(bits << 1), left.eq(left - 1), total.eq((total << 1) + gated(self.factor, bits[-1]))]
        return m


class Kinds(NamedTuple):
    """What kind of instruction it is: registers, a cycle after the start."""

    is_op: dict[Op, Signal]
    memory: Signal  # PRODUCT, by its columns
    planes: Signal  # PRODUCT, whose weights lie in planes
    keys: Signal
    values: Signal
    tiles: Signal  # it takes column tiles from memory: a PRODUCT or a NORM
    from_store: Signal  # STORE, by what it reads
    from_residual: Signal
    to_store: Signal  # PRODUCT or NORM, by where results go
    to_residual: Signal
    has_tokens: Signal


class Sizes(NamedTuple):
    """Sizes that follow from single fields, and relays of fields that many checks compare."""

    group_words: Signal  # words of a token of so many groups
    channel_words: Signal
    row_beats: Signal  # of a LOAD or STORE
    gather_beats: Signal
    groups: Signal
    beats: Signal
    tile_beats: Signal
    weight_groups: Signal  # of a column tile


class LegalityChecker(wiring.Component):
    """Checks that 64 bytes are a legal instruction, one that every unit will finish.

    Addresses of reads are checked by `fetch.FetchUnit`. The code is steady meanwhile, so paths are cut wherever they
    would be long, with no `align` for the rest; `LATENCY` covers the longest.

    Members
    -------
    start : pulse, in; from it to done the code stays steady
    code : in, 512 bits
    limit : bytes of the program's memory, in
    done : pulse, `LATENCY` cycles after the start, out
    cause : `Cause`, from done to the next start, out
    """

    LATENCY = CHECKER_LATENCY

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "code": In(8 * BYTES),
                "limit": In(ADDRESS_BITS),
                "done": Out(1),
                "cause": Out(CAUSE_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        f = self._fields(m)
        kinds = self._kinds(m, f)
        sizes = self._sizes(m, f, kinds)
        # For checks that take a division: a one-hot bit for each cycle, since each starts all registers of a divider.
        begins = [self.start]
        for cycle in range(1, self.LATENCY):
            begins.append(align(m, begins[-1], 1, name=f"begins_{cycle}", reset=True))
        tile_beats = self._tile_beats(m, f, kinds, sizes, begins)
        beats = self._beats(m, f, kinds, sizes, begins)

        found = {
            Cause.OPCODE: ~Cat(kinds.is_op.values()).any(),
            Cause.RESERVED: self._reserved(m, f, kinds.is_op),
            **self._of_single_fields(m, f, kinds, sizes),
            Cause.TOKENS: self._tokens(m, f, kinds, begins),
            Cause.STORE: self._regions(m, f, kinds, sizes, begins),
            Cause.BEATS: self._other_beats(m, kinds, sizes, tile_beats, beats),
            Cause.ADDRESS: self._beyond_memory(m, f, kinds, beats),
        }
        faults = {
            cause: registered(m, Value.cast(found[cause]), name=f"fault_{cause.name.lower()}")
            for cause in sorted(found)
        }
        end = begins[-1]
        m.d.comb += self.done.eq(align(m, end, 1, name="done", reset=True))
        with m.If(end):
            m.d.sync += self.cause.eq(Cause.NONE)
            for cause in reversed(faults):  # the lowest comes last and wins
                with m.If(faults[cause]):
                    m.d.sync += self.cause.eq(cause)
        return m

    def _fields(self, m: Module) -> dict[str, Signal]:
        """Name the fields of the code."""
        bits = {name: self.code[32 * f.word + f.low : 32 * f.word + f.low + f.bits] for name, f in FIELDS.items()}
        f = {name: Signal(len(value), name=name) for name, value in bits.items()}
        m.d.comb += [f[name].eq(value) for name, value in bits.items()]
        return f

    def _kinds(self, m: Module, f: dict[str, Signal]) -> Kinds:
        """Decode the operation."""
        opcode = f["opcode"]
        is_op = {op: Signal(name=f"is_{op.name.lower()}") for op in Op}
        kinds = Kinds(is_op, *(Signal(name=name) for name in Kinds._fields[1:]))
        has_results = (opcode == Op.PRODUCT) | (opcode == Op.NORM)
        m.d.sync += [
            *(signal.eq(opcode == op) for op, signal in is_op.items()),
            kinds.memory.eq((opcode == Op.PRODUCT) & (f["columns"] == Columns.MEMORY)),
            kinds.planes.eq((opcode == Op.PRODUCT) & f["weight_groups"].any()),
            kinds.keys.eq((opcode == Op.PRODUCT) & (f["columns"] == Columns.KEYS)),
            kinds.values.eq((opcode == Op.PRODUCT) & (f["columns"] == Columns.VALUES)),
            kinds.tiles.eq(((opcode == Op.PRODUCT) & (f["columns"] == Columns.MEMORY)) | (opcode == Op.NORM)),
            kinds.from_store.eq((opcode == Op.STORE) & ~f["which"]),
            kinds.from_residual.eq((opcode == Op.STORE) & f["which"]),
            kinds.to_store.eq(has_results & f["to_store"]),
            kinds.to_residual.eq(has_results & f["to_residual"]),
            kinds.has_tokens.eq((opcode != Op.END) & (opcode != Op.TABLE)),
        ]
        return kinds

    def _sizes(self, m: Module, f: dict[str, Signal], kinds: Kinds) -> Sizes:
        """Round up, by shifts."""
        c = self._config
        group_words = Signal(range(c.row_words + 1), reset_less=True)  # of as many groups as are legal
        channel_words = Signal(range(ceil_div(1 << 16, c.store_word_bytes) + 1), reset_less=True)
        row_beats = Signal(range(max(store_row_beats(c, c.max_groups), residual_row_beats(c, c.hidden)) + 1))
        wide_beats = Signal(range(residual_row_beats(c, 1 << 16) + 1), reset_less=True)
        narrow_beats = Signal(range(ceil_div(1 << 16, c.port_bytes) + scale_beats(c) + 1), reset_less=True)
        gather_beats = Signal(max(len(wide_beats), len(narrow_beats)), reset_less=True)
        m.d.comb += row_beats.eq(Mux(kinds.from_residual, wide_beats, ceil_shift(f["groups"] * c.m, c.port_bytes)))
        m.d.sync += [
            wide_beats.eq(ceil_shift(f["channels"] << 1, c.port_bytes)),
            narrow_beats.eq(ceil_shift(f["channels"], c.port_bytes) + scale_beats(c)),
            gather_beats.eq(Mux(f["narrow"], narrow_beats, wide_beats)),
            group_words.eq(ceil_shift(f["groups"] * c.m, c.store_word_bytes)),
            channel_words.eq(ceil_shift(f["channels"], c.store_word_bytes)),
        ]
        near = {name: relay(m, f[name], name=f"near_{name}") for name in ("groups", "beats", "tile_beats")}
        planes = f["weight_groups"]
        weight_groups = registered(m, Mux(planes.any(), planes, f["groups"]), name="weight_groups_of_tile")
        return Sizes(group_words, channel_words, row_beats, gather_beats, **near, weight_groups=weight_groups)

    def _of_single_fields(self, m: Module, f: dict[str, Signal], kinds: Kinds, sizes: Sizes) -> dict[Cause, ValueLike]:
        """Checks that compare a field with a constant or with another field."""
        c = self._config
        memory, keys, values = kinds.memory, kinds.keys, kinds.values
        product, norm, pool, gather, load = (
            kinds.is_op[op] for op in (Op.PRODUCT, Op.NORM, Op.POOL, Op.GATHER, Op.LOAD)
        )
        channels_outside = registered(m, _outside(f["channels"], c.hidden), name="channels_outside")
        groups_outside = registered(m, _outside(f["groups"], c.max_groups), name="groups_outside")
        weights_outside = registered(m, f["weight_groups"] > most_weight_groups(c), name="weights_outside")
        densest = Mux(kinds.planes, c.n, c.m)
        pattern_outside = registered(m, _outside(f["pattern_n"], densest), name="pattern_outside")
        keys_outside = registered(m, _outside(f["keys"], c.max_tokens), name="keys_outside")
        shift_outside = registered(m, _outside(f["shift"], SHIFT_MAX), name="shift_outside")
        groups_of_keys = registered(m, ceil_shift(f["keys"], c.m), name="groups_of_keys")
        other_groups = registered(m, groups_of_keys != sizes.groups, name="other_groups")
        rescaled = (product & kinds.to_store & (f["table"] | kinds.to_residual)) | (norm & kinds.to_store)
        in_residual = kinds.to_residual | norm | pool | gather | kinds.from_residual
        return {
            Cause.FLAGS: (product & ~(memory | keys | values))
            | ((product | norm) & ~f["to_store"] & ~f["to_residual"])
            | (product & f["add"] & ~kinds.to_residual)
            | (product & f["table"] & (kinds.to_residual | ~kinds.to_store))
            | (product & f["maximum"] & ~keys)
            | ((keys | values) & (kinds.to_residual | f["table"]))
            | (kinds.planes & ~memory)
            | (f["more_heads"].any() & ~(keys | values)),
            Cause.CHANNELS: (product & (f["channels"] == 0))
            | (in_residual & channels_outside)
            | (keys & (f["channels"] > c.max_tokens)),
            Cause.GROUPS: ((product | load | kinds.from_store) & groups_outside) | (kinds.planes & weights_outside),
            Cause.PATTERN: (memory & pattern_outside) | ((keys | values) & (f["pattern_n"] != c.m)),
            Cause.KEYS: values & (keys_outside | other_groups),
            Cause.SHIFT: ((keys | values | pool) & shift_outside) | (rescaled & (f["rescale_shift"] == 0)),
        }

    def _quotient(
        self,
        m: Module,
        begins: list[Signal],
        name: str,
        dividend: ValueLike,
        dividend_max: int,
        divisor: ValueLike,
        divisor_max: int,
        factor: Value,
        *,
        begin: int = BEGIN,
    ) -> Quotient:
        """A divider with registered inputs, so that sums may lie before them. All are done before the end."""
        unit = Quotient(dividend_max.bit_length(), divisor_max, len(factor))
        assert begin + dividend_max.bit_length() + 6 <= self.LATENCY
        m.submodules[name] = unit
        m.d.comb += unit.start.eq(begins[begin])
        for member, value in (("dividend", dividend), ("divisor", divisor), ("factor", factor)):
            given = Signal.like(getattr(unit, member), name=f"{name}_{member}")
            m.d.comb += [given.eq(value), getattr(unit, member).eq(registered(m, given, name=given.name))]
        return unit

    def _tokens(self, m: Module, f: dict[str, Signal], kinds: Kinds, begins: list[Signal]) -> Value:
        """None, too many, or not from the first row of a tile."""
        c, rows, tokens = self._config, self._config.rows, f["tokens"]
        first = self._quotient(m, begins, "first", f["first_token"], 65535, rows, rows, Cat(tokens[0]))
        no_tokens = registered(m, tokens == 0, name="no_tokens")
        last_token = registered(m, tokens + f["first_token"], name="last_token")
        tokens_outside = registered(m, no_tokens | (last_token > c.max_tokens), name="tokens_outside")
        # Most tokens of so many heads; 0 of more heads than a row keeps maxima.
        most = Signal(range(rows * c.maxima_tiles + 1), name="most_tokens_of_heads", reset_less=True)
        with m.Switch(f["more_heads"]):
            for more_heads in range(max_more_heads(c) + 1):
                with m.Case(more_heads):
                    m.d.sync += most.eq(rows * (c.maxima_tiles // (more_heads + 1)))
            with m.Default():
                m.d.sync += most.eq(0)
        too_many = registered(m, tokens > most, name="too_many_of_heads")
        return kinds.has_tokens & ((first.remainder != 0) | tokens_outside | too_many)

    def _regions(self, m: Module, f: dict[str, Signal], kinds: Kinds, sizes: Sizes, begins: list[Signal]) -> Value:
        """A region leaves the activation store."""
        c = self._config
        load, tokens = kinds.is_op[Op.LOAD], f["tokens"]
        # Of all heads side by side.
        group_words = self._all_heads(m, f, begins, "group_words", sizes.group_words)
        channel_words = self._all_heads(m, f, begins, "channel_words", sizes.channel_words)

        def leaves(region: str, name: str, region_tokens: Value, words: ValueLike) -> Signal:
            most = c.max_tokens - 1 or 1
            pitch = f[f"{region}_pitch"]
            unit = self._quotient(m, begins, name, region_tokens - 1, most, c.rows, c.rows, pitch)
            words = registered(m, Value.cast(words), name=f"{region}_words")
            bits = max(len(unit.product), len(words)) + 2
            region_end = Signal(bits, reset_less=True, name=f"{region}_end")
            outside = Signal(reset_less=True, name=f"{region}_outside")
            m.d.sync += [
                region_end.eq(f[f"{region}_base"] + unit.product + words),
                outside.eq(region_end > c.store_words),
            ]
            return outside

        key_tokens = Mux(kinds.keys, f["channels"], f["keys"])
        x_outside = leaves("x", "x", tokens, group_words)
        y_outside = leaves("y", "y", tokens, Mux(load, group_words, channel_words))
        c_outside = leaves("c", "keys_or_values", key_tokens, Mux(kinds.keys, group_words, channel_words))
        return (
            ((kinds.is_op[Op.PRODUCT] | kinds.from_store) & x_outside)
            | ((kinds.keys | kinds.values) & c_outside)
            | ((kinds.to_store | load) & y_outside)
        )

    def _all_heads(self, m: Module, f: dict[str, Signal], begins: list[Signal], name: str, words: Signal) -> Value:
        """Words of all heads side by side; without `more_heads` of one."""
        most = max_more_heads(self._config)
        m.submodules[f"{name}_of_heads"] = unit = Times((most + 1).bit_length(), len(words))
        more_heads = f["more_heads"][: most.bit_length()]  # more is refused as TOKENS
        m.d.comb += [unit.start.eq(begins[BEGIN]), unit.count.eq(more_heads + 1), unit.factor.eq(words)]
        return unit.product

    def _tile_beats(self, m: Module, f: dict[str, Signal], kinds: Kinds, sizes: Sizes, begins: list[Signal]) -> Signal:
        """Beats of a column tile, by the pattern."""
        c = self._config
        patterns = [TileBeats.of(c, n) for n in range(1, c.m + 1)]
        # What a pattern gives, and the most of it.
        given = {
            "group_steps": [one.steps for one in patterns],
            "v_units": [one.values[0] for one in patterns],
            "v_beats": [one.values[1] for one in patterns],
            "s_units": [one.selection[0] for one in patterns],
            "s_beats": [one.selection[1] for one in patterns],
            "per_step": [int(one.selection_per_step) for one in patterns],
        }
        shape = {name: Signal(range(max(1, *numbers) + 1), name=name) for name, numbers in given.items()}
        with m.Switch(f["pattern_n"]):
            for i in range(c.m):
                with m.Case(i + 1):
                    m.d.sync += [shape[name].eq(numbers[i]) for name, numbers in given.items()]

        most_steps = c.max_groups * max(given["group_steps"])
        most_tile = most_tile_beats(c)
        # Shifts and adders; of `*` yosys would make a multiplier.
        terms = [Mux(bit, sizes.weight_groups << i, 0) for i, bit in enumerate(shape["group_steps"])]
        if len(terms) <= 3:
            steps = Signal(range(most_steps + 1), reset_less=True)
            m.d.sync += steps.eq(sum(terms, Const(0)))
            last_step = steps - 1
            last_selection = Mux(shape["per_step"], steps, sizes.weight_groups) - 1
        else:  # as one sum it was the longest path of a core with M = 16
            low = registered(m, Value.cast(sum(terms[:2]) - 1), name="last_step_low")
            high = registered(m, Value.cast(sum(terms[2:])), name="last_step_high")
            last_step = low + high
            last_selection = Mux(shape["per_step"], last_step, sizes.weight_groups - 1)

        def quotient(name: str, last: Value, units: str, beats: str) -> Quotient:
            most = most_steps - 1 or 1
            divisor, factor = shape[units], shape[beats]
            begin = BEGIN + 1  # when the steps are known
            return self._quotient(m, begins, name, last, most, divisor, max(given[units]), factor, begin=begin)

        weights = quotient("weights", last_step, "v_units", "v_beats")
        selection = quotient("selection", last_selection, "s_units", "s_beats")
        tile_beats = Signal(range(most_tile + 1), reset_less=True)
        weights_beats = Signal(range(most_tile + 1), reset_less=True)
        selection_beats = Signal(range(most_tile + 1), reset_less=True)
        m.d.sync += [
            weights_beats.eq(weights.product + weights.factor + parameter_beats(c)),  # and those of parameters
            selection_beats.eq(selection.product + selection.factor),
            tile_beats.eq(Mux(kinds.memory, weights_beats + selection_beats, parameter_beats(c))),
        ]
        return tile_beats

    def _beats(self, m: Module, f: dict[str, Signal], kinds: Kinds, sizes: Sizes, begins: list[Signal]) -> Signal:
        """Beats of all column tiles, or of all tokens' rows."""
        c, tiles = self._config, kinds.tiles
        factor = Mux(tiles, f["tile_beats"], sizes.row_beats)
        unit = self._quotient(
            m, begins, "all_beats",
            Mux(tiles, f["channels"], f["tokens"]) - 1, 65535,
            Mux(tiles, c.cols, 1), c.cols,
            factor[: max(most_tile_beats(c).bit_length(), len(sizes.row_beats))],
        )  # fmt: skip
        beats = Signal(len(unit.product) + 1, reset_less=True, name="whole")
        m.d.sync += beats.eq(unit.product + unit.factor)
        return beats

    def _other_beats(self, m: Module, kinds: Kinds, sizes: Sizes, tile_beats: Signal, beats: Signal) -> Value:
        """The instruction says other numbers of beats: for all tiles, for a tile, for a gathered row, for a table."""
        other_beats = registered(m, sizes.beats != beats, name="other_beats")
        other_tile_beats = registered(m, sizes.tile_beats != tile_beats, name="other_tile_beats")
        other_gather_beats = registered(m, sizes.beats != sizes.gather_beats, name="other_gather_beats")
        table_beats = ceil_div(TABLE_BYTES, self._config.port_bytes)
        other_table_beats = registered(m, sizes.beats != table_beats, name="other_table_beats")
        return (
            (kinds.tiles & (other_tile_beats | other_beats))
            | (kinds.is_op[Op.LOAD] & other_beats)
            | (kinds.is_op[Op.GATHER] & other_gather_beats)
            | (kinds.is_op[Op.TABLE] & other_table_beats)
        )

    def _beyond_memory(self, m: Module, f: dict[str, Signal], kinds: Kinds, beats: Signal) -> Value:
        """A STORE writes beyond the limit, or from the middle of a beat on."""
        port_bytes = self._config.port_bytes
        unaligned = registered(m, (f["address"] & (port_bytes - 1)).any(), name="unaligned")
        behind = Signal(ADDRESS_BITS + 1 + len(beats), reset_less=True)
        m.submodules.written = written = Beyond(len(behind), ADDRESS_BITS)
        m.d.sync += behind.eq(f["address"] + (beats << (port_bytes.bit_length() - 1)))
        m.d.comb += [written.value.eq(behind), written.limit.eq(self.limit)]
        return kinds.is_op[Op.STORE] & (unaligned | written.beyond)

    def _reserved(self, m: Module, f: dict[str, Signal], is_op: dict[Op, Signal]) -> Value:
        """A bit is set outside all fields, or in a field that the opcode does not use."""
        known = {field.word * 32 + field.low + i for field in FIELDS.values() for i in range(field.bits)}
        others = Cat(self.code[i] for i in range(8 * BYTES) if i not in known)
        nameless = Signal(ceil_div(len(others), 16), reset_less=True)
        m.d.sync += nameless.eq(Cat(others[i : i + 16].any() for i in range(0, len(others), 16)))
        is_set = {name: Signal(name=f"{name}_is_set", reset_less=True) for name in FIELDS}
        m.d.sync += [is_set[name].eq(value.any()) for name, value in f.items()]
        unused = [
            signal & Cat(is_set[name] for name in FIELDS if name not in ("opcode", *USED[op])).any()
            for op, signal in is_op.items()
        ]
        return nameless.any() | registered(m, Cat(unused), name="unused").any()


def _outside(value: Value, largest: ValueLike) -> Value:
    """Not within 1 … largest."""
    return (value == 0) | (value > largest)
