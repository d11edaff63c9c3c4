"""NORM: reads elements of the residual and normalises them."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.lib.lut_ram import LutMemory
from rtl.lib.timing import align, lookahead, relay, replicate, tally
from rtl.params import PARAMETER_TILES
from rtl.sta.control.legality_checker import instruction_layout
from rtl.sta.instances import NORMALISER
from rtl.sta.latencies import NORM_LATENCY
from rtl.sta.params import StaConfig
from rtl.sta.results.destination import Slots, SlotWalk, destination_after, residual_address
from rtl.sta.results.layer_norm import Normaliser
from rtl.sta.results.reciprocal_square_root import token_scaling
from rtl.sta.results.residual import Residual, residual_depth, residual_word


class NormSource(wiring.Component):
    """Walks the slots of a product: column tile, token tile, row, slot; a slot a cycle.

    A column tile waits for its parameters. With `normalise`, each token of the first column tile waits for its
    scaling, which is stored for the other tiles. So a NORM takes tokens · max(slots_a_row, cycles of a token's
    reciprocal square root) for the first column tile, tokens · slots_a_row for every other one.

    Members
    -------
    start, instruction : of a NORM, in
    parameters_loaded : the parameters of another column tile are loaded, in
    drained : those of the oldest tile, a product's, are no longer needed, in
    request : tokens whose scaling is wanted, stream out
    scaling : `token_scaling` of the oldest of them, in
    read_address : of the residual, out
    read_data : `Residual.LATENCY` cycles later, in
    slots : normalised elements, out
    """

    LATENCY = NORM_LATENCY

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "instruction": In(instruction_layout(config)),
                "parameters_loaded": In(1),
                "drained": In(1),
                "request": Out(stream.Signature(range(config.max_tokens))),
                "scaling": In(token_scaling(config)),
                "read_address": Out(range(residual_depth(config))),
                "read_data": In(residual_word(config)),
                "slots": Out(Slots(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, instruction = self._config, self.instruction
        m.submodules.walk = walk = SlotWalk(c)
        destination = walk.destination
        normalise = Signal()
        m.d.comb += normalise.eq(instruction.normalise)

        # Column tiles whose parameters are loaded. It counts those of products, too, until they are drained.
        column_advance = Signal()
        advance_local = Signal()  # walk.advance, to decide about the next cycle's
        of_product = relay(m, self.drained, name="of_product", reset=True)
        m.d.comb += column_advance.eq(advance_local & destination.column_last)
        loaded = relay(m, self.parameters_loaded, name="loaded", reset=True)
        tiles = tally(m, PARAMETER_TILES, loaded, column_advance | of_product, name="tiles")

        # Scalings: requested of all tokens in order, as fast as they come.
        to_ask = Signal(range(c.max_tokens + 1), reset_less=True)
        asks = Signal()  # to_ask != 0
        token = Signal.like(self.request.payload, reset_less=True)
        waits = Signal()  # in the first column tile
        next_waits = Signal()  # in the next cycle
        # Relays between the reciprocal square root and the memory, which is large.
        known = relay(m, self.scaling.valid, name="known", reset=True)  # `rows`: known and not yet used
        known_token = relay(m, self.scaling.token, name="known_token")
        known_scaling = relay(m, self.scaling.scaling, name="known_scaling")
        rows = tally(m, c.max_tokens, known, waits & advance_local & walk.row_last, name="rows")
        m.submodules.scalings = scalings = LutMemory(len(known_scaling.as_value()), c.max_tokens)
        m.d.comb += [
            self.request.valid.eq(asks),
            self.request.payload.eq(token),
            scalings.write.enable.eq(known),
            scalings.write.address.eq(known_token),
            scalings.write.data.eq(known_scaling),
        ]
        with m.If(self.request.valid & self.request.ready):
            m.d.sync += [to_ask.eq(to_ask - 1), asks.eq(to_ask != 1), token.eq(token + 1)]
        # `advance` has a high fan-out, so there are two copies: one for the loads, one for the decision itself. With no
        # slot the decision is about the first one.
        m.d.comb += next_waits.eq(Mux(walk.running, waits & ~column_advance, normalise))
        next_may_advance = ~tiles.next_none & ~(next_waits & rows.next_none)
        lookahead(m, waits, next_waits)
        may_advance = replicate(m, next_may_advance, name="may_advance", reset=True)
        may_advance_local = replicate(m, next_may_advance, name="may_advance_local", distinct_init=1, reset=True)
        with m.If(self.start):
            m.d.sync += [
                to_ask.eq(Mux(normalise, instruction.tokens, 0)),
                asks.eq(normalise),
                token.eq(instruction.first_token),
            ]

        m.d.comb += [
            walk.start.eq(self.start),
            walk.instruction.eq(instruction),
            walk.advance.eq(walk.running & may_advance),
            advance_local.eq(walk.running & may_advance_local),
        ]

        # The element and its scaling arrive in the same cycle.
        m.submodules[NORMALISER] = normaliser = Normaliser(c)
        address = Signal.like(self.read_address, reset_less=True)
        until_read = 1 + Residual.LATENCY - LutMemory.LATENCY
        m.d.sync += address.eq(residual_address(c, destination.token, destination.piece))
        m.d.comb += [
            self.read_address.eq(address),
            scalings.read_address.eq(align(m, destination.token, until_read, name="token")),
            normaliser.scaling.eq(scalings.read_data),
            normaliser.normalise.eq(relay(m, normalise, name="normalises")),
            self.slots.valid.eq(align(m, walk.advance, self.LATENCY, name="valid", reset=True)),
            self.slots.destination.eq(destination_after(m, walk, self.LATENCY)),
        ]
        for lane in range(c.drain_lanes):
            m.d.comb += [
                normaliser.r[lane].eq(self.read_data[lane]),
                self.slots.values[lane].eq(normaliser.z[lane]),
            ]
        return m
