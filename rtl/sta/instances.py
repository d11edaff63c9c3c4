"""Names of the instances of STA that a floorplan finds again in a netlist, and their paths. Standard library only.
Those that the engine has, too, are in `rtl/array/instances.py`.

The Components name their submodules so. A name with {} is that of many, by their numbers.
"""

from rtl.array.instances import BANK

LANE = "lane_{}"
MEMORY = "memory_{}_{}"  # by the half of a word, and its number
NORMALISER = "normaliser"
NORM_SOURCE = "norm_source"
OPERANDS = "operands"  # registers of a bank of the store
PIPELINE = "pipeline"
POST_PROCESSOR = "post_processor"
REQUANTISER = "requantiser_{}"
RESCALER = "rescaler_{}"
RESIDUAL = "residual"
SOFTMAX = "softmax_{}"  # by its row
SQUARE = "square_{}"  # by its lane
STATISTICS = "statistics"
STORE = "store"

# How names of cells begin, from the core on. Behind a dot is what is inside of the instance.
BANK_OPERANDS = f"{STORE}.{BANK}.{OPERANDS}"
ROW_PARTS = (f"{STORE}.{BANK}.", f"{SOFTMAX}.")  # what is one row's, by its number
LANE_MULTIPLIERS = tuple(  # of the post-processor's lanes, by their numbers; from the residual to the array
    f"{POST_PROCESSOR}.{part}"
    for part in (
        f"{NORM_SOURCE}.{NORMALISER}.{LANE}.",
        f"{STATISTICS}.{SQUARE}.",
        f"{PIPELINE}.{RESCALER}.",
        f"{PIPELINE}.{REQUANTISER}.",
    )
)
RESIDUAL_MEMORIES = f"{POST_PROCESSOR}.{RESIDUAL}.{MEMORY}."
