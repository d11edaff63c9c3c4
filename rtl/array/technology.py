"""What is built differently for one FPGA than for all others: which Component stands for what."""

from rtl.array.ecp5.floorplan import Floorplan
from rtl.array.ecp5.pe import SliceProcessingElement
from rtl.array.ecp5.soft import SoftProcessingElement
from rtl.array.pe import ProcessingElement
from rtl.params import Config


def processing_elements(config: Config) -> list[list[ProcessingElement]]:
    """The elements of the array, [row][column]. They all take as long to their results.

    Raises
    ------
    InputError : the array has more elements than config.device has DSP slices for.
    """
    positions = [(r, c) for r in range(config.rows) for c in range(config.cols)]
    if config.pe == "portable":
        made = {at: ProcessingElement(config) for at in positions}
    elif config.pe == "ecp5":
        floorplan = Floorplan(config)
        made = {
            (r, c): SliceProcessingElement(config, floorplan.sites(r, c))
            if r < config.rows - config.soft_rows
            else SoftProcessingElement(config)
            for r, c in positions
        }
    else:
        raise AssertionError(f"no elements of {config.pe}")  # Config takes none
    return [[made[r, c] for c in range(config.cols)] for r in range(config.rows)]
