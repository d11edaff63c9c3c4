"""Names of the instances that a floorplan finds again in a netlist, and their paths. Standard library only.

The Components name their submodules so. A name with {} is that of many, by their numbers.
"""

ACTIVATION_STORE = "activation_store"
BANK = "bank_{}"  # of the column buffer by its column, of the activation store by its row
COLUMN_BUFFER = "column_buffer"

# How names of cells begin, from the engine on. Behind a dot is what is inside of the instance.
COLUMN_BANKS = f"{COLUMN_BUFFER}.{BANK}."
ROW_PARTS = f"{ACTIVATION_STORE}.{BANK}."  # what is one row's, by its number
