"""The activation store of STA: one bank a row of the array, read by the row, and by copies in its free cycles.

The file is called `store`, as in the fields of instructions and in the options: the engine's, which is filled once for
each product and knows neither copies nor writes of results, is `rtl/engine/activation_store.py`.
"""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rtl.array.instances import BANK
from rtl.lib.cases import cases
from rtl.lib.deep_memory import part_of, parts
from rtl.lib.timing import align, gated, hard_register, registered, relay, replicate
from rtl.sta.groups import each_group, grouped
from rtl.sta.instances import OPERANDS
from rtl.sta.latencies import BANK_LATENCY, COPY_LATENCY
from rtl.sta.operands.store_row import store_row
from rtl.sta.params import StaConfig

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
    """A read request for a word of each of copy_lanes banks, from bank · copy_lanes on."""
    banks = range(config.rows // config.copy_lanes)
    return data.StructLayout({"valid": 1, "bank": banks, "address": range(config.store_words)})


class CopyPort(wiring.Signature):
    """Reads of words beside those of the rows, seen from who reads. Answers come in the order of the requests.

    Members
    -------
    request : `store_copy`, of banks that are not busy, out
    next_cycle_busy : by the number that a request has, the banks of which a row reads one in the next cycle, in
    valid, data : the words, side by side, COPY_LATENCY cycles after their request, in
    """

    def __init__(self, config: StaConfig) -> None:
        super().__init__(
            {
                "request": Out(store_copy(config)),
                "next_cycle_busy": In(config.rows // config.copy_lanes),
                "valid": In(1),
                "data": In(8 * config.store_word_bytes * config.copy_lanes),
            }
        )


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
                "write": In(store_write(config.row_group)),
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
        reads = Signal()
        m.d.comb += [reads.eq(step.valid & step.read), self.copy_data.eq(self._memory(m, reads))]

        # To the next bank: registers with an enable, so that these are not merged with what travels with the row.
        for mark in step.shape().members:
            if mark in ALWAYS:
                passed = relay(m, step[mark], name=f"{mark}_out")
            else:
                passed = replicate(m, step[mark], name=f"{mark}_out", enable=step.valid)
            m.d.comb += self.step_out[mark].eq(passed)

        # The word, held for all of its steps, then this step's group of it.
        assert BANK_LATENCY == 5  # the address, the memory, its register, the word, the group of it
        word = Signal(8 * c.store_word_bytes, reset_less=True)
        with m.If(align(m, reads, 3, name="reads")):
            m.d.sync += word.eq(self.copy_data)
        group = align(m, step.group, 4, name="group")
        operands = Signal.like(self.row.group, name=OPERANDS, reset_less=True)
        for i in cases(m, group, c.store_word_bytes // c.m):
            m.d.sync += operands.as_value().eq(word.word_select(i, 8 * c.m))
        m.d.comb += self.row.group.eq(operands)
        for mark in ("valid", "first", "last", "sub", "softmax", "tile", "position"):
            m.d.comb += self.row[mark].eq(align(m, step[mark], BANK_LATENCY, name=mark, reset=mark == "valid"))
        return m

    def _memory(self, m: Module, reads: Signal) -> Value:
        """The words, written and read: by a step, else by a copy; three cycles later.

        They are in parts of a power of two of words, see `DeepMemory`, of which each has the block RAM's own register.
        """
        c = self._config
        # Each address goes to many block RAMs, so each bank has its own.
        read_address = Mux(reads, self.step_in.word, self.copy_address)
        strobe = gated(self.write.strobe, self.write_enable)
        written_at = replicate(m, self.write.address, name="write_address", enable=self.write_enable)
        sizes = parts(c.store_words)
        alone = len(sizes) == 1
        names = [""] if alone else [f"_{i}" for i in range(len(sizes))]
        strobes = [
            registered(m, strobe if alone else gated(strobe, is_written), name=f"strobe{name}")
            for name, is_written in zip(names, part_of(self.write.address, sizes), strict=True)
        ]
        read_at = registered(m, read_address, name="read_address")
        words: list[Value] = []
        for name, size, enables in zip(names, sizes, strobes, strict=True):
            m.submodules[f"memory{name}"] = memory = Memory(shape=8 * c.store_word_bytes, depth=size, init=[])
            write = memory.write_port(granularity=8)
            read = memory.read_port()
            m.d.comb += [
                write.addr.eq(written_at[: len(write.addr)]),
                write.data.eq(self.write.data),
                write.en.eq(enables),
                read.addr.eq(read_at[: len(read.addr)]),
            ]
            words.append(hard_register(m, read.data, name=f"copied{name}"))
        if alone:
            return words[0]
        read_part = align(m, part_of(read_address, sizes), 3, name="part")
        return reduce(or_, (gated(word, is_read) for word, is_read in zip(words, read_part, strict=True)))


class ActivationStore(wiring.Component):
    """Feeds the array's rows a group a step, and serves copies in the cycles between.

    Word j of token t of a region is in bank t mod rows; `isa` says where. A write is readable two cycles later.
    A word that is read while it is written is undefined.

    Members
    -------
    step : `store_step` of row 0, in
    rows : `store_row` for each row, STORE_LATENCY cycles after step and r more, out
    copy : `CopyPort`, in
    write : `store_write`, of several groups of rows one each, to banks counted from its first, in
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "step": In(store_step(config)),
                "rows": Out(store_row(config)).array(config.rows),
                "copy": In(CopyPort(config)),
                "write": grouped(config, In(store_write(config.row_group))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, copy = self._config, self.copy
        lanes = c.copy_lanes
        # Relays between those who write or step and the many banks; the data waits for the banks' addresses.
        writes = []
        for number, given in each_group(c, self.write):
            write = relay(m, given, name=f"write{number}")
            enable = relay(m, given.enable, name=f"write_enable{number}", reset=True)
            written = Signal.like(write, name=f"written{number}")
            m.d.comb += [written.eq(write), written.data.eq(align(m, write.data, 1, name=f"written{number}"))]
            writes.append((written, write.bank, enable))
        step = Signal(store_step(c), name="entering")
        m.d.comb += [
            step.eq(relay(m, self.step, name="step")),
            step.valid.eq(relay(m, self.step.valid, name="step_valid", reset=True)),
        ]

        words = []
        for r in range(c.rows):
            m.submodules[BANK.format(r)] = bank = StoreBank(c)
            written, number, enable = writes[r // c.group_rows]
            m.d.comb += [
                bank.write.eq(written),
                bank.write_enable.eq(enable & (number == r % c.group_rows)),
                bank.step_in.eq(step),
                bank.copy_address.eq(copy.request.address),
                self.rows[r].eq(bank.row),
            ]
            words.append(bank.copy_data)
            step = bank.step_out

        # Which rows read, kept apart from the banks' own bits, to be near the copies' requests.
        reads = [self.step.read]
        for r in range(1, c.rows):
            reads.append(align(m, reads[-1], 1, name=f"reads_{r}", reset=True))
        m.d.comb += [
            copy.next_cycle_busy.eq(Cat(Cat(reads[r : r + lanes]).any() for r in range(0, c.rows, lanes))),
            copy.valid.eq(align(m, copy.request.valid, COPY_LATENCY, name="copy_valid", reset=True)),
            copy.data.eq(
                Cat(self._copied_word(m, words[j::lanes], f"_{j}" if lanes > 1 else "") for j in range(lanes))
            ),
        ]
        return m

    def _copied_word(self, m: Module, words: list[Signal], lane: str) -> Signal:
        """The word of the requested bank, by a mux tree: three cycles behind the banks' words.

        Neighbours first: banks are as far apart as the rows of the array, and a word has many wires.

        lane : what names end with where there are several such trees
        """
        bank, shape = self.copy.request.bank, words[0].shape()
        for level in (1, 2):
            pairs = [words[r : r + 2] for r in range(0, len(words), 2)]
            words = [Signal(shape, name=f"of_{level}_{i}{lane}", reset_less=True) for i in range(len(pairs))]
            for i, (word, pair) in enumerate(zip(words, pairs, strict=True)):
                m.d.sync += word.eq(pair[0])
                if len(pair) == 2:  # each pair has its own select
                    is_second = bank >> (level - 1) == 2 * i + 1
                    second = align(m, is_second, COPY_LATENCY - 4 + level, name=f"second_{level}_{i}{lane}")
                    m.d.sync += word.eq(Mux(second, pair[1], pair[0]))
        copied = Signal(shape, name=f"copied{lane}", reset_less=True)
        four = align(m, bank[2:], COPY_LATENCY - 1, name=f"four{lane}")
        for i in cases(m, four, len(words)):
            m.d.sync += copied.eq(words[i])
        return copied
