"""Instructions as the engines see them, and the hardware that checks them by the rules of `rtl/sta/legality.py`."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rtl.lib.compare import Beyond
from rtl.lib.timing import align, registered, relay, replicate
from rtl.params import ADDRESS_BITS, SHIFT_MAX, Config, ceil_div
from rtl.sta.isa import BYTES, FIELDS, USED, Columns, Op
from rtl.sta.latencies import CHECKER_LATENCY
from rtl.sta.legality import (
    CAUSE_BITS,
    TABLE_BYTES,
    Cause,
    TileBeats,
    parameter_beats,
    residual_row_beats,
    store_row_beats,
)
from rtl.sta.params import StaConfig


def instruction_layout(config: Config) -> data.StructLayout:
    """Every field of `isa.FIELDS` by its name, wide enough for legal instructions."""
    most = {
        "tokens": config.max_tokens,
        "first_token": config.max_tokens,
        "groups": config.max_groups,
        "pattern": config.m,
    }
    return data.StructLayout(
        {name: range(most[name] + 1) if name in most else field.bits for name, field in FIELDS.items()}
    )


def own_instruction(m: Module, begins: ValueLike, instruction: data.View, *, name: str) -> tuple[Signal, data.View]:
    """A start, and its instruction, two cycles after `begins`, `replicate`d for the engine that works on it.

    The instruction is to be steady for a cycle behind `begins`.
    """
    begun = Signal(name=f"{name}_begun")
    started = Signal(name=f"{name}_start")
    m.d.sync += [begun.eq(begins), started.eq(begun)]
    return started, replicate(m, instruction, name=f"{name}_instruction", enable=begun)


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
        adds = Signal()  # what the bit before was: the product is a cycle behind
        steps = Signal()
        m.d.comb += [
            grown.eq(Cat(bits[-1], self.remainder)),
            over.eq(grown >= self.divisor),
        ]
        m.d.sync += [adds.eq(over), steps.eq(left != 0)]
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


class LegalityChecker(wiring.Component):
    """Checks that 64 bytes are a legal instruction, one that every engine will finish.

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
        c = self._config
        bits = {name: self.code[32 * f.word + f.low : 32 * f.word + f.low + f.bits] for name, f in FIELDS.items()}
        f = {name: Signal(len(value), name=name) for name, value in bits.items()}
        m.d.comb += [f[name].eq(value) for name, value in bits.items()]

        # The operation.
        is_op = {op: Signal(name=f"is_{op.name.lower()}") for op in Op}
        m.d.sync += [signal.eq(f["opcode"] == op) for op, signal in is_op.items()]
        product, norm, pool, gather, load = (is_op[op] for op in (Op.PRODUCT, Op.NORM, Op.POOL, Op.GATHER, Op.LOAD))
        memory, keys, values = (Signal(name=one.name.lower()) for one in Columns)
        from_store, from_residual, to_store, to_residual, has_tokens = (
            Signal(name=name) for name in ("from_store", "from_residual", "to_store", "to_residual", "has_tokens")
        )
        opcode = f["opcode"]
        has_results = (opcode == Op.PRODUCT) | (opcode == Op.NORM)
        m.d.sync += [
            memory.eq((opcode == Op.PRODUCT) & (f["columns"] == Columns.MEMORY)),
            keys.eq((opcode == Op.PRODUCT) & (f["columns"] == Columns.KEYS)),
            values.eq((opcode == Op.PRODUCT) & (f["columns"] == Columns.VALUES)),
            from_store.eq((opcode == Op.STORE) & ~f["which"]),
            from_residual.eq((opcode == Op.STORE) & f["which"]),
            to_store.eq(has_results & f["to_store"]),
            to_residual.eq(has_results & f["to_residual"]),
            has_tokens.eq((opcode != Op.END) & (opcode != Op.TABLE)),
        ]

        # Sizes.
        group_words = Signal(range(ceil_div((1 << 16) * c.m, c.store_word_bytes) + 1), reset_less=True)
        channel_words = Signal(range(ceil_div(1 << 16, c.store_word_bytes) + 1), reset_less=True)
        row_beats = Signal(range(max(store_row_beats(c, c.max_groups), residual_row_beats(c, c.hidden)) + 1))
        gather_beats = Signal(range(residual_row_beats(c, 1 << 16) + 1), reset_less=True)
        m.d.comb += row_beats.eq(Mux(from_residual, gather_beats, ceil_shift(f["groups"] * c.m, c.port_bytes)))
        m.d.sync += [
            gather_beats.eq(ceil_shift(f["channels"] << 1, c.port_bytes)),
            group_words.eq(ceil_shift(f["groups"] * c.m, c.store_word_bytes)),
            channel_words.eq(ceil_shift(f["channels"], c.store_word_bytes)),
        ]

        groups, beats, given_tile_beats = (
            relay(m, f[name], name=f"near_{name}") for name in ("groups", "beats", "tile_beats")
        )

        # Checks of single fields.
        faults = {
            cause: Signal(name=f"fault_{cause.name.lower()}", reset_less=True)
            for cause in Cause
            if cause not in (Cause.NONE, Cause.BUS)
        }
        channels_outside = registered(m, _outside(f["channels"], c.hidden), name="channels_outside")
        groups_outside = registered(m, _outside(f["groups"], c.max_groups), name="groups_outside")
        pattern_outside = registered(m, _outside(f["pattern"], c.m), name="pattern_outside")
        keys_outside = registered(m, _outside(f["keys"], c.max_tokens), name="keys_outside")
        shift_outside = registered(m, _outside(f["shift"], SHIFT_MAX), name="shift_outside")
        groups_of_keys = registered(m, ceil_shift(f["keys"], c.m), name="groups_of_keys")
        other_groups = registered(m, groups_of_keys != groups, name="other_groups")
        no_tokens = registered(m, f["tokens"] == 0, name="no_tokens")
        unaligned = registered(m, (f["address"] & (c.port_bytes - 1)).any(), name="unaligned")
        other_table_beats = registered(m, beats != ceil_div(TABLE_BYTES, c.port_bytes), name="other_table_beats")
        rescaled = (product & to_store & (f["table"] | to_residual)) | (norm & to_store)
        in_residual = to_residual | norm | pool | gather | from_residual
        m.d.sync += [
            faults[Cause.OPCODE].eq(~Cat(is_op.values()).any()),
            faults[Cause.RESERVED].eq(self._reserved(m, f, is_op)),
            faults[Cause.FLAGS].eq(
                (product & ~(memory | keys | values))
                | ((product | norm) & ~f["to_store"] & ~f["to_residual"])
                | (product & f["add"] & ~to_residual)
                | (product & f["table"] & (to_residual | ~to_store))
                | (product & f["maximum"] & ~keys)
                | ((keys | values) & (to_residual | f["table"]))
            ),
            faults[Cause.CHANNELS].eq(
                (product & (f["channels"] == 0))
                | (in_residual & channels_outside)
                | (keys & (f["channels"] > c.max_tokens))
            ),
            faults[Cause.GROUPS].eq((product | load | from_store) & groups_outside),
            faults[Cause.PATTERN].eq((memory & pattern_outside) | ((keys | values) & (f["pattern"] != c.m))),
            faults[Cause.KEYS].eq(values & (keys_outside | other_groups)),
            faults[Cause.SHIFT].eq(((keys | values | pool) & shift_outside) | (rescaled & (f["rescale_shift"] == 0))),
        ]

        # Checks that take a division. A one-hot bit for each cycle, since each starts all registers of a divider.
        begins = [self.start]
        for cycle in range(1, self.LATENCY):
            begins.append(align(m, begins[-1], 1, name=f"begins_{cycle}", reset=True))
        end = begins[-1]

        def quotient(
            name: str,
            dividend: ValueLike,
            dividend_max: int,
            divisor: ValueLike,
            divisor_max: int,
            factor: Value,
            *,
            begin: int = 2,
        ) -> Quotient:
            """A divider with registered inputs, so that sums may lie before them. All are done before the end."""
            unit = Quotient(dividend_max.bit_length(), divisor_max, len(factor))
            assert begin + dividend_max.bit_length() + 6 <= self.LATENCY
            m.submodules[name] = unit
            held = Signal.like(unit.dividend, reset_less=True, name=f"{name}_dividend")
            m.d.sync += [held.eq(dividend), unit.divisor.eq(divisor), unit.factor.eq(factor)]
            m.d.comb += [unit.start.eq(begins[begin]), unit.dividend.eq(held)]
            return unit

        rows, tokens = c.rows, f["tokens"]
        key_tokens = Mux(keys, f["channels"], f["keys"])
        first = quotient("first", f["first_token"], 65535, rows, rows, Cat(tokens[0]))
        x = quotient("x", tokens - 1, c.max_tokens - 1 or 1, rows, rows, f["x_pitch"])
        y = quotient("y", tokens - 1, c.max_tokens - 1 or 1, rows, rows, f["y_pitch"])
        keys_or_values = quotient("keys_or_values", key_tokens - 1, c.max_tokens - 1 or 1, rows, rows, f["c_pitch"])

        patterns = [TileBeats.of(c, pattern) for pattern in range(1, c.m + 1)]
        most_steps = c.max_groups * max(one.steps for one in patterns)
        most_tile = parameter_beats(c) + max(one.beats(c.max_groups) for one in patterns)
        shape = {
            name: Signal(range(most + 1), name=name)
            for name, most in (
                ("group_steps", max(one.steps for one in patterns)),
                ("v_units", max(one.values[0] for one in patterns)),
                ("v_beats", max(one.values[1] for one in patterns)),
                ("s_units", max(one.selection[0] for one in patterns)),
                ("s_beats", max(max(one.selection[1] for one in patterns), 1)),
                ("per_step", 1),
            )
        }
        with m.Switch(f["pattern"]):
            for pattern, one in enumerate(patterns, start=1):
                with m.Case(pattern):
                    m.d.sync += [
                        shape["group_steps"].eq(one.steps),
                        shape["v_units"].eq(one.values[0]),
                        shape["v_beats"].eq(one.values[1]),
                        shape["s_units"].eq(one.selection[0]),
                        shape["s_beats"].eq(one.selection[1]),
                        shape["per_step"].eq(one.selection_per_step),
                    ]
        # Shifts and adders; of `*` yosys would make a multiplier.
        steps = Signal(range(most_steps + 1), reset_less=True)
        m.d.sync += steps.eq(sum((Mux(bit, groups << i, 0) for i, bit in enumerate(shape["group_steps"])), Const(0)))
        selections = Mux(shape["per_step"], steps, f["groups"])
        v_units, v_beats, s_units, s_beats = (shape[name] for name in ("v_units", "v_beats", "s_units", "s_beats"))
        most_values = max(one.values[0] for one in patterns)
        most_selections = max(one.selection[0] for one in patterns)
        weights = quotient("weights", steps - 1, most_steps - 1 or 1, v_units, most_values, v_beats, begin=3)
        selection = quotient(
            "selection", selections - 1, most_steps - 1 or 1, s_units, most_selections, s_beats, begin=3
        )
        tiles = Signal()  # memory | norm
        m.d.sync += tiles.eq(((opcode == Op.PRODUCT) & (f["columns"] == Columns.MEMORY)) | (opcode == Op.NORM))
        factor_bits = max(most_tile.bit_length(), len(row_beats))
        all_beats = quotient(
            "all_beats",
            Mux(tiles, f["channels"], tokens) - 1,
            65535,
            Mux(tiles, c.cols, 1),
            c.cols,
            Mux(tiles, f["tile_beats"], row_beats)[:factor_bits],
        )

        tile_beats = Signal(range(most_tile + 1), reset_less=True)
        whole = Signal(len(all_beats.product) + 1, reset_less=True)
        behind = Signal(ADDRESS_BITS + 1 + len(whole), reset_less=True)
        weights_beats = Signal(range(most_tile + 1), reset_less=True)
        selection_beats = Signal(range(most_tile + 1), reset_less=True)
        m.d.sync += [
            weights_beats.eq(weights.product + weights.factor + parameter_beats(c)),  # and those of parameters
            selection_beats.eq(selection.product + selection.factor),
            tile_beats.eq(Mux(memory, weights_beats + selection_beats, parameter_beats(c))),
            whole.eq(all_beats.product + all_beats.factor),
            behind.eq(f["address"] + (whole << (c.port_bytes.bit_length() - 1))),
        ]

        def leaves(region: str, unit: Quotient, words: ValueLike) -> Signal:
            """The region ends beyond the store."""
            region_end = Signal(len(unit.product) + 2, reset_less=True, name=f"{region}_end")
            outside = Signal(reset_less=True, name=f"{region}_outside")
            words = registered(m, words, name=f"{region}_words")
            m.d.sync += [
                region_end.eq(f[f"{region}_base"] + unit.product + words),
                outside.eq(region_end > c.store_words),
            ]
            return outside

        last_token = Signal(17, reset_less=True)
        tokens_outside = registered(m, no_tokens | (last_token > c.max_tokens), name="tokens_outside")
        x_outside = leaves("x", x, group_words)
        c_outside = leaves("c", keys_or_values, Mux(keys, group_words, channel_words))
        y_outside = leaves("y", y, Mux(load, group_words, channel_words))
        other_beats = Signal(reset_less=True)  # not what the sizes give: for all tiles, a tile, a gathered row
        other_tile_beats = Signal(reset_less=True)
        other_gather_beats = Signal(reset_less=True)
        m.submodules.written = written = Beyond(len(behind), ADDRESS_BITS)
        m.d.comb += [written.value.eq(behind), written.limit.eq(self.limit)]
        m.d.sync += [
            last_token.eq(tokens + f["first_token"]),
            other_beats.eq(beats != whole),
            other_tile_beats.eq(given_tile_beats != tile_beats),
            other_gather_beats.eq(beats != gather_beats),
            faults[Cause.TOKENS].eq(has_tokens & ((first.remainder != 0) | tokens_outside)),
            faults[Cause.STORE].eq(
                ((product | from_store) & x_outside) | ((keys | values) & c_outside) | ((to_store | load) & y_outside)
            ),
            faults[Cause.BEATS].eq(
                (tiles & (other_tile_beats | other_beats))
                | (load & other_beats)
                | (gather & other_gather_beats)
                | (is_op[Op.TABLE] & other_table_beats)
            ),
            faults[Cause.ADDRESS].eq(is_op[Op.STORE] & (unaligned | written.beyond)),
        ]
        m.d.sync += self.done.eq(end)
        with m.If(end):
            m.d.sync += self.cause.eq(Cause.NONE)
            for cause in reversed(faults):  # the lowest comes last and wins
                with m.If(faults[cause]):
                    m.d.sync += self.cause.eq(cause)
        return m

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


def ceil_shift(value: Value, divisor: int) -> Value:
    """⌈value / divisor⌉, the divisor a power of two."""
    return (value + (divisor - 1)) >> (divisor.bit_length() - 1)


def _outside(value: Value, largest: int) -> Value:
    """Not within 1 … largest."""
    return (value == 0) | (value > largest)
