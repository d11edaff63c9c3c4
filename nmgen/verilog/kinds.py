"""The accelerators that can be generated: the matrix engine alone, and STA, for whole encoders, with AXI or without."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from amaranth.lib.wiring import Component

from nmgen.verilog import testbench
from rtl.engine.accelerator import Accelerator
from rtl.engine.register_table import REGISTERS
from rtl.lib.register_map import Register
from rtl.params import Config
from rtl.sta.axi_top import AxiSta
from rtl.sta.params import StaConfig
from rtl.sta.registers import REGISTERS as STA_REGISTERS
from rtl.sta.top import Sta

SIZES = (
    "index_bits",
    "max_groups",
    "max_steps",
    "store_word_bytes",
    "store_depth",
    "accumulator_bits",
    "biased_bits",
    "drain_lanes",
    "slots_a_row",
)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What is written of an accelerator beside its Verilog.

    Parameters
    ----------
    derived : what the manifest says of the configuration
    testbench : in plain Verilog, with the files that it reads, of a configuration, a prefix and how it is run
    """

    name: str
    about: str
    component: Callable[[Any], Component]
    registers: Mapping[str, Register]
    derived: tuple[str, ...]
    testbench: Callable[[Any, str, str], dict[str, str]]


ENGINE = Kind(
    name="engine",
    about="N:M-sparse matrix engine",
    component=Accelerator,
    registers=REGISTERS,
    derived=(*SIZES[:4], "row_words", *SIZES[4:]),
    testbench=testbench.engine,
)
STA = Kind(
    name="sta",
    about="N:M-sparse Transformer accelerator",
    component=Sta,
    registers=STA_REGISTERS,
    derived=(*SIZES, "residual_words", "sum_bits"),
    testbench=testbench.sta,
)
AXI_STA = replace(
    STA,
    name="axi-sta",
    about=f"{STA.about} behind AXI4 and AXI4-Lite",
    component=AxiSta,
    testbench=testbench.axi_sta,
)


def kind_of(config: Config, name: str | None = None) -> Kind:
    """The kind of this name, else the one that a configuration is of."""
    named = {kind.name: kind for kind in (ENGINE, STA, AXI_STA)}
    return named[name or ("sta" if isinstance(config, StaConfig) else "engine")]
