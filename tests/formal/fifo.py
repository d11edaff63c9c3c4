"""What FIFOs keep from state to state, and one entry of a FIFO on its way."""

from collections.abc import Callable

from amaranth.hdl import Assert, Module, Mux, Signal, Value, ValueLike

from tests.formal.proof import Inside, implies


class Fifo:
    """Amaranth's SyncFIFO or SyncFIFOBuffered inside a design: asserts what is true of its state.

    Members
    -------
    push, pop : an entry comes, goes, in this cycle
    level : entries
    head : what comes out next
    """

    def __init__(self, m: Module, design: Inside, path: str, depth: int, *, buffered: bool) -> None:
        self._m, self._name, self._depth, self._design = m, path.replace(".", "_"), depth, design
        self._buffered = buffered
        self._storage = f"{path}.storage"
        self._slots = depth - 1 if buffered else depth  # of the memory
        prefix = "inner_" if buffered else ""
        self._stored = design.signal(f"{path}.{prefix}level")
        self._consume = self._pointer(f"{path}.consume")
        produce = self._pointer(f"{path}.produce")
        self.level = design.signal(f"{path}.level")
        self.head = design.signal(f"{path}.r_data")
        self.valid = design.signal(f"{path}.r_rdy")
        self.push = Signal(name=f"{self._name}_push")
        self.pop = Signal(name=f"{self._name}_pop")
        m.d.comb += [
            Assert(self._stored <= self._slots),
            Assert(self._consume < self._slots),
            Assert(produce == self._slot(self._stored)),
        ]

    def _pointer(self, path: str) -> Value:
        return self._design.signal(path) if self._slots > 1 else Value.cast(0)

    def _slot(self, place: ValueLike) -> Value:
        """Of the memory: so many behind the oldest one."""
        behind = self._consume + place
        return Mux(behind >= self._slots, behind - self._slots, behind)

    def entry(self, place: ValueLike) -> tuple[Value, Signal]:
        """Whether there is one so many behind the head, and what it is."""
        place = Value.cast(place)
        if not self._buffered:
            return place < self._stored, self._design.word(self._storage, self._slot(place))
        in_memory = Signal(range(self._depth), name=f"{self._name}_in_memory")
        self._m.d.comb += in_memory.eq(place - self.valid)
        word = self._design.word(self._storage, self._slot(in_memory))
        return place < self.level, Mux(self.valid & (place == 0), self.head, word)

    def every(self, holds: Callable[[Value], Value]) -> None:
        """Asserts something of every entry."""
        for place in range(self._depth):
            there, entry = self.entry(place)
            self._m.d.comb += Assert(implies(there, holds(entry)))

    def follow(self, name: str, mark: Value, value: ValueLike) -> "Follower":
        return Follower(self._m, self, f"{self._name}_{name}", mark, value)


class Follower:
    """One entry at a time, any, is followed from its push to its pop: it comes out in its turn, the same, once.

    Members
    -------
    on_its_way : it is in the FIFO
    ahead : how many come out before it
    """

    def __init__(self, m: Module, fifo: Fifo, name: str, mark: Value, value: ValueLike) -> None:
        self.on_its_way = Signal(name=f"{name}_on_its_way")
        self.ahead = Signal.like(fifo.level, name=f"{name}_ahead")
        self.goes = Signal(name=f"{name}_goes")
        self.value = Signal(len(Value.cast(value)), name=f"{name}_value")
        m.d.comb += self.goes.eq(self.on_its_way & fifo.pop & (self.ahead == 0))
        with m.If(self.on_its_way & fifo.pop):
            m.d.sync += [self.ahead.eq(self.ahead - 1), self.on_its_way.eq(self.ahead != 0)]
        with m.Elif(~self.on_its_way & fifo.push & mark):
            m.d.sync += [self.on_its_way.eq(1), self.ahead.eq(fifo.level - fifo.pop), self.value.eq(value)]
        there, entry = fifo.entry(self.ahead)
        m.d.comb += [
            Assert(implies(self.on_its_way, there)),
            Assert(implies(self.on_its_way, entry == self.value)),
            Assert(implies(self.goes, fifo.head == self.value)),
        ]
