"""A netlist made ready for nextpnr: registers in multipliers, multipliers and block RAM in places, empty rows.

* Registers beside a multiplier become its own (`nmgen.absorb`).
* Of portable elements the placer spreads the multipliers badly where most of the chip's are taken: some end up forty
  rows from their registers. Each element gets those of the DSP slices that it would have with --pe ecp5.
* Of the banks of STA's activation store the placer strews the block RAM over the chip. Each bank gets a part of the
  chip's width, where its row of the array is: half as many wires are short after as many passes of the router.
* Left alone, the placer fills the logic beside the DSP slices up to three quarters, more than can be wired there, and
  nothing that it takes as an option spreads it: docs/results.md, "The whole core on an FPGA". LUTs that do nothing, in
  every third row, do: there are then half as many wires more for each LUT that does something.
"""

import json
import re
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from nmgen.absorb import absorb
from rtl.ecp5.floorplan import DEVICES, Floorplan
from rtl.params import Config, InputError

EVERY = 3  # rows
BOX = 14  # tiles around a net that the router may go around by; nextpnr's own 3 leaves it no way past what is full
LUTS = tuple(f"SLICE{slice_}.K{lut}" for slice_ in "ABCD" for lut in (0, 1))  # of a tile
ELEMENT = re.compile(r"\bpe_(\d+)_(\d+)\.")
BANK = re.compile(r"\bstore\.bank_(\d+)\.")

# device → x and y of its tiles of logic
TILES = {"LFE5U-85F": (range(2, 125), sorted({*range(2, 94)} - {10, 22, 34, 46, 58, 70, 82}))}
# device → y of its rows of block RAM, of which there are four beside each block of DSP slices
MEMORIES = {"LFE5U-85F": (22, 46, 70, 82)}


@dataclass(frozen=True, kw_only=True)
class Floor:
    """What the placer is told.

    Attributes
    ----------
    multipliers : those of the array's elements (row, column) → places, as nextpnr names them
    memories : those of a bank of the activation store → the places that it may have
    rows_empty : of tiles of logic, by their y; columns : x of all of them
    """

    multipliers: dict[tuple[int, int], tuple[str, ...]]
    memories: dict[int, tuple[str, ...]] = field(default_factory=dict)
    rows_empty: tuple[int, ...] = ()
    columns: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        """Says all of it."""
        return json.dumps(
            [
                "absorb",
                sorted(self.multipliers.items()),
                sorted(self.memories.items()),
                self.rows_empty,
                self.columns,
                BOX,
            ]
        )

    def write(self, netlist: Path, written: Path) -> None:
        """Write a netlist with this in it."""
        design = json.loads(netlist.read_text())
        top = next(m for m in design["modules"].values() if int(m["attributes"].get("top", "0"), 2))
        absorb(top)
        elements: dict[tuple[int, int], list[str]] = defaultdict(list)
        banks: dict[int, list[str]] = defaultdict(list)
        for name, cell in top["cells"].items():
            if cell["type"] == "MULT18X18D" and (found := ELEMENT.search(name)):
                elements[int(found[1]), int(found[2])].append(name)
            elif cell["type"] == "DP16KD" and (found := BANK.search(name)):
                banks[int(found[1])].append(name)
        placed = [(names, self.multipliers.get(element, ())) for element, names in elements.items()]
        placed += [(names, self.memories.get(bank, ())) for bank, names in banks.items()]
        for names, bels in placed:
            for name, bel in zip(sorted(names), bels, strict=False):
                top["cells"][name]["attributes"]["BEL"] = bel
        for y in self.rows_empty:
            top["cells"] |= {f"empty X{x}/Y{y}/{lut}": _idle(f"X{x}/Y{y}/{lut}") for x in self.columns for lut in LUTS}
        if self.rows_empty:
            top["settings"] = {f"router2/bbMargin/{axis}": str(BOX) for axis in "xy"}
        written.write_text(json.dumps(design))


def _idle(bel: str) -> dict[str, Any]:
    return {
        "hide_name": 0,
        "type": "LUT4",
        "parameters": {"INIT": "0" * 16},
        "attributes": {"BEL": bel},
        "port_directions": {},
        "connections": {},
    }


def floor_of(config: Config, device: str, *, room: bool) -> Floor | None:
    """What the placer of a device is told of a configuration; None where there is nothing to tell.

    Parameters
    ----------
    room : whether rows are left empty, and banks of STA's store get places, on a device of which the tiles are known
    """
    places: dict[tuple[int, int], tuple[str, ...]] = {}
    if config.pe == "portable":
        with suppress(InputError):  # more elements than slices: the placer chooses
            plan = Floorplan(replace(config, pe="ecp5", device=device))
            for element in product(range(config.rows), range(config.cols)):
                slices = plan.places(*element) or ()
                places[element] = tuple(bel for place in slices for bel in place.bels[:2])
    memories = _memories(config, device) if room else {}
    columns, rows = TILES.get(device, ((), ())) if room else ((), ())
    if not any(places.values()) and not rows:
        return None
    return Floor(multipliers=places, memories=memories, rows_empty=tuple(rows[::EVERY]), columns=tuple(columns))


def _memories(config: Config, device: str) -> dict[int, tuple[str, ...]]:
    """Of each bank: as many columns of block RAM as there are for it, one beside the other. What is left over is at the
    left, where the array's columns begin."""
    blocks = DEVICES[device].blocks if device in MEMORIES else ()
    columns = [f"X{x + 2 * i}/Y{{y}}/EBR{i}" for x in blocks for i in range(4)]
    wide = len(columns) // config.rows
    left = len(columns) - wide * config.rows
    return {
        row: tuple(
            column.format(y=y)
            for y in MEMORIES.get(device, ())
            for column in columns[left + wide * row : left + wide * (row + 1)]
        )
        for row in range(config.rows)
    }
