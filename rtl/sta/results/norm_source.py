"""NORM: reads elements of the residual and normalises them."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.lib.lut_ram import LutMemory
from rtl.lib.timing import Tally, align, lookahead, relay, replicate, tally
from rtl.params import PARAMETER_TILES
from rtl.sta.control.instruction import instruction_layout
from rtl.sta.instances import NORMALISER
from rtl.sta.latencies import NORM_LATENCY
from rtl.sta.params import StaConfig
from rtl.sta.results.destination import Slots, SlotWalk, destination_after
from rtl.sta.results.layer_norm import Normaliser
from rtl.sta.results.reciprocal_square_root import token_scaling
from rtl.sta.results.residual import Residual, ResidualRead, residual_address


class NormSource(wiring.Component):
    """Reads a slot of the residual a cycle, normalises it, and sends it on in the order of a product's slots.

    That order is: column tile, token tile, row, slot.

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
    residual : `ResidualRead`, out
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
                "residual": Out(ResidualRead(config)),
                "slots": Out(Slots(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self._config
        m.submodules.walk = walk = SlotWalk(c)
        m.submodules.scalings = scalings = LutMemory(token_scaling(c)["scaling"].shape.size, c.max_tokens)
        advance = Signal()  # walk.advance, for the decision about the next cycle's
        waits = Signal()  # for scalings: in the first column tile
        self._request_scalings(m)
        known = self._keep_scalings(m, scalings, waits & advance & walk.row_last)
        self._decide(m, walk, advance, waits, known)
        self._normalise(m, walk, scalings)
        return m

    def _request_scalings(self, m: Module) -> None:
        """Requests those of all tokens in order, as fast as they come."""
        instruction = self.instruction
        left = Signal(range(self._config.max_tokens + 1), name="requests_left", reset_less=True)
        requesting = Signal()  # left != 0
        token = Signal.like(self.request.payload, reset_less=True)
        m.d.comb += [self.request.valid.eq(requesting), self.request.payload.eq(token)]
        with m.If(self.request.valid & self.request.ready):
            m.d.sync += [left.eq(left - 1), requesting.eq(left != 1), token.eq(token + 1)]
        with m.If(self.start):
            m.d.sync += [
                left.eq(Mux(instruction.normalise, instruction.tokens, 0)),
                requesting.eq(instruction.normalise),
                token.eq(instruction.first_token),
            ]

    def _keep_scalings(self, m: Module, scalings: LutMemory, used: Signal) -> Tally:
        """Writes them to the memory; a count of those that are known and not yet `used`."""
        # Relays between the reciprocal square root and the memory, which is large.
        valid = relay(m, self.scaling.valid, name="scaling_valid", reset=True)
        token = relay(m, self.scaling.token, name="scaling_token")
        scaling = relay(m, self.scaling.scaling, name="scaling")
        m.d.comb += [
            scalings.write.enable.eq(valid),
            scalings.write.address.eq(token),
            scalings.write.data.eq(scaling),
        ]
        return tally(m, self._config.max_tokens, valid, used, name="known")

    def _decide(self, m: Module, walk: SlotWalk, advance: Signal, waits: Signal, known: Tally) -> None:
        """Whether the walk advances in the next cycle: with no slot the decision is about the first one."""
        # Column tiles whose parameters are loaded. It counts those of products, too, until they are drained.
        of_product = relay(m, self.drained, name="of_product", reset=True)
        loaded = relay(m, self.parameters_loaded, name="loaded", reset=True)
        column_advance = Signal()
        m.d.comb += column_advance.eq(advance & walk.destination.column_last)
        tiles = tally(m, PARAMETER_TILES, loaded, column_advance | of_product, name="tiles")

        next_waits = Signal()
        m.d.comb += next_waits.eq(Mux(walk.running, waits & ~column_advance, self.instruction.normalise))
        lookahead(m, waits, next_waits)
        # `walk.advance` has a high fan-out, so there are two copies: one for the walk, one for the decision itself.
        next_may_advance = ~tiles.next_none & ~(next_waits & known.next_none)
        may_advance = replicate(m, next_may_advance, name="may_advance", reset=True)
        may_advance_local = replicate(m, next_may_advance, name="may_advance_local", distinct_init=1, reset=True)
        m.d.comb += [
            walk.start.eq(self.start),
            walk.instruction.eq(self.instruction),
            walk.advance.eq(walk.running & may_advance),
            advance.eq(walk.running & may_advance_local),
        ]

    def _normalise(self, m: Module, walk: SlotWalk, scalings: LutMemory) -> None:
        """From the slot to its normalised elements: an element and its scaling arrive in the same cycle."""
        c, slot = self._config, walk.destination
        m.submodules[NORMALISER] = normaliser = Normaliser(c)
        address = Signal.like(self.residual.address, reset_less=True)
        m.d.sync += address.eq(residual_address(c, slot.token, slot.piece))
        until_read = 1 + Residual.LATENCY - LutMemory.LATENCY
        m.d.comb += [
            self.residual.address.eq(address),
            scalings.read_address.eq(align(m, slot.token, until_read, name="token")),
            normaliser.scaling.eq(scalings.read_data),
            normaliser.normalise.eq(relay(m, self.instruction.normalise, name="normalise")),
            self.slots.valid.eq(align(m, walk.advance, self.LATENCY, name="valid", reset=True)),
            self.slots.destination.eq(destination_after(m, walk, self.LATENCY)),
        ]
        for lane in range(c.drain_lanes):
            m.d.comb += [
                normaliser.r[lane].eq(self.residual.word[lane]),
                self.slots.values[lane].eq(normaliser.z[lane]),
            ]
