"""A netlist made ready for nextpnr: registers in multipliers, multipliers and block RAM at sites, empty rows.

* Registers beside a multiplier become its own (`nmgen.fpga.register_packing`).
* Of portable elements the placer spreads the multipliers badly where most of the chip's are taken: some end up forty
  rows from their registers. Each element gets those of the DSP slices that it would have with --pe ecp5.
* Of STA's other multipliers, the two of a wide product ended up far from one another with one seed of three: 9.3 ns.
  They get what the elements leave, a kind beside the other.
* The placer strews block RAM over the chip, of which STA takes all that there is: a softmax's table ended up a hundred
  tiles from its softmax, an engine's activations seventy from the array. The column banks get the left edge, where
  columns enter the array; each row's bank and softmax a part of the chip's width, where its row of the array is; the
  residual the bottom, lane beside lane. Block RAMs of a bank of which one or the other gives a bit of a group are
  beside one another.
  A soft row has no DSP slices to be beside: its bank is where those of the others leave room.
* Left alone, the placer fills the logic beside the DSP slices up to three quarters, more than can be wired there, and
  nothing that it takes as an option spreads it: docs/timing.md. LUTs that do nothing, in
  every third row, do: there are then half as many wires more for each LUT that does something. Where two thirds of the
  LUTs are too few, rows that stay empty are farther apart, or there are none. Nor are there any where flip-flops take
  two thirds of the chip: in an empty row their input comes by one wire, not by a LUT or that wire.
* Selectors of large groups are full of PFUMX, which take the wire by which a flip-flop without a LUT gets its input:
  those of the elements and of the store's words get LUTs.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from itertools import groupby, product
from pathlib import Path
from typing import Any

from nmgen.fpga import register_packing
from nmgen.fpga.register_packing import give_luts, pack_registers
from rtl.array.ecp5.floorplan import DEVICES, Floorplan, Site
from rtl.array.grid import ELEMENT
from rtl.array.instances import COLUMN_BANKS
from rtl.engine.activation_store import BANKS as ACTIVATION_BANKS
from rtl.params import Config, InputError, ceil_div
from rtl.sta.instances import BANK_OPERANDS, LANE_MULTIPLIERS, RESIDUAL_MEMORIES, ROW_PARTS
from rtl.sta.params import StaConfig

ROWS_APART = (3, 4, 5, 6)  # from one row that is left empty to the next: the first that leaves room
POSITIONS = 1024  # those of 8x8 elements with N = 2 and M = 8
FILLED = 0.85  # of the other rows' LUTs at most
FULL = 2 / 3  # of all flip-flops: with 71 %, and every third row empty, the placer found no place for one
LUTS = tuple(f"SLICE{slice_}.K{lut}" for slice_ in "ABCD" for lut in (0, 1))  # of a tile
LUTS_TAKEN = {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6}  # by a cell, with those through which LUT RAM is written
NUMBER = re.compile(r"\d+")
INSTANCE_END = r"(?:\$\d+)?\."  # Amaranth numbers an instance of which a signal has the name, too

# device → x and y of its tiles of logic
TILES = {
    "LFE5U-25F": (range(2, 71), sorted({*range(2, 49)} - {13, 25, 37})),
    "LFE5U-85F": (range(2, 125), sorted({*range(2, 94)} - {10, 22, 34, 46, 58, 70, 82})),
}
# device → y of its rows of block RAM, of which there are four beside each block of DSP slices
MEMORIES = {"LFE5U-25F": (25, 37), "LFE5U-85F": (22, 46, 70, 82)}


@dataclass(frozen=True, kw_only=True)
class Placement:
    """What the placer is told.

    Attributes
    ----------
    multipliers : those of the array's elements (row, column) → sites, as nextpnr names them
    others : sites for those of the core's lanes
    memories : columns of sites for block RAM, from left to right, of as many rows each, from top to bottom
    soft_rows : of the array, the last ones
    groups : that a word of a row's bank holds
    own_luts : flip-flops among the array's selectors get a LUT each
    rows, columns : y and x of the tiles of logic, if rows are to stay empty
    """

    multipliers: dict[tuple[int, int], tuple[str, ...]]
    others: tuple[str, ...] = ()
    memories: tuple[tuple[str, ...], ...] = ()
    soft_rows: int = 0
    groups: int = 1
    own_luts: bool = False
    rows: tuple[int, ...] = ()
    columns: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        """Says all of it, and by which code it is written into a netlist."""
        return json.dumps(
            [
                _code(),
                sorted(self.multipliers.items()),
                self.others,
                self.memories,
                self.soft_rows,
                self.groups,
                self.own_luts,
                self.rows,
                self.columns,
            ]
        )

    def write(self, netlist: Path, written: Path) -> None:
        """Write a netlist with this in it."""
        design = json.loads(netlist.read_text())
        top = next(m for m in design["modules"].values() if int(m["attributes"].get("top", "0"), 2))
        pack_registers(top)
        if self.own_luts:
            give_luts(top, cells_of(f"{ELEMENT}.", BANK_OPERANDS))
        element, multipliers = cells_of(f"{ELEMENT}."), [cells_of(path) for path in LANE_MULTIPLIERS]
        elements: dict[tuple[int, int], list[str]] = defaultdict(list)
        lanes: list[tuple[int, int, str]] = []  # kind, number, name
        for name, cell in top["cells"].items():
            if cell["type"] == "MULT18X18D":
                if found := element.search(name):
                    elements[int(found[1]), int(found[2])].append(name)
                for kind, multiplier in enumerate(multipliers):
                    if found := multiplier.search(name):
                        lanes.append((kind, int(found[1]), name))
        placed: list[tuple[Sequence[str], Sequence[str]]] = [
            (sorted(names), self.multipliers.get(position, ())) for position, names in elements.items()
        ]
        placed.append(([name for _, _, name in sorted(lanes)], self.others))
        if self.memories:
            block_ram = [name for name, cell in top["cells"].items() if cell["type"] == "DP16KD"]
            placed += _deal(block_ram, self.memories, self.soft_rows, self.groups)
        for names, bels in placed:
            for name, bel in zip(names, bels, strict=False):
                top["cells"][name]["attributes"]["BEL"] = bel
        kinds = Counter(cell["type"] for cell in top["cells"].values())
        luts = sum(number * kinds[kind] for kind, number in LUTS_TAKEN.items())
        for y in self._rows_empty(luts, kinds["TRELLIS_FF"]):
            top["cells"] |= {f"empty X{x}/Y{y}/{lut}": _idle(f"X{x}/Y{y}/{lut}") for x in self.columns for lut in LUTS}
        written.write_text(json.dumps(design))

    def _rows_empty(self, luts: int, registers: int) -> tuple[int, ...]:
        """y of those that so many LUTs and flip-flops leave empty."""
        if registers > FULL * len(self.rows) * len(self.columns) * len(LUTS):
            return ()
        for apart in ROWS_APART:
            empty = self.rows[::apart]
            if luts <= FILLED * (len(self.rows) - len(empty)) * len(self.columns) * len(LUTS):
                return empty
        return ()


@cache
def _code() -> str:
    """A hash of the code that changes the netlist."""
    return sha256(b"".join(Path(file).read_bytes() for file in (__file__, register_packing.__file__))).hexdigest()


def cells_of(*beginnings: str) -> re.Pattern[str]:
    """Matches names of cells that begin so, from some part of them on; {} is a number, and a group of its own."""
    paths = (r"(\d+)".join(map(re.escape, path.split("{}"))).replace(r"\.", INSTANCE_END) for path in beginnings)
    return re.compile(rf"\b(?:{'|'.join(paths)})")


def _idle(bel: str) -> dict[str, Any]:
    return {
        "hide_name": 0,
        "type": "LUT4",
        "parameters": {"INIT": "0" * 16},
        "attributes": {"BEL": bel},
        "port_directions": {},
        "connections": {},
    }


def is_crowded(config: Config) -> bool:
    """Whether the selectors of an array of DSP slices choose from so many positions that wires become scarce."""
    return config.pe == "ecp5" and config.rows * config.cols * config.n * config.m > POSITIONS


def placement_of(config: Config, device: str, *, room: bool) -> Placement | None:
    """What the placer of a device is told of a configuration; None where there is nothing to tell.

    Parameters
    ----------
    room : whether rows are left empty, and block RAM and STA's other multipliers get sites, on a device of which the
        tiles are known
    """
    sta = isinstance(config, StaConfig)
    elements: dict[tuple[int, int], tuple[str, ...]] = {}
    others: tuple[str, ...] = ()
    with suppress(InputError):  # more elements than slices: the placer chooses
        plan = Floorplan(replace(config, pe="ecp5", device=device))
        for element in product(range(config.rows), range(config.cols)):
            elements[element] = _multipliers(plan.sites(*element) or ())
        others = _multipliers(plan.free()) if room and sta else ()
    if config.pe == "ecp5":  # the Verilog says where the elements' are
        elements = {}
    memories = _memories(device) if room else ()
    columns, rows = TILES.get(device, ((), ())) if room else ((), ())
    if not any(elements.values()) and not rows:
        return None
    return Placement(
        multipliers=elements,
        others=others,
        memories=memories,
        soft_rows=config.soft_rows,
        groups=config.store_word_bytes // config.m,
        own_luts=room and is_crowded(config),
        rows=tuple(rows),
        columns=tuple(columns),
    )


def _multipliers(slices: Iterable[Site]) -> tuple[str, ...]:
    return tuple(bel for site in slices for bel in site.bels[:2])


def _memories(device: str) -> tuple[tuple[str, ...], ...]:
    """Columns of a device's sites for block RAM."""
    blocks = DEVICES[device].blocks if device in MEMORIES else ()
    return tuple(tuple(f"X{x + 2 * i}/Y{y}/EBR{i}" for y in MEMORIES[device]) for x in blocks for i in range(4))


