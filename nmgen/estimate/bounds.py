"""What holds a program up: of each instruction the part of the hardware that needs the most cycles for it."""

from nmgen.estimate.columns import copied_keys, copied_values
from rtl.params import ceil_div
from rtl.product import Pattern
from rtl.sta.isa import Columns, Op, tile_groups
from rtl.sta.params import StaConfig

# Where an instruction that is no product has its cycles.
OTHERS = {
    Op.NORM: "layer norm",
    Op.POOL: "layer norm",
    Op.GATHER: "memory",
    Op.TABLE: "memory",
    Op.LOAD: "memory",
    Op.STORE: "memory",
}


def holder(config: StaConfig, fields: dict[str, int]) -> str:
    """array, drain, memory, copies or layer norm.

    fields : of an instruction, all of them
    """
    op = Op(fields["opcode"])
    if op != Op.PRODUCT:
        return OTHERS[op]
    column_tiles = ceil_div(fields["channels"], config.cols)
    tiles = column_tiles * ceil_div(fields["tokens"], config.rows)
    steps = tile_groups(fields) * Pattern(config=config, n=fields["pattern_n"]).steps
    needs = {"array": tiles * steps, "drain": tiles * config.group_rows * config.slots_a_row}
    if fields["columns"] == Columns.MEMORY:
        needs["memory"] = fields["beats"]
    else:
        needs["copies"] = column_tiles * _copy_reads(config, fields)
    return max(needs, key=lambda part: needs[part])


def _copy_reads(config: StaConfig, fields: dict[str, int]) -> int:
    """Of the store, for a column tile of keys or values."""
    columns = min(config.cols, fields["channels"])
    if fields["columns"] == Columns.KEYS:
        copied = copied_keys(config, fields["groups"], 0, columns)
    else:
        copied = copied_values(config, fields["keys"], 0, columns)
    return len(copied.banks)
