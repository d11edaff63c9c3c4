"""The activation store: one bank a row of the array, each feeding its row a group a step."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.array.instances import BANK
from rtl.array.latencies import READ_LATENCY
from rtl.array.steps import row_step
from rtl.engine.product_registers import descriptor
from rtl.lib.cases import cases
from rtl.lib.deep_memory import DeepMemory
from rtl.lib.divider import ceil_shift
from rtl.lib.timing import align, registered, relay
from rtl.params import Config

BANKS = f"activation_store.{BANK}."  # how names of their cells begin in a netlist, which a floorplan finds


def row_address(config: Config) -> data.StructLayout:
    """A step as a bank takes it: which group (word and group within the word), and the marks of `row_step`."""
    return data.StructLayout(
        {
            "word": range(config.store_depth),
            "group": range(config.store_word_bytes // config.m),
            "valid": 1,
            "first": 1,
            "last": 1,
        }
    )


def bank_write(config: Config) -> data.StructLayout:
    """A beat on its way into a bank: its word, and which part of the word where a word takes several beats."""
    return data.StructLayout(
        {
            "word": range(config.store_depth),
            "parts": config.store_word_bytes // config.port_bytes,
            "beat": 8 * config.port_bytes,
        }
    )


class ActivationBank(wiring.Component):
    """Activations of the tokens that one row of the array works on.

    Members
    -------
    write, write_enable : in
    step_in : `row_address`, in
    step_out : step_in a cycle later, for the bank of the next row, out
    row : `row_step`, READ_LATENCY cycles after step_in, out
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "write": In(bank_write(config)),
                "write_enable": In(1),
                "step_in": In(row_address(config)),
                "step_out": Out(row_address(config)),
                "row": Out(row_step(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self._config
        m.submodules.memory = memory = DeepMemory(8 * c.store_word_bytes, c.store_depth, 8 * c.port_bytes)
        parts = c.store_word_bytes // c.port_bytes
        m.d.comb += [
            memory.write_address.eq(self.write.word),
            memory.write_data.eq(self.write.beat.replicate(parts)),
            memory.write_enable.eq(self.write.parts & self.write_enable.replicate(parts)),
            memory.read_address.eq(self.step_in.word),
        ]
        m.d.comb += self.step_out.eq(relay(m, self.step_in, name="step_out", reset=True))

        # The memory's data, M activations of which are this step's.
        group = align(m, self.step_in.group, 1, name="group")
        activations = Signal.like(self.row.group, reset_less=True)
        for i in cases(m, group, c.store_word_bytes // c.m):
            for j in range(c.m):
                m.d.sync += activations[j].eq(memory.read_data.word_select(i * c.m + j, 8))
        m.d.comb += self.row.group.eq(activations)
        for mark in ("valid", "first", "last"):
            m.d.comb += self.row[mark].eq(align(m, self.step_in[mark], READ_LATENCY, name=mark, reset=mark == "valid"))
        return m


class ActivationStore(wiring.Component):
    """Takes a product's activations from memory and feeds them to the array's rows.

    Token t lies in bank t mod rows. Row r's operands leave r cycles after those of row 0.

    Members
    -------
    start, product : in
    beats : activations as they lie in memory, token after token, stream in; never stalls. A beat is in its bank two
        cycles later
    tiles_loaded : token tiles that are complete since the start, out: a step may come in the cycle after
    step : `row_address` of row 0, in
    rows : `row_step` for each row, READ_LATENCY cycles after step and r more, out
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "product": In(descriptor(config)),
                "beats": In(stream.Signature(8 * config.port_bytes)),
                "tiles_loaded": Out(range(config.max_token_tiles + 1)),
                "step": In(row_address(config)),
                "rows": Out(row_step(config)).array(config.rows),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self._config

        # Where the next beat goes: bank, word = base of the token tile + word of the token, part of the word.
        bank = Signal(range(c.rows), reset_less=True)
        base = Signal(range(c.store_depth + c.row_words), reset_less=True)
        word = Signal(range(c.row_words), reset_less=True)
        parts = c.store_word_bytes // c.port_bytes
        part = Signal(parts, init=1, reset_less=True)
        words = Signal(range(c.row_words + 1))  # of a token
        groups_a_word = c.store_word_bytes // c.m
        tokens_left = Signal.like(self.product.tokens, reset_less=True)
        m.d.comb += words.eq(ceil_shift(self.product.groups, groups_a_word))

        write = Signal(bank_write(c))
        m.d.comb += [
            self.beats.ready.eq(1),
            write.word.eq(base + word),
            write.parts.eq(part),
            write.beat.eq(self.beats.payload),
        ]
        with m.If(self.beats.valid):
            m.d.sync += part.eq(part.rotate_left(1))
            with m.If(part[-1]):
                m.d.sync += word.eq(word + 1)
                with m.If(word == words - 1):
                    m.d.sync += [word.eq(0), bank.eq(bank + 1), tokens_left.eq(tokens_left - 1)]
                    with m.If(bank == c.rows - 1):
                        m.d.sync += [bank.eq(0), base.eq(base + words)]
                    with m.If((bank == c.rows - 1) | (tokens_left == 1)):
                        m.d.sync += self.tiles_loaded.eq(self.tiles_loaded + 1)
        with m.If(self.start):
            m.d.sync += [
                bank.eq(0),
                base.eq(0),
                word.eq(0),
                part.eq(1),
                tokens_left.eq(self.product.tokens),
                self.tiles_loaded.eq(0),
            ]

        # Beats come late in a cycle, and every bank's block RAM takes them.
        write = relay(m, write, name="write")
        step = self.step
        for r in range(c.rows):
            m.submodules[BANK.format(r)] = activation_bank = ActivationBank(c)
            m.d.comb += [
                activation_bank.write.eq(write),
                activation_bank.write_enable.eq(
                    registered(m, self.beats.valid & (bank == r), name=f"write_enable_{r}", reset=True)
                ),
                activation_bank.step_in.eq(step),
                self.rows[r].eq(activation_bank.row),
            ]
            step = activation_bank.step_out
        return m