def _deal(
    names: Sequence[str], columns: Sequence[Sequence[str]], soft_rows: int, groups: int
) -> list[tuple[Sequence[str], Sequence[str]]]:
    """Of the block RAM: names, and as many sites or fewer. What is left over is left to the placer.

    soft_rows : of the array
    groups : that a word of a row's bank holds
    """

    def those(*beginnings: str) -> list[tuple[list[int], str]]:
        """With the numbers in their names, by which they are sorted."""
        part = cells_of(*beginnings)
        return sorted(([int(number) for number in NUMBER.findall(name)], name) for name in names if part.search(name))

    column_banks = [name for _, name in those(COLUMN_BANKS)]
    left = ceil_div(len(column_banks), len(columns[0]))
    edge = [site for sites in zip(*columns[:left], strict=True) for site in sites]

    # The residual: of each half of a word, a byte's memories are beside one another.
    halves = groupby(those(RESIDUAL_MEMORIES), key=lambda one: one[0][0])
    residual = [name for _, half in halves for _, name in sorted((numbers[::-1], name) for numbers, name in half)]

    # Rows of the array, one beside the other, with as many sites each as there are to choose from. Of each the softmax
    # is at the top, then its bank, bit by bit of a group.
    upper = [site for column in columns[left:] for site in column[:-1]]
    bottom = [column[-1] for column in columns[left:]]
    level = {site: y for column in columns for y, site in enumerate(column)}
    parts = those(*ROW_PARTS, ACTIVATION_BANKS)
    rows = [[name for _, name in row] for _, row in groupby(parts, key=lambda one: one[0][0])]
    rows = [rows[row] for row in _from_left(len(rows), soft_rows, left / len(columns))]
    spare = len(upper) - sum(map(len, rows)) - max(0, len(residual) - len(bottom))
    dealt: list[tuple[Sequence[str], Sequence[str]]] = [(column_banks, edge)]
    for row in rows:
        sites = len(row) + max(0, spare) // len(rows)
        own, upper = upper[:sites], upper[sites:]
        dealt.append((_by_bits(row, groups), sorted(own, key=level.__getitem__)))

    rest = {*bottom, *upper}
    return [*dealt, (residual, [site for column in columns for site in column if site in rest])]


