"""Cycles of a product on the engine, without simulating it. Standard library only.

A model of what each part of the engine waits for, with the engine's own latencies. The tests hold it equal to the
hardware's counter.
"""

from rtl.array.latencies import (
    FIFO_CYCLES,
    drain_latency,
    drain_start,
    drain_window,
    reader_latency,
)
from rtl.engine.latencies import ENTER_CYCLES, LOADED_CYCLES, RELEASE_CYCLES
from rtl.params import (
    BURST_BEATS,
    FIFO_BEATS,
    PARAMETER_BYTES,
    PARAMETER_TILES,
    RESULT_TILES,
    Config,
    check_range,
    units_in_beats,
)
from rtl.product import Product


def product_cycles(
    config: Config,
    tokens: int,
    k: int,
    channels: int,
    pattern_n: int,
    mem_latency: int = 30,
    *,
    out_bits: int = 8,
    per_row: bool = False,
) -> int:
    """Cycles of a product, equal to the hardware's counter when the memory never stalls.

    From the start write to the last accepted write beat, both included. The first beat of a burst comes
    `mem_latency` cycles after its request, then one a cycle; requests and writes are taken at once.

    Parameters
    ----------
    pattern_n : N' of the layer's pattern N':M; M where dense
    mem_latency : cycles, at least 1

    Raises
    ------
    InputError : a dimension out of the configuration's bounds.
    """
    product = Product(
        config=config, tokens=tokens, k=k, channels=channels, pattern_n=pattern_n, out_bits=out_bits, per_row=per_row
    )
    check_range("mem_latency", mem_latency, 1, 1 << 16)
    return _Engine(product, mem_latency).run()


class _Beats:
    """The cycles in which beats reach their consumers: the model of `product_fetch.Fetch` and an unstalled memory."""

    def __init__(self, latency: int) -> None:
        self._latency = latency
        self._arrivals: list[int] = []
        self._taken: list[int] = []
        self._left = 0  # of the segment, not yet requested
        self._request = 0  # the last request, or the cycle in which the segment was entered
        self._enter = 0  # first cycle in which the segment's beats are delivered

    def segment(self, beats: int) -> None:
        """The next segment of the fetch: a cycle to enter it, for the requests and for the delivery."""
        self._request += 1
        self._enter = max(self._enter + 1, (self._taken[-1] if self._taken else 0) + ENTER_CYCLES)
        self._left = beats

    def take(self, ready: int) -> int:
        """The next beat goes to its consumer, which is ready from that cycle on. Returns the cycle."""
        number = len(self._taken)
        if number == len(self._arrivals):
            self._ask(number)
        cycle = max(ready, self._enter, self._arrivals[number] + FIFO_CYCLES)
        if number:
            cycle = max(cycle, self._taken[-1] + 1)
        self._taken.append(cycle)
        return cycle

    def _ask(self, number: int) -> None:
        burst = min(self._left, BURST_BEATS)
        self._left -= burst
        self._request += 1
        if number + burst > FIFO_BEATS:
            self._request = max(self._request, self._taken[number + burst - FIFO_BEATS - 1] + 1)
        arrival = self._request + self._latency
        if number:
            arrival = max(arrival, self._arrivals[-1] + 1)
        self._arrivals += range(arrival, arrival + burst)


