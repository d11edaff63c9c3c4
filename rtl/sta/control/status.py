"""What the host is told of a program."""

from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from rtl.params import ADDRESS_BITS
from rtl.sta.legality import CAUSE_BITS


class Status(wiring.Signature):
    """From the sequencer to the control registers.

    Members
    -------
    busy, done, error : as in the register `status`, out
    cause, cause_address : `Cause`, with the instruction's address; of ADDRESS and BUS, that of the memory, out
    pc : address of the instruction that executes, or is next, out
    execute, finished : the instruction at pc begins, or finishes, in this cycle, out
    """

    def __init__(self) -> None:
        super().__init__(
            {
                **{name: Out(1) for name in ("busy", "done", "error")},
                "cause": Out(CAUSE_BITS),
                "cause_address": Out(ADDRESS_BITS),
                "pc": Out(ADDRESS_BITS),
                "execute": Out(1),
                "finished": Out(1),
            }
        )
