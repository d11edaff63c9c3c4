"""NORM: reads elements of the residual and normalises them."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.lib.lut_ram import LutMemory
from rtl.lib.timing import align, lookahead, relay, replicate, tally
from rtl.params import PARAMETER_TILES
from rtl.sta.control.legality_checker import instruction_layout
from rtl.sta.latencies import NORM_LATENCY
from rtl.sta.params import StaConfig
from rtl.sta.results.destination import Slots, SlotWalk, place_after, residual_address
from rtl.sta.results.layer_norm import Normaliser
from rtl.sta.results.layer_norm_factors import finalised
from rtl.sta.results.residual import Residual, residual_depth, residual_word


class NormSource(wiring.Component):
    """Walks the slots of a product: column tile, token tile, row, slot; a slot a cycle.

    A column tile waits for its parameters. With `normalise`, each token of the first column tile waits for its
    finalised statistics, which are stored for the other tiles. So a NORM takes
    tokens · max(slots_a_row, cycles of a token's finalisation) for the first column tile, tokens · slots_a_row for
    every other one.

    Members
    -------
    start, instruction : of a NORM, in
    parameters_loaded : the parameters of another column tile are loaded, in
    drained : those of the oldest tile, a product's, are no longer needed, in
    finalise : tokens whose statistics are wanted, stream out
    finalised : the statistics of the oldest of them, in
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
                "finalise": Out(stream.Signature(range(config.max_tokens))),
                "finalised": In(finalised(config)),
                "read_address": Out(range(residual_depth(config))),
                "read_data": In(residual_word(config)),
                "slots": Out(Slots(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, instruction = self._config, self.instruction
        m.submodules.walk = walk = SlotWalk(c)
        place = walk.place
        normalise = Signal()
        m.d.comb += normalise.eq(instruction.normalise)

        # Column tiles whose parameters are loaded. It counts those of products, too, until they are drained.
        column_goes = Signal()
        goes = Signal()  # walk.go, to decide about the next cycle's
        of_product = relay(m, self.drained, name="of_product", reset=True)
        m.d.comb += column_goes.eq(goes & place.column_last)
        loaded = relay(m, self.parameters_loaded, name="loaded", reset=True)
        tiles = tally(m, PARAMETER_TILES, loaded, column_goes | of_product, name="tiles")

        # Statistics: requested of all tokens in order, as fast as they are finalised.
        to_ask = Signal(range(c.max_tokens + 1), reset_less=True)
        asks = Signal()  # to_ask != 0
        token = Signal.like(self.finalise.payload, reset_less=True)
        waits = Signal()  # in the first column tile
        still_waits = Signal()  # in the next cycle
        # Relays between the finaliser and the memory, which is large.
        known = relay(m, self.finalised.valid, name="known", reset=True)  # `rows`: finalised and not yet used
        finalised_token = relay(m, self.finalised.token, name="finalised_token")
        finalised_scaling = relay(m, self.finalised.scaling, name="finalised_scaling")
        rows = tally(m, c.max_tokens, known, waits & goes & walk.row_last, name="rows")
        m.submodules.scalings = scalings = LutMemory(len(finalised_scaling.as_value()), c.max_tokens)
        m.d.comb += [
            self.finalise.valid.eq(asks),
            self.finalise.payload.eq(token),
            scalings.write.enable.eq(known),
            scalings.write.address.eq(finalised_token),
            scalings.write.data.eq(finalised_scaling),
        ]
        with m.If(self.finalise.valid & self.finalise.ready):
            m.d.sync += [to_ask.eq(to_ask - 1), asks.eq(to_ask != 1), token.eq(token + 1)]
        # `go` has a high fan-out, so there are two copies: one for the loads, one for the decision itself. With no slot
        # the decision is about the first one.
        m.d.comb += still_waits.eq(Mux(walk.running, waits & ~column_goes, normalise))
        next_may_go = ~tiles.next_none & ~(still_waits & rows.next_none)
        lookahead(m, waits, still_waits)
        may_go = replicate(m, next_may_go, name="may_go", reset=True)
        may_go_here = replicate(m, next_may_go, name="may_go_here", distinct_init=1, reset=True)
        with m.If(self.start):
            m.d.sync += [
                to_ask.eq(Mux(normalise, instruction.tokens, 0)),
                asks.eq(normalise),
                token.eq(instruction.first_token),
            ]

        m.d.comb += [
            walk.start.eq(self.start),
            walk.instruction.eq(instruction),
            walk.go.eq(walk.running & may_go),
            goes.eq(walk.running & may_go_here),
        ]

        # The element and its scaling arrive in the same cycle.
        m.submodules.normaliser = normaliser = Normaliser(c)
        address = Signal.like(self.read_address, reset_less=True)
        m.d.sync += address.eq(residual_address(c, place.token, place.piece))
        m.d.comb += [
            self.read_address.eq(address),
            scalings.read_address.eq(align(m, place.token, 1 + Residual.LATENCY - LutMemory.LATENCY, name="token")),
            normaliser.scaling.eq(scalings.read_data),
            normaliser.normalise.eq(relay(m, normalise, name="normalises")),
            self.slots.valid.eq(align(m, walk.go, self.LATENCY, name="valid", reset=True)),
            self.slots.place.eq(place_after(m, walk, self.LATENCY)),
        ]
        for lane in range(c.drain_lanes):
            m.d.comb += [
                normaliser.r[lane].eq(self.read_data[lane]),
                self.slots.values[lane].eq(normaliser.z[lane]),
            ]
        return m