class _Engine:
    """One product: each column tile is loaded, then all token tiles are fed, drained and written with it."""

    def __init__(self, product: Product, latency: int) -> None:
        self._product = product
        self._c = c = product.config
        self._beats = _Beats(latency)
        self._rows = [min(c.rows, product.tokens - tile * c.rows) for tile in range(product.token_tiles)]
        self._loader_free = 1
        self._loaded_rows: list[int] = []  # of each token tile: its activations are there
        self._last_steps: list[int] = []  # of each column tile: the decision to issue its last step
        self._drained: list[int] = []  # of each column tile: its last slot
        self._last_step = self._drain_free = self._drain_next = self._hold = 0
        self._written: list[int] = []  # of each tile

    def run(self) -> int:
        """The cycle counter in the end."""
        self._load_row_parameters()
        for tile in range(self._product.column_tiles):
            loaded = self._load_columns(tile)
            if tile == 0:
                self._load_rows()
            for row_tile in range(self._product.token_tiles):
                self._feed(row_tile, loaded)
            self._last_steps.append(self._last_step)
            self._drained.append(self._drain_next - 1 + reader_latency(self._c))
        return self._written[-1] + 1

    # --- operands ------------------------------------------------------------------------------
    def _load_row_parameters(self) -> None:
        self._beats.segment(self._product.r_beats)
        units, _ = units_in_beats(8 * PARAMETER_BYTES, 8 * self._c.port_bytes)
        ready = 0
        for _ in range(self._product.r_beats):
            ready = self._beats.take(ready) + units

    def _load_rows(self) -> None:
        """All activations, behind the first column tile."""
        product = self._product
        self._beats.segment(product.tokens * product.x_row_beats)
        for token in range(product.tokens):
            done = max(self._beats.take(0) for _ in range(product.x_row_beats))
            if (token + 1) % self._c.rows == 0 or token == product.tokens - 1:
                self._loaded_rows.append(done)

    def _load_columns(self, tile: int) -> int:
        """A half of the column buffer and room for the parameters have to be free. Returns the last entry's cycle."""
        product = self._product
        if tile < 2:
            self._beats.segment(product.w_tile_beats * (1 if tile == 0 else product.column_tiles - 1))
        begin = self._loader_free
        if tile >= 2:
            begin = max(begin, self._last_steps[-2] + RELEASE_CYCLES + self._c.cols)
        if tile >= PARAMETER_TILES:
            begin = max(begin, self._drained[-PARAMETER_TILES] + 1)
        loaded = self._load_steps(self._load_parameters(begin))
        self._loader_free = loaded + 1
        return loaded

    def _load_parameters(self, begin: int) -> int:
        """`column_buffer.ColumnLoader`: a slot a cycle. Returns the last one's cycle."""
        units, beats = units_in_beats(self._product.parameter_unit_bits, 8 * self._c.port_bytes)
        written = begin
        for slot in range(self._c.slots_a_row):
            arrived = written
            if slot % units == 0:
                ready = begin + 1 if slot == 0 else written
                arrived = max(self._beats.take(ready) for _ in range(beats))
            written = max(written, arrived) + 1
        return written

    def _load_steps(self, begin: int) -> int:
        """The same of steps: selection before values. Returns the last one's cycle."""
        product, port_bits = self._product, 8 * self._c.port_bytes
        values, value_beats = units_in_beats(product.value_unit_bits, port_bits)
        selections, selection_beats = 0, 0
        if product.selection_unit_bits:
            selections, selection_beats = units_in_beats(product.selection_unit_bits, port_bits)
            selections *= product.selection_unit_steps
        accept, written = begin + 1, begin
        for step in range(product.steps):
            arrived = written
            if selections and step % selections == 0:
                arrived = max(self._beats.take(accept) for _ in range(selection_beats))
            if step % values == 0:
                arrived = max(self._beats.take(accept) for _ in range(value_beats))
            accept = written = max(written, arrived) + 1
        return written

    # --- results -------------------------------------------------------------------------------
    def _feed(self, row_tile: int, loaded: int) -> None:
        """A tile's steps, the slots of its results, and their way to memory."""
        c, product = self._c, self._product
        rows, slots = self._rows[row_tile], c.slots_a_row
        begin = max(self._last_step + 1, loaded + LOADED_CYCLES, self._loaded_rows[row_tile] + 1)
        self._last_step = max(begin + product.steps - 1, self._hold)
        if len(self._written) >= RESULT_TILES:
            self._last_step = max(self._last_step, self._written[-RESULT_TILES] + 1)
        results = self._last_step + drain_start(c)
        drain_begins = max(results, self._drain_free)
        self._drain_free = drain_begins + c.rows * slots
        self._hold = drain_begins + drain_window(c)
        self._drain_next = max(results, self._drain_next) + rows * slots
        filled = self._drain_next + drain_latency(c)
        begin = max(filled, self._written[-1] + 1 if self._written else 0)
        write_beats = max(1, c.pitch(product.out_bits // 8) // c.port_bytes)
        self._written.append(begin + rows * write_beats)
