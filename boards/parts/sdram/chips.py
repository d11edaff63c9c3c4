"""SDRAM chips that boards carry: sizes and times, and these in cycles of a clock. Standard library only."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from rtl.params import InputError

BANKS = 4
WORD_BYTES = 2
CAS_LATENCY = 3
REFRESHES_BEFORE_MODE = 8
POSTPONED_MAX = 8  # refreshes that may be due and not done, before the next one is


@dataclass(frozen=True, kw_only=True)
class SdramChip:
    """A 16-bit SDR SDRAM of four banks. Times in ns, of the slowest grade that a board has.

    Attributes
    ----------
    name : as its maker writes it
    row_bits, column_bits : of the addresses of rows and of words in a row
    mhz_max : of the clock at CAS latency 3
    t_rcd : ACTIVATE to READ or WRITE
    t_rp : PRECHARGE to ACTIVATE or REFRESH
    t_ras, t_rc : ACTIVATE to PRECHARGE, and to the next ACTIVATE of the bank
    t_rrd : ACTIVATE to that of another bank
    t_rfc : REFRESH to any command
    t_wr : last word written to PRECHARGE
    t_refi : a REFRESH, on average
    t_power_up : stable clock before the first command
    mrd : cycles from MODE to any command
    """

    name: str
    row_bits: int = 13
    column_bits: int
    mhz_max: float
    t_rcd: float
    t_rp: float
    t_ras: float
    t_rc: float
    t_rrd: float
    t_rfc: float
    t_wr: float
    t_refi: float = 64e6 / 8192
    t_power_up: float = 200e3
    mrd: int = 2

    @property
    def bytes(self) -> int:
        return WORD_BYTES * BANKS << self.row_bits + self.column_bits

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of one bank."""
        return WORD_BYTES << self.column_bits


# Of the data sheets; where grades or sources differ, the greater time.
CHIPS = {
    chip.name: chip
    for chip in (
        SdramChip(
            name="IS42S16160G-7", column_bits=9, mhz_max=143,
            t_rcd=20, t_rp=20, t_ras=44, t_rc=64, t_rrd=15, t_rfc=70, t_wr=15,
        ),
        SdramChip(
            name="MT48LC16M16A2-6A", column_bits=9, mhz_max=167,
            t_rcd=18, t_rp=18, t_ras=42, t_rc=60, t_rrd=12, t_rfc=66, t_wr=14,
        ),
        SdramChip(
            name="M12L2561616A-6T", column_bits=9, mhz_max=166,
            t_rcd=18, t_rp=18, t_ras=42, t_rc=60, t_rrd=12, t_rfc=60, t_wr=14,
        ),
        SdramChip(
            name="AS4C32M16SB-7", column_bits=10, mhz_max=143,
            t_rcd=21, t_rp=21, t_ras=42, t_rc=63, t_rrd=14, t_rfc=63, t_wr=14,
        ),
    )
}  # fmt: skip


def common(names: Sequence[str]) -> SdramChip:
    """A chip that each of these can be taken for: the least of their sizes and clocks, the greatest of their times."""
    chips = [CHIPS[name] for name in names]
    times = ("t_rcd", "t_rp", "t_ras", "t_rc", "t_rrd", "t_rfc", "t_wr", "t_power_up", "mrd")
    least = ("row_bits", "column_bits", "mhz_max", "t_refi")
    return SdramChip(
        name=" or ".join(names),
        **{name: max(getattr(chip, name) for chip in chips) for name in times},
        **{name: min(getattr(chip, name) for chip in chips) for name in least},
    )


@dataclass(frozen=True)
class Timing:
    """A chip's times in cycles, at least; `refi` at most.

    Names are the chip's. `power_up` and `refi` are long, the others a dozen cycles at most. tRC and tRRD need no
    counter: tRAS and tRP, and tRCD, are as long.
    """

    rcd: int
    rp: int
    ras: int
    rfc: int
    wr: int
    mrd: int
    refi: int
    power_up: int


def timing(chip: SdramChip, mhz: float) -> Timing:
    """The chip's times in cycles of a clock.

    Raises
    ------
    InputError : the clock is too fast for the chip, or too slow to refresh it.
    """
    if not mhz <= chip.mhz_max:
        raise InputError(f"the memory's clock is {mhz:g} MHz, must be at most {chip.mhz_max:g} for {chip.name}")

    assert chip.t_ras + chip.t_rp >= chip.t_rc
    assert chip.t_rcd >= chip.t_rrd

    def cycles(ns: float) -> int:
        return ceil(ns * mhz / 1000 - 1e-9)

    refi = int(chip.t_refi * mhz / 1000)
    if refi < 100:
        raise InputError(
            f"the memory's clock is {mhz:g} MHz, must be at least {100_000 / chip.t_refi:.1f} to refresh it"
        )
    return Timing(
        rcd=cycles(chip.t_rcd),
        rp=cycles(chip.t_rp),
        ras=cycles(chip.t_ras),
        rfc=cycles(chip.t_rfc),
        wr=cycles(chip.t_wr),
        mrd=chip.mrd,
        refi=refi,
        power_up=cycles(chip.t_power_up),
    )
