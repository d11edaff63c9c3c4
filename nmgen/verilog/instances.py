"""Instances of a chip's own cells, as a person would connect them: by the bits of a signal, not by a wire for each."""

from nmgen.verilog.rtlil import Module, Sig, Slice
from nmgen.verilog.statements import joined, replace


def bits_of_signals(module: Module) -> None:
    """Replace wires that outputs of instances drive, and that make up a signal, by the bits of this signal.

    Amaranth gives each output a wire of its own and then connects the signal to all of these wires.
    """
    wires = module.wires
    driven = {
        part.wire
        for cell in module.cells
        if cell.foreign
        for port in cell.outputs
        for part in cell.ports[port]
        if isinstance(part, Slice) and part.wire.startswith("$")
    }
    bits: dict[str, tuple[str, int]] = {}  # wire → the signal and its lowest bit there
    made_up: set[str] = set()
    for signal, sig in sorted(module.connections, key=lambda connection: -len(connection[1])):
        names = [part.wire for part in sig if isinstance(part, Slice) and part.width == wires[part.wire].width]
        free = len(names) == len(sig) == len(set(names)) > 1 and driven.issuperset(names) and not bits.keys() & names
        if free:
            low = 0
            for name in names:
                bits[name] = signal, low
                low += wires[name].width
            made_up.add(signal)
    if not bits:
        return

    def named(sig: Sig) -> Sig:
        parts = [
            Slice(bits[part.wire][0], bits[part.wire][1] + part.low, part.width)
            if isinstance(part, Slice) and part.wire in bits
            else part
            for part in sig
        ]
        return joined(tuple(parts))

    module.connections = [(signal, sig) for signal, sig in module.connections if signal not in made_up]
    replace(module, named)
