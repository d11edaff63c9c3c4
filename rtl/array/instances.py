"""Names of instances that engine and STA have alike, and a floorplan finds again in a netlist. Standard library only.

A name with {} is that of many, by their numbers.
"""

BANK = "bank_{}"  # of the column buffer by its column, of a store of activations by its row
COLUMN_BUFFER = "column_buffer"

# How names of cells begin. Behind a dot is what is inside of the instance.
COLUMN_BANKS = f"{COLUMN_BUFFER}.{BANK}."
