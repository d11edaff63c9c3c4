"""STA with AXI ports, for a block design."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out, connect

from rtl.lib.axi import Axi4, AxiLite, AxiLiteSlave, AxiMaster
from rtl.lib.timing import align
from rtl.sta.params import StaConfig
from rtl.sta.top import Sta

MASTER, SLAVE = "m_axi_", "s_axi_"
# What the specification asks of a master beside `Axi4` (A4.4, A4.7): data that may be packed into wider beats, and
# writes that are answered when they are at their destination; accesses unprivileged, secure, of data.
FIXED = {"cache": (4, 0b0010), "prot": (3, 0b000)}


class AxiSta(wiring.Component):
    """The accelerator that runs a program, with an AXI4 master for its memory and an AXI4-Lite slave for its registers.

    A program ends when its last writes are answered: until then `busy` is high, `irq` is low, and register accesses
    wait, so that no host sees `done` and then stale memory, or `done` and then an error.
    A clear, or an error, leaves no burst unfinished: reads are accepted to their end and dropped, a STORE runs to its
    end. So the interconnect needs no reset when the accelerator is reset.

    Members
    -------
    m_axi_… : Axi4, and FIXED
    s_axi_… : AxiLite, of `registers.REGISTERS`
    busy : a program runs or its writes are not all answered, out
    irq : interrupt, level, out
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                **{f"{MASTER}{name}": member for name, member in Axi4(config.port_bytes).members.items()},
                **{f"{MASTER}{way}{name}": Out(bits) for way in ("aw", "ar") for name, (bits, _) in FIXED.items()},
                **{f"{SLAVE}{name}": member for name, member in AxiLite().members.items()},
                "busy": Out(1),
                "irq": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.sta = sta = Sta(self._config)
        m.submodules.master = master = AxiMaster(self._config.port_bytes)
        m.submodules.slave = slave = AxiLiteSlave()
        connect(m, sta.memory, master.port)
        connect(m, slave.control, sta.control)
        for prefix, axi in ((MASTER, master.axi), (SLAVE, slave.axi)):
            for name, member in axi.signature.members.items():
                inside, outside = getattr(axi, name), getattr(self, f"{prefix}{name}")
                m.d.comb += outside.eq(inside) if member.flow == Out else inside.eq(outside)
        for name, (_, value) in FIXED.items():
            m.d.comb += [getattr(self, f"{MASTER}{way}{name}").eq(value) for way in ("aw", "ar")]

        # One cycle more: the core sees a fault a cycle late.
        pending = Signal()
        unanswered = Signal()
        pending_before = align(m, master.pending, 1, name="pending_before", reset=True)
        m.d.comb += [
            pending.eq(master.pending | pending_before),
            unanswered.eq(~sta.busy & pending),
            sta.fault.eq(master.fault),
            sta.fault_address.eq(master.fault_address),
            slave.hold.eq(unanswered),
            self.busy.eq(sta.busy | pending),
            self.irq.eq(sta.irq & ~pending),
        ]
        return m
