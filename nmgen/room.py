"""Room for the wires of a large design: rows of logic that nextpnr's placer must leave empty.

Left alone, the placer fills the logic beside the DSP slices up to three quarters, more than can be wired there, and
nothing that it takes as an option spreads it: docs/results.md, "The whole core on an FPGA". LUTs that do nothing,
in every third row, do: the router then has a third more wires for each LUT that does something.
"""

import json
from pathlib import Path

from rtl.params import InputError

EVERY = 3  # rows
BOX = 8  # tiles around a net that the router may go around by; nextpnr's own 3 leaves it no way past what is full
ROOM = f"one row of {EVERY} empty, {BOX} tiles around"  # another way is another placement
LUTS = tuple(f"SLICE{slice_}.K{lut}" for slice_ in "ABCD" for lut in (0, 1))  # of a tile

# device → x and y of its tiles of logic
TILES = {"LFE5U-85F": (range(2, 125), sorted({*range(2, 94)} - {10, 22, 34, 46, 58, 70, 82}))}


def leave_room(netlist: Path, device: str, written: Path) -> None:
    """Write a netlist with rows of the device kept empty.

    Raises
    ------
    InputError : nothing is known of the device.
    """
    if device not in TILES:
        raise InputError(f"no rows of logic are known of an {device}, must be {' or '.join(TILES)}")
    columns, rows = TILES[device]
    design = json.loads(netlist.read_text())
    top = next(m for m in design["modules"].values() if int(m["attributes"].get("top", "0"), 2))
    for y in rows[::EVERY]:
        for x in columns:
            for lut in LUTS:
                bel = f"X{x}/Y{y}/{lut}"
                top["cells"][f"room {bel}"] = {
                    "hide_name": 0,
                    "type": "LUT4",
                    "parameters": {"INIT": "0" * 16},
                    "attributes": {"BEL": bel},
                    "port_directions": {},
                    "connections": {},
                }
    top["settings"] = {f"router2/bbMargin/{axis}": str(BOX) for axis in "xy"}
    written.write_text(json.dumps(design))
