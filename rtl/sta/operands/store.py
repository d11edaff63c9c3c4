"""The activation store of STA: one bank a row of the array, read by the row, and by copies in its free cycles.

The file is called `store`, as in the fields of instructions and in the options: the engine's, which is filled once for
each product and knows neither copies nor writes of results, is `rtl/engine/activation_store.py`.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rtl.lib.cases import cases
from rtl.lib.timing import align, hard_register, replicate
from rtl.sta.instances import BANK
from rtl.sta.latencies import BANK_LATENCY, COPY_LATENCY
from rtl.sta.operands.store_row import store_row
from rtl.sta.params import StaConfig

# From a copy request to its word: address, memory, output register; muxes of two banks, of four, of all.

ALWAYS = ("valid", "first", "last")  # passed from bank to bank in every cycle, step or not


def store_step(config: StaConfig) -> data.StructLayout:
    """A step as a bank takes it.

    valid : this is a step; otherwise first and last are 0, so is read at the store's input (not between banks), and
        the rest is undefined
    first, last : it begins, ends a tile
    read : it is the first step of a word; the others use the word that was read last
    word, group : of the store, and of the word
    sub, softmax, tile, position : passed on, see `store_row`
    """
    along = store_row(config).members
    return data.StructLayout(
        {
            "valid": 1,
            "first": 1,
            "last": 1,
            "read": 1,
            "word": range(config.store_words),
            "group": range(config.store_word_bytes // config.m),
            **{mark: along[mark] for mark in ("sub", "softmax", "tile", "position")},
        }
    )


def store_write(config: StaConfig) -> data.StructLayout:
    """A write of a word; bit i of the strobe enables byte i."""
    return data.StructLayout(
        {
            "enable": 1,
            "bank": range(config.rows),
            "address": range(config.store_words),
            "data": 8 * config.store_word_bytes,
            "strobe": config.store_word_bytes,
        }
    )


def store_copy(config: StaConfig) -> data.StructLayout:
    """A read request for a word."""
    return data.StructLayout({"valid": 1, "bank": range(config.rows), "address": range(config.store_words)})


class StoreBank(wiring.Component):
    """Operands of the tokens that one row of the array works on.

    Members
    -------
    write, write_enable : in; `enable` and `bank` of the write are ignored, its data comes a cycle later
    step_in : `store_step`, in
    step_out : step_in a cycle later, for the bank of the next row, out
    row : `store_row`, BANK_LATENCY cycles after step_in, out
    copy_address : read in this cycle unless step_in reads, in
    copy_data : the word of copy_address three cycles before, out
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "write": In(store_write(config)),
                "write_enable": In(1),
                "step_in": In(store_step(config)),
                "step_out": Out(store_step(config)),
                "row": Out(store_row(config)),
                "copy_address": In(range(config.store_words)),
                "copy_data": Out(8 * config.store_word_bytes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, step = self._config, self.step_in
        m.submodules.memory = memory = Memory(shape=8 * c.store_word_bytes, depth=c.store_words, init=[])
        write = memory.write_port(granularity=8)
        read = memory.read_port()
        reads = Signal()
        copied = hard_register(m, read.data, name="copied")
        # Each address goes to many block RAMs, so each bank has its own.
        read_address = Signal.like(read.addr, reset_less=True)
        strobe = Signal.like(self.write.strobe, reset_less=True)
        step_out = Signal.like(step, reset_less=True)
        m.d.sync += [
            read_address.eq(Mux(reads, step.word, self.copy_address)),
            strobe.eq(self.write.strobe & self.write_enable.replicate(c.store_word_bytes)),
        ]
        write_address = replicate(m, self.write.address, name="write_address", enable=self.write_enable)
        m.d.comb += [
            write.addr.eq(write_address),
            write.data.eq(self.write.data),
            write.en.eq(strobe),
            reads.eq(step.valid & step.read),
            read.addr.eq(read_address),
            self.copy_data.eq(copied),
            self.step_out.eq(step_out),
        ]
        m.d.sync += [step_out[mark].eq(step[mark]) for mark in ALWAYS]
        with m.If(step.valid):  # an enable, so that it is not merged with what travels with the row
            m.d.sync += [step_out[mark].eq(step[mark]) for mark in step.shape().members if mark not in ALWAYS]

        # The word, held for all of its steps, then this step's group of it.
        assert BANK_LATENCY == 5  # the address, the memory, its register, the word, the group of it
        word = Signal(8 * c.store_word_bytes, reset_less=True)
        with m.If(align(m, reads, 3, name="reads")):
            m.d.sync += word.eq(self.copy_data)
        group = align(m, step.group, 4, name="group")
        operands = Signal.like(self.row.group, reset_less=True)
        for i in cases(m, group, c.store_word_bytes // c.m):
            m.d.sync += operands.as_value().eq(word.word_select(i, 8 * c.m))
        m.d.comb += self.row.group.eq(operands)
        for mark in ("valid", "first", "last", "sub", "softmax", "tile", "position"):
            m.d.comb += self.row[mark].eq(align(m, step[mark], BANK_LATENCY, name=mark, reset=mark == "valid"))
        return m


class ActivationStore(wiring.Component):
    """Feeds the array's rows a group a step, and serves copies in the cycles between.

    Word j of token t of a region is in bank t mod rows; `isa` says where. A write is readable two cycles later.
    A word that is read while it is written is undefined.

    Members
    -------
    step : `store_step` of row 0, in
    rows : `store_row` for each row, STORE_LATENCY cycles after step and r more, out
    next_cycle_busy : the rows that read from their banks in the next cycle, out
    copy_request : `store_copy`, of a bank whose row does not read, in
    copy_valid, copy_data : the word, COPY_LATENCY cycles after the request, out
    write : `store_write`, in
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "step": In(store_step(config)),
                "rows": Out(store_row(config)).array(config.rows),
                "next_cycle_busy": Out(config.rows),
                "copy_request": In(store_copy(config)),
                "copy_valid": Out(1),
                "copy_data": Out(8 * config.store_word_bytes),
                "write": In(store_write(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self._config
        # A relay between those who write and the many banks; the data waits for the banks' addresses.
        write = Signal(store_write(c), reset_less=True)
        write_enable = Signal()
        m.d.sync += [write.eq(self.write), write_enable.eq(self.write.enable)]
        written = Signal.like(write)
        m.d.comb += [written.eq(write), written.data.eq(align(m, write.data, 1, name="written"))]

        step = Signal(store_step(c), name="step_1", reset_less=True)
        valid = Signal(name="step_1_valid")
        m.d.sync += [step.eq(self.step), valid.eq(self.step.valid)]
        entering = Signal.like(step)
        m.d.comb += [entering.eq(step), entering.valid.eq(valid)]
        step = entering
        # Which rows read, kept apart from the banks' own bits, to be near the copies' requests.
        reads = [align(m, self.step.read, 1, name="reads_0", reset=True)]
        for r in range(1, c.rows):
            reads.append(align(m, reads[-1], 1, name=f"reads_{r}", reset=True))
        words = []
        for r in range(c.rows):
            m.submodules[BANK.format(r)] = bank = StoreBank(c)
            m.d.comb += [
                bank.write.eq(written),
                bank.write_enable.eq(write_enable & (write.bank == r)),
                bank.step_in.eq(step),
                bank.copy_address.eq(self.copy_request.address),
                self.rows[r].eq(bank.row),
            ]
            words.append(bank.copy_data)
            step = bank.step_out

        m.d.comb += [
            self.next_cycle_busy.eq(Cat(self.step.read, *reads[:-1])),
            self.copy_valid.eq(align(m, self.copy_request.valid, COPY_LATENCY, name="copy_valid", reset=True)),
        ]
        # A mux tree, neighbours first: banks are as far apart as the rows of the array, and a word has many wires.
        for level in (1, 2):
            pairs = [words[r : r + 2] for r in range(0, len(words), 2)]
            words = [Signal.like(self.copy_data, name=f"of_{level}_{i}", reset_less=True) for i in range(len(pairs))]
            for i, (word, pair) in enumerate(zip(words, pairs, strict=True)):
                m.d.sync += word.eq(pair[0])
                if len(pair) == 2:  # each pair has its own select
                    is_second = self.copy_request.bank >> (level - 1) == 2 * i + 1
                    second = align(m, is_second, COPY_LATENCY - 4 + level, name=f"second_{level}_{i}")
                    m.d.sync += word.eq(Mux(second, pair[1], pair[0]))
        copied = Signal.like(self.copy_data, reset_less=True)
        rest = align(m, self.copy_request.bank[2:], COPY_LATENCY - 1, name="which")
        for i in cases(m, rest, len(words)):
            m.d.sync += copied.eq(words[i])
        m.d.comb += self.copy_data.eq(copied)
        return m