def _from_left(rows: int, soft_rows: int, edge: float) -> list[int]:
    """Rows of the array in the order of their banks, from left to right.

    Each bank is near its row's DSP slices, of which each row has the same share of the chip's width, as far as the left
    edge is not the columns'. Between them are those of the soft rows, from the last to the first: they get their
    operands from the right.
    """
    hard, soft = list(range(rows - soft_rows)), list(range(rows - soft_rows, rows))
    order: list[int] = []
    while len(order) < rows:
        at = edge + (1 - edge) * (len(order) + 1) / rows  # where this bank ends
        near = bool(hard) and (hard[0] + 0.5) / (rows - soft_rows) < at
        order.append(hard.pop(0) if near or not soft else soft.pop())
    return order


def _by_bits(names: Sequence[str], groups: int) -> list[str]:
    """A row's block RAM: its softmax, then its bank, sorted by which bits of a group they hold.

    names : those of a part of the bank, which are all alike but for the last number, from the lowest bits of a word up
    """
    parts: dict[str, list[str]] = defaultdict(list)
    for name in names:
        parts[name.rpartition(".")[0]].append(name)
    bits = {name: groups * i / len(part) % 1 for part in parts.values() for i, name in enumerate(part)}
    return sorted(names, key=lambda name: ("softmax" not in name, bits[name]))
